# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for every policy: random ones, in every way to write them, and cut off at every byte."""

from dataclasses import dataclass, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from qbhelper.policy.decision import Decision
from qbhelper.policy.rules import Policy
from qbhelper.policy.toml_file import parse
from qbhelper.request import Caller
from tests.support.policies import ACCOUNTS, CALLERS, PATH, TODAY, decide, given_by, policy_of

patient = settings(max_examples=60, deadline=None)  # a machine that has much else to do is no fault of ours

BRIDGES = ("br0", "br1", "br01", "b")
ASKED = [name.encode() for name in (*BRIDGES, "br", "other", "*")]
"""What is asked for: also names that a cut may leave of one in the file."""
USERS = ("alice", "bob", "gone", "1000-1001", "0", "65534")
GROUPS = ("students", "staff", "no-such", "2000-2001", "1000")
DAYS = ("2026-11-20", "2026-11-21", "2027-01-31")
ADVERSE = ("# [end]", "#[end]\n", "\n\n", "# [[deny]]\n# bridge = '*'", "\t", "# '''", '# """')
"""Comments and blanks that could be mistaken for something."""


@dataclass(frozen=True)
class Said:
    """A rule as somebody thinks of it."""

    allow: bool
    bridges: tuple[str, ...] | None
    users: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    mtu: int | None = None
    expires: str | None = None

    def means(self, caller: Caller) -> bool | None:
        """Whether it means a caller; None if names are in doubt."""
        if self.users is None and self.groups is None:
            return True
        answers = [
            *(_is_one(word, (caller.uid,), ACCOUNTS.users) for word in self.users or ()),
            *(_is_one(word, (caller.gid, *caller.groups), ACCOUNTS.groups) for word in self.groups or ()),
        ]
        return True if True in answers else None if None in answers else False

    def is_for(self, *names: bytes) -> bool:
        """Whether it speaks of one of these bridges."""
        return self.bridges is None or any(name.decode() in self.bridges for name in names)


def _is_one(word: str, numbers: tuple[int, ...], known: dict[str, int]) -> bool | None:
    if word[0].isdigit():
        low, _, high = word.partition("-")
        return any(int(low) <= number <= int(high or low) for number in numbers)
    return known[word] in numbers if word in known else None


