# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest may send, as the kernel judges it: the real one runs the program, without a network."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import any_frames, sieve_runner, wiles
from tests.support.may_pass import Sieve, may_pass
from tests.support.wiles import CASES, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{_setting(case.sieve)}: {case.name}")
def test_what_is_honest_passes_and_what_is_not_is_dropped(case: Case) -> None:
    """Each wile that is known fails, and what it looks like passes; the second telling of the rules agrees."""
    with sieve_runner.running(case.sieve) as runner:
        assert runner.matches(case.frame) == case.passes
    assert may_pass(case.frame, case.sieve) == case.passes


def _setting(sieve: Sieve) -> str:
    if sieve == wiles.EVERYTHING:
        return "everything"
    words = ["macs"] * bool(sieve.macs) + [str(network) for network in sieve.addresses] + sorted(sieve.guards)
    return " ".join(words)


@settings(max_examples=1500, deadline=None)
@given(any_frames.SIEVES, st.lists(any_frames.FRAMES, min_size=5, max_size=20))
def test_the_kernel_judges_as_the_rules_are_told_a_second_time(sieve: Sieve, frames: list[bytes]) -> None:
    """For any settings and any frame, the program that the kernel runs and the plain words agree."""
    with sieve_runner.running(sieve) as runner:
        for frame in frames:
            assert runner.matches(frame) == may_pass(frame, sieve), frame.hex(" ")
