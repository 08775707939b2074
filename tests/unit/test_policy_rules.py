# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict of a policy: default deny, any deny wins, the first allow gives the terms; and names fail closed."""

import pytest

from qbhelper.policy.access_list import AccessList
from qbhelper.policy.access_list import Rule as Line
from qbhelper.policy.decision import Decision, Place
from qbhelper.request import Caller
from tests.support.policies import (
    ACCOUNTS,
    ADA,
    ALICE,
    BOB,
    CALLERS,
    PATH,
    ROOT,
    STRANGER,
    TODAY,
    MadeUpAccounts,
    decide,
    policy_of,
)

ALLOW_ALICE = '[[allow]]\nbridge = "br0"\nusers = "alice"\n[end]\n'


def allowed(text: str, bridge: bytes = b"br0", asked: bytes | None = None) -> set[int]:
    """The uids of the callers whom a policy allows a bridge."""
    policy = policy_of(text)
    return {caller.uid for caller in CALLERS if decide(policy, caller, bridge, asked).allowed}


EVERYBODY = {caller.uid for caller in CALLERS}


def test_nothing_is_allowed_unless_a_rule_says_so() -> None:
    """An empty policy refuses everybody, root too, and so does one that speaks of other bridges only."""
    assert allowed("[end]") == set()
    assert allowed('[[allow]]\nbridge = "br1"\n[end]') == set()
    assert allowed('[[deny]]\nbridge = "br1"\n[end]') == set()


@pytest.mark.parametrize(
    ("who", "uids"),
    [
        ("", EVERYBODY),
        ('users = "alice"', {1000}),
        ("users = 1000", {1000}),
        ('users = "1000-1001"', {1000, 1001}),
        ('users = ["bob", 0]', {0, 1001}),
        ('groups = "students"', {1001, 1002}),
        ('groups = "staff"', {1002}),  # her own group, not one of the supplementary ones
        ("groups = [2000]", {1001, 1002}),
        ('groups = "1999-2001"', {1001, 1002}),
        ('groups = "1000"', {1000}),
        ('users = "alice"\ngroups = "staff"', {1000, 1002}),  # in either
        ('users = "2000"', set()),  # a gid is no uid
        ('users = "nobody-here"', set()),
        ('users = ["nobody-here", "alice"]', {1000}),
        ('users = "alice"\ngroups = "no-such-group"', {1000}),
    ],
)
def test_a_rule_is_for_whom_it_names(who: str, uids: set[int]) -> None:
    """Users and groups by name, number and range; being among either is enough; an unknown name is nobody."""
    assert allowed(f'[[allow]]\nbridge = "br0"\n{who}\n[end]') == uids


def test_any_deny_wins_wherever_it_stands() -> None:
    """A deny behind the allow counts as one before it, and takes away from those alone whom it means."""
    for rules in (
        '[[allow]]\nbridge = "*"\n[[deny]]\nbridge = "br0"\nusers = "alice"\ngroups = "staff"\n[end]',
        '[[deny]]\nbridge = "br0"\nusers = "alice"\ngroups = "staff"\n[[allow]]\nbridge = "*"\n[end]',
    ):
        assert allowed(rules) == EVERYBODY - {1000, 1002}
        assert allowed(rules, b"br1") == EVERYBODY


def test_a_deny_counts_for_the_name_that_was_asked_for_too() -> None:
    """An altname does not get round a deny of either name, and opens no allow that is written for it."""
    deny = '[[allow]]\nbridge = "*"\n[[deny]]\nbridge = "lan"\n[end]'
    assert allowed(deny, b"br0", b"lan") == set()
    assert allowed(deny, b"lan", b"br0") == set()
    assert allowed(deny, b"br0", b"uplink") == EVERYBODY
    allow = '[[allow]]\nbridge = "lan"\n[end]'
    assert allowed(allow, b"br0", b"lan") == set()
    assert allowed(allow, b"lan", b"br0") == EVERYBODY