def some(words: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    """A list of some of these words, at least of one."""
    return st.lists(st.sampled_from(words), min_size=1, max_size=3, unique=True).map(tuple)


allows = st.builds(
    Said,
    st.just(True),
    st.none() | some(BRIDGES),
    st.none() | some(USERS),
    st.none() | some(GROUPS),
    st.none() | st.integers(68, 99),
    st.none() | st.sampled_from(DAYS),
)
denies = st.builds(Said, st.just(False), st.none() | some(BRIDGES), st.none() | some(USERS), st.none() | some(GROUPS))


def _scope(rule: Said) -> object:
    """What two rules of one policy must not have in common."""
    return (rule.allow, *(words and frozenset(words) for words in (rule.bridges, rule.users, rule.groups)))


rules_of_a_policy = st.lists(allows | denies, max_size=6, unique_by=_scope).filter(
    # Such that nothing is wrong: "1000" beside "1000-1001" means the latter alone, and that rule may be there as well.
    lambda rules: parse((PATH, _plainly(rules).encode()))[0] is not None
)


def _plainly(rules: list[Said]) -> str:
    """The rules as the manual writes them."""
    lines = []
    for rule in rules:
        lines.append("[[allow]]" if rule.allow else "[[deny]]")
        lines += [f"{word} = {value}" for word, value in _settings(rule).items()]
    return "\n".join([*lines, "[end]\n"])


def _settings(rule: Said) -> dict[str, str]:
    written = {"bridge": '"*"' if rule.bridges is None else _list(rule.bridges)}
    for word, value in (("users", rule.users), ("groups", rule.groups)):
        if value is not None:
            written[word] = _list(value)
    if rule.mtu is not None:
        written["mtu"] = str(rule.mtu)
    if rule.expires is not None:
        written["expires"] = rule.expires
    return written


def _list(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


@st.composite
def written(draw: st.DrawFn, rules: list[Said]) -> str:
    """The rules in one of the many ways to write them: quotes, lists over lines, comments, order of settings."""

    def noise() -> str:
        return draw(st.sampled_from(["", "", "", *ADVERSE])) + "\n"

    def text(word: str) -> str:
        quote = draw(st.sampled_from(['"', "'", '"""', "'''"]))
        return f"{quote}{word}{quote}"

    def listing(words: tuple[str, ...]) -> str:
        if len(words) == 1 and draw(st.booleans()):
            return text(words[0])
        between = draw(st.sampled_from([",", ", ", ",\n", ", # [end]\n", "\n,\n#\n"]))
        last = draw(st.sampled_from(["", ",", ", # ]", ",\n"]))
        return f"[{between.join(map(text, words))}{last}\n]"

    lines = noise()
    for rule in rules:
        lines += ("[[allow]]" if rule.allow else "[[deny]]") + draw(st.sampled_from(["", " ", " # [end]"])) + noise()
        settings = _settings(rule)
        settings["bridge"] = text("*") if rule.bridges is None else listing(rule.bridges)
        for word, value in (("users", rule.users), ("groups", rule.groups)):
            if value is not None:
                settings[word] = listing(value)
        for word in draw(st.permutations(list(settings))):
            lines += draw(st.sampled_from(["", "  "])) + word + draw(st.sampled_from(["=", " = "]))
            lines += settings[word] + draw(st.sampled_from(["", " # x", "\t"])) + noise()
    lines += "[end]" + draw(st.sampled_from(["", "\n", " # [[deny]]", "\n# [end]\n"]))
    return lines.replace("\n", "\r\n") if draw(st.booleans()) else lines


policies = rules_of_a_policy.flatmap(lambda rules: st.tuples(st.just(rules), written(rules)))


def meant(rules: list[Said], caller: Caller, bridge: bytes, asked: bytes) -> tuple[bool, int | None]:
    """The verdict as the manual tells it: whether it is allowed, and the MTU that it comes with."""
    if any(not rule.allow and rule.is_for(bridge, asked) and rule.means(caller) is not False for rule in rules):
        return False, None
    for rule in rules:
        if rule.allow and rule.is_for(bridge) and rule.means(caller) and (rule.expires or "9") >= "2026-11-21":
            return True, rule.mtu
    return False, None


def verdicts(policy: Policy) -> dict[tuple[int, bytes, bytes], Decision]:
    """Every verdict of a policy."""
    return {
        (caller.uid, bridge, asked): decide(policy, caller, bridge, asked)
        for caller in CALLERS
        for bridge in ASKED
        for asked in (bridge, b"br1")
    }


def grants(policy: Policy) -> dict[tuple[int, bytes, bytes], tuple[object, ...]]:
    """All that a policy grants, with the terms."""
    return {what: given_by(decision.terms) for what, decision in verdicts(policy).items() if decision.allowed}


@patient
@given(policies)
def test_the_verdict_is_the_manuals(policy: tuple[list[Said], str]) -> None:
    """However a policy is written: default deny, any deny wins, the first allow gives the terms."""
    rules, text = policy
    parsed = policy_of(text)
    for caller in CALLERS:
        for bridge in ASKED:
            for asked in (bridge, b"br1"):
                decision = decide(parsed, caller, bridge, asked)
                mtu = decision.terms.port.mtu
                assert (decision.allowed, mtu) == meant(rules, caller, bridge, asked), f"{caller.uid} {bridge!r}"


@patient
@given(policies)
def test_the_place_is_that_of_the_rules_header(policy: tuple[list[Said], str]) -> None:
    """Whatever stands around it, the line that is named is the one on which the rule begins."""
    rules, text = policy
    lines = text.split("\n")
    found = [lines[rule.place.line - 1] for rule in policy_of(text).rules]
    assert len(found) == len(rules)
    for rule, line in zip(rules, found, strict=True):
        assert line.startswith("[[allow]]" if rule.allow else "[[deny]]")


@patient
@given(policies)
@example(([], '[[allow]]\nbridge = "br0" # [end]\nusers = ["[end]", """[end]x"""]\n[end] # [end]\n# x\n[end]'[:-5]))
@example(([], '[[allow]]\nbridge = "*"\nusers = [ # [end]\n"[end]",\n\'x[end]\']\n\n\t[end]\n#\xe9\u20ac[end]'))
@example(([], '[[deny]]\r\nbridge = """\\\r\n  b""" # """\r\n[[allow]]\r\nbridge = "*"\r\n[end]\r\n\r\n'))
def test_cut_off_at_any_byte_it_grants_nothing_more(policy: tuple[list[Said], str]) -> None:
    """Not one byte can be lost from the end of a file so that anybody gets anything, or gets it on other terms."""
    whole = policy[1].encode()
    granted = grants(policy_of(whole)).items()
    for cut in range(len(whole)):
        part, problems = parse((PATH, whole[:cut]))
        assert (part is None) == bool(problems)
        if part is not None:
            assert grants(part).items() <= granted, whole[:cut]


@patient
@given(policies)
def test_cut_off_before_its_end_it_is_no_policy(policy: tuple[list[Said], str]) -> None:
    """The file counts from its last line on, and not a byte earlier."""
    whole = policy[1].encode().rstrip()
    end = whole.rindex(b"\n[end]") + len(b"\n[end]") if b"\n[end]" in whole else len(b"[end]")
    for cut in range(max(0, end - 12), end):
        assert parse((PATH, whole[:cut]))[0] is None


@patient
@given(policies, st.data())
def test_a_deny_anywhere_takes_exactly_its_bridges_away(policy: tuple[list[Said], str], data: st.DataObject) -> None:
    """One more deny for everyone changes nothing else, wherever it is put."""
    rules, _ = policy
    bridge = data.draw(st.sampled_from(BRIDGES))
    deny = Said(False, (bridge,))
    rules = [rule for rule in rules if _scope(rule) != _scope(deny)]
    before = grants(policy_of(_plainly(rules)))
    place = data.draw(st.integers(0, len(rules)))
    after = grants(policy_of(_plainly([*rules[:place], deny, *rules[place:]])))
    assert after == {what: terms for what, terms in before.items() if bridge.encode() not in what[1:]}


@patient
@given(policies, st.integers(0, 6))
def test_where_files_begin_and_end_is_no_matter(policy: tuple[list[Said], str], place: int) -> None:
    """The same rules in two files are the same policy."""
    rules, text = policy
    parts = [_plainly(part).encode() for part in (rules[:place], rules[place:])]
    both, problems = parse((PATH, parts[0]), [("/other", parts[1])])
    assert not problems
    assert both is not None
    assert grants(both) == grants(policy_of(text))


@patient
@given(policies)
def test_ports_are_counted_by_the_same_however_it_is_written(policy: tuple[list[Said], str]) -> None:
    """Another way to write the rules, and other settings in them, leave their identities as they are."""
    rules, text = policy
    plainly = _plainly([replace(rule, mtu=1400, expires=None) if rule.allow else rule for rule in rules])
    assert [rule.terms.rule for rule in policy_of(text).rules] == [rule.terms.rule for rule in policy_of(plainly).rules]


@patient
@given(policies, st.data())
def test_one_bad_line_anywhere_leaves_nothing(policy: tuple[list[Said], str], data: st.DataObject) -> None:
    """A line that is not understood refuses the whole policy, whatever stands around it, and is named."""
    lines = _plainly(policy[0]).splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    bad = data.draw(st.sampled_from(["x", "nonsense = 1", "[[alow]]", "[x]", "x.y = 1", "\0", "queues = 1e3"]))
    found, problems = parse((PATH, "\n".join([*lines[:place], bad, *lines[place:]]).encode()))
    assert found is None
    assert place + 1 in [problem.line for problem in problems]


def test_the_day_of_these_tests_is_the_one_that_the_model_has() -> None:
    """The model above has the day written into it."""
    assert TODAY == (2026, 11, 21)
