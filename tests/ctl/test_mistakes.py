# SPDX-License-Identifier: GPL-2.0-or-later
"""What is allowed and surely a mistake is told, and what is no mistake is not."""

from pathlib import Path

import pytest
from hypothesis import given, settings

from qbhelper.ctl import mistakes
from qbhelper.kernel.link import Bridge
from qbhelper.policy.port import PortSettings, Terms
from qbhelper.policy.rules import Policy, Rule
from qbhelper.request import Caller
from tests.ctl import goldens
from tests.support.policies import ACCOUNTS, CALLERS, PATH, TODAY, decide, given_by, policy_of
from tests.unit.test_policy_properties import ASKED, Said, policies

CASES = goldens.cases(Path(__file__).parent / "goldens" / "mistakes.txt")
BRIDGES = {b"br0": Bridge(1, b"br0", 1500, True), b"lan0": Bridge(1, b"br0", 1500, True)}
OTHERS = {b"br1": Bridge(2, b"br1", 1500, True), b"eth0": Bridge(3, b"eth0", 1500, False)}

SUBORDINATES = [("bob", Caller(165_536, 1001, (2000,))), ("ada", Caller(231_072, 2001, (2000,)))]


def find(name: bytes) -> Bridge | None:
    """Look up a bridge of a host that is made up."""
    return (BRIDGES | OTHERS).get(name)


def find_all(name: bytes) -> Bridge:
    """On this host every bridge is there."""
    return Bridge(1, name, 1500, True)


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_told_exactly_so(case: str) -> None:
    """Where, what, and what to do."""
    text, expected = CASES[case]
    found = mistakes.in_policy(policy_of(text), ACCOUNTS, TODAY, find, SUBORDINATES)
    assert [str(problem).removeprefix(f"{PATH}:") for problem in found] == expected


def verdicts(policy: Policy) -> list[tuple[object, ...]]:
    """Every verdict of a policy, with the terms, but not the place."""
    return [
        (decision.allowed, *(given_by(decision.terms) if decision.allowed else ()))
        for caller in CALLERS
        for bridge in ASKED
        for decision in (decide(policy, caller, bridge),)
    ]


@settings(max_examples=300, deadline=None)
@given(policies)
def test_a_rule_that_is_said_never_to_decide_never_does(policy: tuple[list[Said], str]) -> None:
    """Without it every verdict is the same: else somebody would take out a rule that counts."""
    whole = policy_of(policy[1])
    for problem in mistakes.in_policy(whole, ACCOUNTS, TODAY, find_all):
        if "not known" not in problem.what and "vhost" not in problem.what:
            rest = tuple(rule for rule in whole.rules if rule.place.line != problem.line)
            assert len(rest) == len(whole.rules) - 1
            assert verdicts(Policy(PATH, rest)) == verdicts(whole), problem.what


def with_vhost_and_filters(policy: Policy) -> Policy:
    """The same rules, of which every other gives vhost, and those between filter."""
    each = (Terms(vhost=True), Terms(port=PortSettings(vlan=20)))
    rules = [
        Rule(rule.allow, rule.bridges, rule.who, rule.place, each[number % 2], rule.expires)
        for number, rule in enumerate(policy.rules)
    ]
    return Policy(policy.path, tuple(rules))


@settings(max_examples=300, deadline=None)
@given(policies)
def test_who_has_vhost_by_one_rule_and_is_filtered_by_another_is_told_of(policy: tuple[list[Said], str]) -> None:
    """Whatever way to have both a policy leaves, both rules are named."""
    whole = with_vhost_and_filters(policy_of(policy[1]))
    told = {
        (problem.line, place)
        for problem in mistakes.in_policy(whole, ACCOUNTS, TODAY, find_all)
        if "`vhost'" in problem.what
        for place in (str(rule.place) for rule in whole.rules)
        if f"{place} " in f"{problem.what} ".replace(",", " ")
    }
    for caller in CALLERS:
        granted = [decision for bridge in ASKED if (decision := decide(whole, caller, bridge)).allowed]
        for one in granted:
            for other in granted:
                if one.terms.vhost and other.terms.port.is_filtered:
                    assert one.place is not None
                    assert (one.place.line, str(other.place)) in told


def test_a_policy_without_mistakes_has_none() -> None:
    """Special rules before general ones, and a deny of a part, are no mistakes."""
    text = """
[[allow]]
bridge = "br0"
users = "alice"
queues = 4
[[allow]]
bridge = ["br0", "br1"]
groups = ["students", "staff"]
expires = 2026-11-21
[[allow]]
bridge = "br0"
groups = "students"
[[deny]]
bridge = "*"
users = "bob"
[[deny]]
bridge = "br1"
users = ["bob", "ada"]
[end]
"""
    assert mistakes.in_policy(policy_of(text), ACCOUNTS, TODAY, find) == []