def test_the_first_allow_gives_the_terms() -> None:
    """Rules for few come before rules for many; what does not match is passed over."""
    policy = policy_of(
        """
        [[allow]]
        bridge = "br1"
        mtu = 1000
        [[allow]]
        bridge = "br0"
        users = "bob"
        mtu = 1300
        max_ports = 7
        queues = 3
        other_network_namespaces = true
        [[allow]]
        bridge = ["br0", "br1"]
        mtu = 1400
        [end]
        """
    )
    for caller, mtu, line in ((ALICE, 1400, 12), (BOB, 1300, 5)):
        decision = decide(policy, caller)
        assert (decision.allowed, str(decision.place)) == (True, f"{PATH}:{line}")
        assert decision.terms.port.mtu == mtu
    terms = decide(policy, BOB).terms
    assert (terms.max_ports, terms.max_ports_total, terms.queues) == (7, None, 3)
    assert terms.other_network_namespaces
    assert decide(policy, ALICE, b"br1").terms.port.mtu == 1000


def test_the_place_is_of_the_rule_that_decided() -> None:
    """A refusal names the deny, and names nothing where no rule says anything."""
    policy = policy_of('[[allow]]\nbridge = "*"\n\n[[deny]]\nbridge = "br0"\n[end]')
    assert str(decide(policy, ALICE).place) == f"{PATH}:4"
    assert decide(policy_of("[end]"), ALICE).place is None


def test_an_unknown_name_in_a_deny_refuses_everybody_whom_it_might_mean() -> None:
    """The account may come back, or just not be found: the deny is not lost, and says why it counts."""
    policy = policy_of('[[allow]]\nbridge = "*"\n[[deny]]\nbridge = "br0"\nusers = ["mallory", "alice"]\n[end]')
    for caller in CALLERS:
        decision = decide(policy, caller)
        assert (decision.allowed, str(decision.place)) == (False, f"{PATH}:3")
        # Alice is meant in any case: nothing needs to be said of names.
        assert decision.note == ("" if caller is ALICE else "it names an account that is not known on this host")
        assert decide(policy, caller, b"br1").allowed
    known = MadeUpAccounts(users={"alice": 1000, "mallory": 1666})
    assert policy.decide(b"br0", b"br0", BOB, known, TODAY).allowed


def test_an_unknown_group_in_a_deny_refuses_too() -> None:
    """For groups it is the same."""
    policy = policy_of('[[allow]]\nbridge = "*"\n[[deny]]\nbridge = "br0"\ngroups = "gone"\n[end]')
    assert not decide(policy, STRANGER).allowed


def test_names_are_looked_up_only_where_they_matter() -> None:
    """Numbers need no name service, nor does a rule for another bridge: what is down there delays nobody."""

    class Unreachable(MadeUpAccounts):
        def uid_of(self, name: str) -> int | None:
            raise AssertionError(name)

        gid_of = uid_of

    policy = policy_of(
        '[[allow]]\nbridge = "br0"\nusers = [1000]\n[[allow]]\nbridge = "br1"\nusers = "bob"\n'
        '[[deny]]\nbridge = "br2"\ngroups = "students"\n[[deny]]\nbridge = "br0"\nusers = "5-9"\n[end]'
    )
    assert policy.decide(b"br0", b"br0", ALICE, Unreachable(), TODAY).allowed
    assert not policy.decide(b"br0", b"br0", BOB, Unreachable(), TODAY).allowed


@pytest.mark.parametrize(
    ("day", "allowed"),
    [
        ((2026, 12, 31), True),
        ((2027, 1, 30), True),
        ((2027, 1, 31), True),
        ((2027, 2, 1), False),
        ((2030, 1, 1), False),
    ],
)
def test_a_rule_counts_through_the_day_that_it_names(day: tuple[int, int, int], allowed: bool) -> None:
    """The day itself is the last; after it the refusal says that there was a rule, and which."""
    policy = policy_of('[[allow]]\nbridge = "br0"\nexpires = 2027-01-31\n[end]')
    decision = policy.decide(b"br0", b"br0", ALICE, ACCOUNTS, day)
    assert decision.allowed == allowed
    assert decision.note == ("" if allowed else f"{PATH}:1 allowed it until 2027-01-31")


