# SPDX-License-Identifier: GPL-2.0-or-later
"""Many callers at once: each gets a port of its own, and all of them come back."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kernel.ways import Way, taps
from tests.support import caller, world

CALLERS = 50


@pytest.mark.needs_root
def test_fifty_users_at_once_get_fifty_ports(lent: Way, br0: str) -> None:
    """Different uids at the same time, and no two share a TAP; when all let go, none is left."""
    with ThreadPoolExecutor(CALLERS) as pool:
        outcomes = list(pool.map(lambda number: caller.call(lent.helper, uid=20_000 + number), range(CALLERS)))
    try:
        assert [outcome for outcome in outcomes if not outcome.granted] == []
        names = {outcome.tap().name for outcome in outcomes}
        assert len(names) == CALLERS
        assert names == world.ports(br0) == taps()
    finally:
        for outcome in outcomes:
            outcome.close()
    assert taps() == frozenset()


@pytest.mark.needs_root
def test_a_refusal_among_grants_is_nobody_elses(lent: Way, br0: str) -> None:
    """Allowed and denied callers at once: each gets the answer to its own question."""
    world.write_access_list("allow br0\n")
    wishes = ["br0", "br1"] * 10
    with ThreadPoolExecutor(len(wishes)) as pool:
        outcomes = list(pool.map(lambda wish: caller.call(lent.helper, bridge=wish), wishes))
    try:
        for wish, outcome in zip(wishes, outcomes, strict=True):
            assert outcome.granted if wish == "br0" else outcome.refused
    finally:
        for outcome in outcomes:
            outcome.close()


def test_asking_again_and_again_adds_nothing_up(way: Way, br0: str) -> None:
    """Port after port, each closed before the next: always the same name, and no fd or interface more."""
    for _ in range(30):
        with way.call() as outcome:
            assert outcome.tap().name == "tap0"
        assert world.ports(br0) == frozenset()
