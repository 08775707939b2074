# SPDX-License-Identifier: GPL-2.0-or-later
"""A rule gives so many ports and no more, whichever way they are asked for and however many ask at once."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import broker, install, world
from tests.support.caller import Outcome
from tests.support.crowd import Call
from tests.support.install import Privilege

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip]

ALICE, BOB = 61_234, 61_235

Helpers = Callable[[int], Path]
"""The helper for the n-th of several callers."""


def alternating(number: int) -> Path:
    """Every other caller has a setuid copy, which does not ask the broker."""
    return install.ours(Privilege.SETUID if number % 2 else Privilege.NONE)


WAYS: dict[str, Helpers] = {
    "brokered": lambda _: install.ours(Privilege.NONE),
    "standalone": lambda _: install.ours(Privilege.SETUID),
    "both": alternating,
}


@pytest.fixture(params=WAYS)
def helpers(request: pytest.FixtureRequest) -> Iterator[Helpers]:
    """Each way, with a broker running if it is asked."""
    with broker.by_hand() if request.param != "standalone" else ExitStack():
        yield WAYS[request.param]


@contextmanager
def policy(*lines: str) -> Iterator[None]:
    """One rule for br0, and the bridges br0 and br1."""
    with world.rule(*lines, bridges='["br0", "br1"]'), world.bridge("br0"), world.bridge("br1"):
        yield


def all_at_once(helpers: Helpers, count: int, uids: tuple[int, ...] = (ALICE,), bridge: str = "br0") -> list[Outcome]:
    """What became of `count` callers that were started together, of these uids in turn."""
    calls = [Call(helpers(number), bridge, uids[number % len(uids)]) for number in range(count)]
    return [call.finish() for call in calls]


def close(outcomes: list[Outcome]) -> None:
    """Give back what was granted."""
    for outcome in outcomes:
        outcome.close()


def taps() -> frozenset[str]:
    """The ports of both bridges, and whatever else might be left of a caller."""
    return world.interfaces() - {"lo", "br0", "br1"}


@pytest.mark.parametrize("limit", [1, 4])
def test_of_three_times_as_many_exactly_so_many_succeed(helpers: Helpers, limit: int) -> None:
    """max_ports = N and 3N callers at once, again and again: N have a port, each of the others a reason."""
    with policy(f"max_ports = {limit}"):
        for _ in range(4):
            outcomes = all_at_once(helpers, 3 * limit)
            granted = [outcome for outcome in outcomes if outcome.granted]
            assert len(granted) == limit
            assert len(taps()) == limit
            for outcome in outcomes:
                if not outcome.granted:
                    assert outcome.refused
                    assert outcome.stderr == (
                        f"quota: you have all {limit} ports that /etc/qbhelper/policy.toml:1 gives to one user; "
                        "end one of your guests, or ask the administrator of this host\n"
                    )
            close(outcomes)
            assert taps() == frozenset()


def test_the_total_is_of_all_users(helpers: Helpers) -> None:
    """max_ports_total = 3 and twelve callers of two uids: three have a port, whoever they are."""
    with policy("max_ports_total = 3"):
        outcomes = all_at_once(helpers, 12, (ALICE, BOB))
        assert sum(outcome.granted for outcome in outcomes) == 3
        assert {outcome.stderr.partition(";")[0] for outcome in outcomes if not outcome.granted} == {
            "quota: all 3 ports that /etc/qbhelper/policy.toml:1 gives are taken"
        }
        close(outcomes)


def test_ports_of_other_users_do_not_count(helpers: Helpers) -> None:
    """Of two users who ask at once each gets as many as the rule gives to one; also uids that look alike."""
    with policy("max_ports = 2"):
        uids = (ALICE, BOB, int(f"{ALICE}0"), ALICE // 10)
        outcomes = all_at_once(helpers, 16, uids)
        for index in range(len(uids)):
            assert sum(outcome.granted for outcome in outcomes[index :: len(uids)]) == 2
        close(outcomes)


def test_all_bridges_of_the_rule_count_together(helpers: Helpers) -> None:
    """A port on br0 takes the place of one on br1."""
    with policy("max_ports = 1"):
        first = all_at_once(helpers, 1)
        second = all_at_once(helpers, 1, bridge="br1")
        assert (first[0].granted, second[0].granted) == (True, False)
        close(first)


def test_a_port_that_ends_frees_its_place_at_once(helpers: Helpers) -> None:
    """Closing the fd is enough; nothing has to be told, and nothing waited for."""
    with policy("max_ports = 1"):
        for _ in range(10):
            outcomes = all_at_once(helpers, 1)
            assert outcomes[0].granted, outcomes
            close(outcomes)


def test_a_rule_that_is_edited_goes_on_counting(helpers: Helpers) -> None:
    """What was granted before the limit was written counts: it is a matter of the rule, not of its lines."""
    with policy("max_ports = 9"):
        before = all_at_once(helpers, 2)
        world.POLICY.write_text("# tighter\n" + world.POLICY.read_text().replace("9", "2"))
        after = all_at_once(helpers, 1)
        assert [outcome.granted for outcome in (*before, *after)] == [True, True, False]
        close(before)


def test_foreign_interfaces_do_not_count(helpers: Helpers) -> None:
    """Other programs' TAPs, and those with an alias that only looks like a lease, are nobody's ports."""
    world.run("ip", "tuntap", "add", "vpn0", "mode", "tap", "user", str(ALICE))
    world.run("ip", "link", "set", "vpn0", "alias", f"qbhelper lease=0123456789abcdef uid={ALICE}")
    try:
        with policy("max_ports = 1"):
            outcomes = all_at_once(helpers, 1)
            assert outcomes[0].granted, outcomes
            close(outcomes)
    finally:
        world.run("ip", "link", "del", "vpn0")


def test_a_claim_that_its_owner_holds_up_is_in_nobody_elses_way(helpers: Helpers) -> None:
    """An interface by the name of somebody's claim, which never comes to be a port: others have their quota."""
    world.run("ip", "tuntap", "add", f"~{BOB:x}.0", "mode", "tap")
    try:
        with policy("max_ports = 1"):
            outcomes = all_at_once(helpers, 1)
            assert outcomes[0].granted, outcomes
            refused = all_at_once(helpers, 1, (BOB,))
            assert refused[0].refused
            assert "try again" in refused[0].stderr
            close(outcomes)
    finally:
        world.run("ip", "link", "del", f"~{BOB:x}.0")
    assert os.listdir("/etc/qbhelper") == []