def test_what_has_expired_gives_way_to_the_next_rule() -> None:
    """An expired allow is as if it were not there; nor does it tell those of it whom it never meant."""
    policy = policy_of(
        '[[allow]]\nbridge = "br0"\nexpires = 0999-01-31\nusers = "alice"\n'
        '[[allow]]\nbridge = ["br0", "br1"]\nmtu = 1400\nusers = 1000\n[end]'
    )
    assert decide(policy, ALICE).terms.port.mtu == 1400
    assert decide(policy, ALICE).note == ""
    assert decide(policy, BOB).note == ""
    only = policy_of('[[allow]]\nbridge = "br0"\nexpires = 0999-01-31\nusers = "alice"\n[end]')
    assert decide(only, ALICE).note == f"{PATH}:1 allowed it until 0999-01-31"
    assert decide(only, BOB).note == ""


class TestTheIdentityOfARule:
    """What ports are counted by."""

    def identity(self, rule: str) -> str:
        """The identity of a rule, which is the last of its file."""
        found = policy_of(f"{rule}\n[end]").rules[-1].terms.rule
        assert found is not None
        return found

    def test_is_the_same_however_the_rule_is_written(self) -> None:
        """Order, ranges that touch, another line, other settings, and other rules around it: still the same rule."""
        first = self.identity('[[allow]]\nbridge = ["br0", "br1"]\nusers = ["bob", "alice", "1000-1999"]\ngroups = 7')
        assert first == self.identity(
            '[[deny]]\nbridge = "x"\n[[allow]]\ngroups = ["7"]\nmax_ports = 4\nexpires = 2030-01-01\nvlan = 7\n'
            'users = ["1000-1500", "alice", "1501-1999", "bob", 1001]\nbridge = ["br1", "br0"]'
        )

    def test_is_another_for_other_bridges_and_accounts(self) -> None:
        """Whatever a rule speaks of makes its identity, and a user is not a group."""
        rules = [
            'bridge = "br0"',
            'bridge = "br1"',
            'bridge = ["br0", "br1"]',
            'bridge = "*"',
            'bridge = "br0"\nusers = "alice"',
            'bridge = "br0"\ngroups = "alice"',
            'bridge = "br0"\nusers = "1000"',
            'bridge = "br0"\nusers = "1000-1001"',
            'bridge = "br0"\nusers = ["alice", "bob"]',
            'bridge = "br0"\nusers = "alice"\ngroups = "bob"',
        ]
        assert len({self.identity(f"[[allow]]\n{rule}") for rule in rules}) == len(rules)

    def test_stays_what_it_is(self) -> None:
        """Ports that are there carry it: another way to make it would let everybody have their number twice."""
        assert self.identity('[[allow]]\nbridge = "br0"') == "1dbd94f0"
        assert (
            self.identity('[[allow]]\nbridge = "br0"\nusers = ["alice", "1000-1999"]\ngroups = "students"')
            == "852e9fd9"
        )


def listed(*lines: tuple[bool, bytes | None]) -> AccessList:
    """An access list with these lines."""
    place = Place("/etc/qemu/bridge.conf", 1)
    return AccessList("/etc/qemu/bridge.conf", tuple(Line(allow, bridge, place) for allow, bridge in lines))


