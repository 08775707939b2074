# SPDX-License-Identifier: GPL-2.0-or-later
"""A hostile caller's limits, signals, timers and fds: a grant or a refusal, and nothing in between."""

import itertools
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel import limits
from tests.kernel.ways import Way, granted, granted_or_refused, refused, taps
from tests.support import caller, world
from tests.support.caller import Outcome

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("br0")]

ALL_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def limit(name: str, value: int) -> Callable[[], None]:
    """Set a limit, soft and hard, in the caller's process."""
    return lambda: limits.lower(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOFILE", 32),
        ("NOFILE", 8),
        ("NPROC", 1),
        ("FSIZE", 0),
        ("CORE", 1 << 30),
        ("CPU", 1),
        ("STACK", 512 << 10),
        ("DATA", 64 << 20),
        ("AS", 256 << 20),
        ("MEMLOCK", 0),
        ("SIGPENDING", 0),
        ("MSGQUEUE", 0),
        ("NICE", 0),
        ("RSS", 0),
    ],
)
def test_a_limit_that_leaves_enough_is_survived(lent: Way, name: str, value: int) -> None:
    """Each limit, as low as the helper can live with it, does not keep a caller from its port."""
    with lent.call(prepare=limit(name, value)) as outcome:
        granted(outcome)


@pytest.mark.parametrize(
    ("name", "value"),
    [("NOFILE", 7), ("STACK", 256 << 10), ("DATA", 32 << 20), ("AS", 128 << 20)],
)
def test_a_limit_that_does_not_is_named(lent: Way, name: str, value: int) -> None:
    """Below that the helper raises it, or says which one it is: it does not fail half way."""
    with lent.call(prepare=limit(name, value)) as outcome:
        granted_or_refused(outcome, f"failed to start: the hard limit `{name.lower()}' is too low; ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("STACK", 64 << 10), ("STACK", 16 << 10), ("DATA", 1 << 20), ("DATA", 1 << 12), ("AS", 8 << 20), ("AS", 1 << 20)],
)
def test_a_limit_under_which_no_program_starts_grants_nothing_by_half(lent: Way, name: str, value: int) -> None:
    """So low that the loader fails before our first line: whatever the status, nothing was sent or is left."""
    try:
        outcome = lent.call(prepare=limit(name, value))
    except OSError:
        return  # the kernel would not even execute it
    if not outcome.granted:
        assert outcome.status != 0
        assert (outcome.data, outcome.fds) == (b"", [])
        assert taps() == frozenset()
    outcome.close()


def test_a_caller_at_its_limit_of_processes_gets_its_port(lent: Way) -> None:
    """Other processes of the same uid count towards RLIMIT_NPROC; the helper starts none."""
    uid = caller.PLAIN_UID
    with subprocess.Popen(["sleep", "60"], user=uid, group=uid, extra_groups=[]) as other:
        with lent.call(prepare=limit("NPROC", 1)) as outcome:
            granted(outcome)
        other.kill()


def test_a_message_that_cannot_be_written_is_a_refusal_all_the_same(lent: Way, tmp_path: Path) -> None:
    """RLIMIT_FSIZE 0 with stderr a file: no signal kills it, the status says what the message can't."""
    world.write_access_list("deny all\n")
    with (tmp_path / "stderr").open("wb") as file:

        def prepare() -> None:
            os.dup2(file.fileno(), 2)
            limit("FSIZE", 0)()

        with lent.call(prepare=prepare) as outcome:
            assert (outcome.status, outcome.data, outcome.fds) == (1, b"", [])


@pytest.mark.parametrize("target", ["/dev/full", "/dev/null", "/"])
def test_a_stderr_that_takes_nothing_changes_nothing(lent: Way, target: str) -> None:
    """A full disk or a directory as stderr: the status is that of the refusal."""
    world.write_access_list("deny all\n")

    def prepare() -> None:
        os.dup2(os.open(target, os.O_RDONLY if target == "/" else os.O_WRONLY), 2)

    with lent.call(prepare=prepare) as outcome:
        assert (outcome.status, outcome.stderr, outcome.data, outcome.fds) == (1, "", b"", [])


