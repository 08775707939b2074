# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor says of a chain is true of each way that its rules can turn out."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from qbhelper.ctl.doctor.filtering import Act, Chain, End, Fits, Rule, all_of, end_of, inverted

SURE = (Act.ACCEPT, Act.DROP)
CHAINS = ("base", "first", "second")
"""Each may lead to those behind it."""


@st.composite
def rulesets(draw: st.DrawFn) -> dict[str, Chain]:
    """Some chains, the base with a policy, and with few enough rules that may fit to try them all."""
    found = {}
    for number, name in enumerate(CHAINS):
        acts = st.sampled_from([(act, "") for act in (*SURE, Act.RETURN)])
        leads = st.sampled_from([(act, to) for act in (Act.JUMP, Act.GOTO) for to in CHAINS[number + 1 :]])
        what = acts if number == len(CHAINS) - 1 else acts | leads
        rules = draw(st.lists(st.builds(lambda fits, way: Rule(fits, *way), st.sampled_from(Fits), what), max_size=3))
        found[name] = Chain(draw(st.sampled_from(SURE)) if number == 0 else None, rules)
    return found


def walk(chains: dict[str, Chain], name: str, fitting: dict[int, bool]) -> Act:
    """Go through a chain as the kernel does; fitting: whether a rule, by its id(), fits."""
    act = Act.RETURN
    for rule in chains[name].rules:
        if not fitting[id(rule)]:
            continue
        act = walk(chains, rule.to, fitting) if rule.to else rule.act
        if act is not Act.RETURN or rule.act is not Act.JUMP:
            break
    else:
        act = Act.RETURN
    return chains[name].policy or Act.RETURN if act is Act.RETURN else act


@given(rulesets())
def test_no_way_is_forgotten(chains: dict[str, Chain]) -> None:
    """Each end that there can be is among those that are told, and one that is told alone is the only one."""
    end = end_of(chains, "base")
    unsure = [rule for chain in chains.values() for rule in chain.rules if rule.fits is Fits.MAYBE]
    surely = {id(rule): rule.fits is Fits.YES for chain in chains.values() for rule in chain.rules}
    for answers in product((False, True), repeat=len(unsure)):
        fitting = surely | dict(zip(map(id, unsure), answers, strict=True))
        assert walk(chains, "base", fitting) in {end.act, *end.other} or Act.UNKNOWN in end.other
    assert walk(chains, "base", surely) is end.act, "the end of what no rule that may fit has stopped"


def test_a_chain_that_may_be_left_early() -> None:
    """If it ends all the same, it has made no difference; if not, what comes after it may be met."""
    may_leave = Rule(Fits.MAYBE, Act.RETURN)
    jump, drop, accept = Rule(Fits.YES, Act.JUMP, "first"), Rule(Fits.YES, Act.DROP), Rule(Fits.YES, Act.ACCEPT)
    chains = {"base": Chain(Act.DROP, [jump]), "first": Chain(None, [may_leave])}
    assert end_of(chains, "base") == End(Act.DROP)
    chains = {"base": Chain(Act.DROP, [jump, accept]), "first": Chain(None, [may_leave, drop])}
    assert end_of(chains, "base") == End(Act.DROP, frozenset({Act.UNKNOWN}))


def test_a_chain_that_is_not_there() -> None:
    """As where a program shows only a part of what there is: nothing is claimed."""
    chains = {"base": Chain(Act.DROP, [Rule(Fits.YES, Act.JUMP, "gone")])}
    assert end_of(chains, "base") == End(Act.DROP, frozenset({Act.UNKNOWN}))


def test_what_several_matches_come_to() -> None:
    """The one that fits least decides; without any a rule is for all."""
    assert all_of([]) is Fits.YES
    assert all_of([Fits.YES, Fits.MAYBE]) is Fits.MAYBE
    assert all_of([Fits.NO, Fits.MAYBE]) is Fits.NO
    assert [inverted(fits) for fits in Fits] == [Fits.YES, Fits.MAYBE, Fits.NO]