class TestBesideTheAccessList:
    """With qemu_acl, QEMU's access list counts as well."""

    RULES = 'qemu_acl = true\n[[allow]]\nbridge = "br0"\nmtu = 1400\n[[deny]]\nbridge = "br1"\n[end]'

    def verdict(self, lines: AccessList, bridge: bytes, asked: bytes | None = None) -> Decision:
        """The verdict for Alice of both together."""
        policy = policy_of(self.RULES).for_caller(ALICE, ACCOUNTS, lambda: TODAY, lines)
        assert policy.path == PATH
        return policy.decide(bridge, asked)

    def test_a_deny_of_either_wins(self) -> None:
        """No allow of one opens what the other denies, by either name."""
        assert str(self.verdict(listed((True, None)), b"br1").place) == f"{PATH}:5"
        assert str(self.verdict(listed((False, b"br0")), b"br0").place) == "/etc/qemu/bridge.conf:1"
        assert str(self.verdict(listed((False, b"lan")), b"br0", b"lan").place) == "/etc/qemu/bridge.conf:1"
        assert not self.verdict(listed((False, b"lan")), b"br0", b"lan").allowed

    def test_an_allow_of_the_policy_comes_first(self) -> None:
        """The bridge that both allow comes with the settings of the rule."""
        decision = self.verdict(listed((True, b"br0")), b"br0")
        assert (str(decision.place), decision.terms.port.mtu) == (f"{PATH}:2", 1400)

    def test_an_allow_of_the_list_gives_a_plain_port(self) -> None:
        """What only the list allows is what it would be without a policy."""
        decision = self.verdict(listed((True, b"br7")), b"br7")
        assert (decision.allowed, str(decision.place)) == (True, "/etc/qemu/bridge.conf:1")
        assert decision.terms.port.is_plain
        assert (decision.terms.rule, decision.terms.queues, decision.terms.max_ports) == (None, 1, None)

    def test_what_neither_allows_is_refused(self) -> None:
        """Without a line in either, there is no place to name."""
        decision = self.verdict(listed(), b"br7")
        assert (decision.allowed, decision.place) == (False, None)

    def test_the_note_of_the_policy_is_not_lost(self) -> None:
        """An expired rule is told also where the list says nothing."""
        policy = policy_of('qemu_acl = true\n[[allow]]\nbridge = "br0"\nexpires = 2020-01-01\n[end]')
        verdict = policy.for_caller(ALICE, ACCOUNTS, lambda: TODAY, listed()).decide(b"br0")
        assert verdict.note == f"{PATH}:2 allowed it until 2020-01-01"

    def test_it_counts_only_if_the_policy_says_so(self) -> None:
        """Code that forgets the list, or brings one that does not count, fails instead of granting."""
        with pytest.raises(ValueError, match="if and only if"):
            policy_of(self.RULES).for_caller(ALICE, ACCOUNTS, lambda: TODAY, None)
        with pytest.raises(ValueError, match="if and only if"):
            policy_of(ALLOW_ALICE).for_caller(ALICE, ACCOUNTS, lambda: TODAY, listed())


def test_what_is_kept_for_a_caller_looks_at_date_and_names_anew() -> None:
    """A broker keeps it for hours: a rule that expires in that time, or an account that is made, counts at once."""
    accounts = MadeUpAccounts(users={})
    today = [(2026, 12, 31)]
    policy = policy_of('[[allow]]\nbridge = "br0"\nusers = "alice"\nexpires = 2026-12-31\n[end]')
    kept = policy.for_caller(ALICE, accounts, lambda: today[0])
    assert not kept.decide(b"br0").allowed
    accounts.users["alice"] = 1000
    assert kept.decide(b"br0").allowed
    today[0] = (2027, 1, 1)
    assert not kept.decide(b"br0").allowed


def test_a_caller_is_known_by_uid_and_all_groups() -> None:
    """The gid counts as the supplementary groups do; more groups than anybody has are no matter."""
    policy = policy_of('[[allow]]\nbridge = "br0"\ngroups = 2000\n[end]')
    assert decide(policy, Caller(5, 2000, ())).allowed
    assert decide(policy, Caller(5, 5, (*range(3000, 70000), 2000))).allowed
    assert not decide(policy, Caller(2000, 5, (5,))).allowed
    assert {decide(policy, caller).allowed for caller in (ALICE, ROOT)} == {False}
    assert decide(policy, ADA).allowed