CLOSED = [fds for count in (1, 2, 3) for fds in itertools.combinations((0, 1, 2), count)]


def closing(fds: tuple[int, ...]) -> Callable[[], None]:
    """Close standard fds in the caller's process."""

    def prepare() -> None:
        for fd in fds:
            os.close(fd)

    return prepare


@pytest.mark.parametrize("fds", CLOSED, ids=str)
def test_closed_standard_fds_do_no_harm(way: Way, fds: tuple[int, ...]) -> None:
    """Whichever of 0, 1 and 2 are closed, the port is granted."""
    with way.call(prepare=closing(fds)) as outcome:
        granted(outcome)


@pytest.mark.parametrize("fds", CLOSED, ids=str)
def test_a_message_for_closed_standard_fds_goes_nowhere_else(way: Way, fds: tuple[int, ...]) -> None:
    """What is meant for stderr never lands in the socket or in a file that took its number."""
    world.write_access_list("deny all\n")
    with way.call(prepare=closing(fds)) as outcome:
        assert (outcome.status, outcome.data, outcome.fds) == (1, b"", [])
        assert bool(outcome.stderr) == (2 not in fds)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("close_original", [False, True])
def test_the_socket_may_be_a_standard_fd(lent: Way, number: int, *, close_original: bool) -> None:
    """A hand-over socket at 0, 1 or 2 works, and a message is not written into it."""

    def prepare(fd: int) -> None:
        os.dup2(fd, number)
        if close_original:
            os.close(fd)

    def call() -> Outcome:
        numbers: list[int] = []

        def words(fd: int) -> list[str]:
            numbers.append(fd)
            return [f"--fd={number}", "--br=br0"]

        return lent.call(argv=words, prepare=lambda: prepare(numbers[0]))

    with call() as outcome:
        granted(outcome)
    world.write_access_list("deny all\n")
    with call() as outcome:
        assert (outcome.status, outcome.fds) == (1, [])
        # Before the socket is moved away, a message of the native part may only go where stderr is.
        assert outcome.data == b""


def block_all() -> None:
    """Block every signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)


def ignore_all() -> None:
    """Ignore every signal, SIGCHLD and SIGALRM too."""
    for number in ALL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def pending() -> None:
    """Leave every harmless-to-us signal pending behind the mask."""
    block_all()
    for number in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGINT, signal.SIGPIPE):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("prepare", [block_all, ignore_all, pending])
def test_a_callers_signal_state_does_no_harm(lent: Way, prepare: Callable[[], None]) -> None:
    """Blocked, ignored or pending: the port is granted, and a refusal is told."""
    with lent.call(prepare=prepare) as outcome:
        granted(outcome)
    world.write_access_list("deny all\n")
    with lent.call(prepare=prepare) as outcome:
        refused(outcome, "access denied by acl file: ")


@pytest.mark.parametrize("timer", [signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF])
def test_a_timer_of_the_callers_only_harms_the_caller(lent: Way, timer: int) -> None:
    """Timers go through execve: at worst the helper is ended by one, and then nothing is left."""

    def prepare() -> None:
        signal.setitimer(timer, 0.02, 0.02)

    with lent.call(prepare=prepare) as outcome:
        if not outcome.granted:
            assert outcome.status < 0
            assert (outcome.data, outcome.fds) == (b"", [])
            assert taps() == frozenset()


def test_nothing_waits_longer_than_its_time(setuid: Way) -> None:
    """A message into a pipe that nobody reads, with SIGALRM blocked and ignored: the helper ends all the same."""
    world.write_access_list("deny all\n")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)

    def prepare() -> None:
        os.dup2(writer, 2)
        ignore_all()
        block_all()

    with setuid.call(prepare=prepare) as outcome:
        assert outcome.status == -signal.SIGALRM
        assert (outcome.data, outcome.fds) == (b"", [])
    assert taps() == frozenset()
    os.close(reader)
    os.close(writer)
