# SPDX-License-Identifier: GPL-2.0-or-later
"""Killed at any step, the helper leaves nothing; and what it has handed over is whole."""

import signal

import pytest

from tests.kernel import traced
from tests.kernel.ways import Way, taps
from tests.support import world

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip]

EARLY = 24
"""How many of the hundreds of steps before the TAP exists are tried, evenly spread."""


def kill_at(way: Way, step: traced.Step) -> None:
    """Kill a run as it takes this step, and insist on nothing or a complete hand-over."""
    with traced.tampered(way.helper, step, "signal=SIGKILL") as outcome:
        assert outcome.status == -signal.SIGKILL, f"{step}: {outcome}"
        assert outcome.stderr == "", step
        assert (outcome.data, len(outcome.fds)) in ((b"", 0), (b"\0", 1)), step
        if outcome.fds:
            assert world.ports("br0") == taps() == {outcome.tap().name}, step
        # Already now, not some time later: the process is gone, and with it what only it held.
        assert len(taps()) == len(outcome.fds), step
    assert taps() == frozenset()


def test_killed_while_the_tap_exists_it_leaves_nothing(lent: Way, br0: str) -> None:
    """SIGKILL at every system call from opening the tun device to the end of the process."""
    steps = traced.steps(lent.helper)[traced.position(lent.helper, "openat", "/dev/net/tun") :]
    names = [step.name for step in steps]
    assert {"ioctl", "sendto", "recvfrom", "sendmsg", "exit_group"} <= set(names)
    for step in steps:
        kill_at(lent, step)


def test_killed_after_the_hand_over_the_port_is_whole(lent: Way, br0: str) -> None:
    """Between sending and exiting there is only the log: QEMU then has a working port and an error (2.1.8)."""
    with traced.tampered(lent.helper, traced.find(lent.helper, "exit_group", ""), "signal=SIGKILL") as outcome:
        assert (outcome.data, len(outcome.fds)) == (b"\0", 1)
        assert world.ports(br0) == {outcome.tap().name}
    assert world.ports(br0) == frozenset()


def test_killed_before_there_is_a_tap_it_leaves_nothing(lent: Way, br0: str) -> None:
    """SIGKILL at steps all over the native part and the start of Python."""
    early = traced.steps(lent.helper)[1 : traced.position(lent.helper, "openat", "/dev/net/tun")]
    # How often memory is mapped varies with where it lies, so those steps may not come.
    stable = [step for step in early if step.name not in ("brk", "mmap", "munmap", "mprotect", "mremap")]
    for step in stable[:: len(stable) // EARLY]:
        kill_at(lent, step)


def test_the_end_of_its_time_is_like_being_killed(lent: Way, br0: str) -> None:
    """SIGALRM, which bounds the whole, ends it in the middle of its work as any deadly signal does."""
    attach = traced.find(lent.helper, "sendto", "IFLA_MASTER")
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        with traced.tampered(lent.helper, attach, f"signal={number.name}") as outcome:
            assert outcome.status == -number
            assert (outcome.data, outcome.fds) == (b"", [])
        assert taps() == frozenset()


def test_an_interrupt_at_the_terminal_makes_no_traceback(lent: Way, br0: str) -> None:
    """Ctrl-C, meant for QEMU, reaches the helper too: it is ignored, and the request is answered."""
    attach = traced.find(lent.helper, "sendto", "IFLA_MASTER")
    with traced.tampered(lent.helper, attach, "signal=SIGINT") as outcome:
        assert outcome.granted
