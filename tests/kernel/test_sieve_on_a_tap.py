# SPDX-License-Identifier: GPL-2.0-or-later
"""The sieve where it is used: on frames that came out of a TAP, off which the kernel has taken the first VLAN tag.

Here a packet socket runs the program, on what traffic control would give it; so it takes no classifier in the kernel.
"""

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import any_frames, lan, sieve_runner
from tests.support.lan import Lan, Port, Wire
from tests.support.may_pass import Sieve, may_pass, untagged
from tests.support.wiles import CASES, TAGGED_CASES, Case


@pytest.fixture(scope="module")
def net() -> Iterator[Lan]:
    """A LAN."""
    with lan.lan() as made:
        yield made


@pytest.fixture(scope="module")
def guest(net: Lan) -> Iterator[Port]:
    """A guest whose port has no settings."""
    with lan.port_on(net.bridge) as made:
        yield made


def matched(guest: Port, sieve: Sieve, frames: list[bytes]) -> list[bytes]:
    """Those of the frames that the guest sends which the program matches, as the TAP brings them."""
    with contextlib.closing(Wire(guest.name)) as wire:
        sieve_runner.attach(wire.socket, sieve_runner.program(sieve))
        for frame in frames:
            guest.send(frame)
        return wire.all_there()


def expected(sieve: Sieve, frames: list[bytes]) -> list[bytes]:
    """Those which should be matched."""
    return [frame for frame in frames if _survives(frame) and may_pass(untagged(frame)[0], sieve, untagged(frame)[1])]


def _survives(frame: bytes) -> bool:
    """Whether the kernel itself does not drop a frame, as it does with a tag that nothing comes after."""
    return untagged(frame)[1] is None or len(frame) >= 14 + 4 + 2


@pytest.mark.parametrize("case", [*CASES, *TAGGED_CASES], ids=lambda case: case.name)
def test_what_is_honest_passes_and_what_is_not_is_dropped(guest: Port, case: Case) -> None:
    """Each wile that is known fails, and what it looks like passes, on a TAP as on a socket."""
    frames = [case.frame] if len(case.frame) >= 14 else []
    assert matched(guest, case.sieve, frames) == (frames if case.passes else [])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_frames.SIEVES, st.lists(any_frames.FRAMES.filter(lambda frame: len(frame) >= 14), min_size=5, max_size=20))
def test_the_kernel_judges_as_the_rules_are_told_a_second_time(guest: Port, sieve: Sieve, frames: list[bytes]) -> None:
    """For any settings and any frames, the program and the plain words agree on what the TAP brings."""
    assert matched(guest, sieve, frames) == expected(sieve, frames)
