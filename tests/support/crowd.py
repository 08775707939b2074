# SPDX-License-Identifier: GPL-2.0-or-later
"""Many callers of the helper at once, each a real process, and what became of each."""

import os
import select
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.caller import PLAIN_UID, Outcome, receive

PATIENCE = 30.0
"""Seconds after which a helper hangs: it bounds itself to 10."""


class Call:
    """A helper that was started and has not been waited for."""

    def __init__(self, helper: Path, bridge: str, uid: int) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [str(helper), "--use-vnet", f"--fd={theirs.fileno()}", f"--br={bridge}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                user=uid,
                group=uid,
                extra_groups=[],
            )
        self._ended = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """The helper's process."""
        return self._process.pid

    def fileno(self) -> int:
        """What can be read from when the helper has ended."""
        return self._ended

    def finish(self) -> Outcome:
        """Wait for its end, and return what it did."""
        os.close(self._ended)
        _, stderr = self._process.communicate(timeout=PATIENCE)
        with self._ours:
            data, fds = receive(self._ours)
        return Outcome(self._process.returncode, stderr.decode(errors="replace"), data, fds)

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self.finish().close()


class Crowd:
    """So many callers at any time, of which each is followed by the next; every end is checked, and counted."""

    def __init__(self, helper: Path, size: int, *, bridge: str = "br0", uid: int = PLAIN_UID) -> None:
        self._helper, self._size, self._bridge, self._uid = helper, size, bridge, uid
        self._calls: list[Call] = []
        self.seen: Counter[str] = Counter()
        """How often: `granted`, or the message of a refusal."""

    def go_on(self, *, until: Callable[[], bool], also: Callable[[], None] = lambda: None) -> None:
        """Keep the crowd calling until `until`; `also` is called after each end of a caller."""
        while not until():
            while len(self._calls) < self._size:
                self._calls.append(Call(self._helper, self._bridge, self._uid))
            self._take_ended()
            also()

    def finish(self) -> None:
        """Start no more, and wait for the end of all."""
        while self._calls:
            self._take_ended()

    def _take_ended(self) -> None:
        started = time.monotonic()
        ended = select.select(self._calls, [], [], PATIENCE)[0]
        assert ended, f"callers hang for {time.monotonic() - started:.0f} s"
        for call in ended:
            self._calls.remove(call)
            with call.finish() as outcome:
                # Exit 0 if and only if the fd was handed over; and whoever is refused learns why.
                assert outcome.granted or outcome.refused, outcome
                self.seen["granted" if outcome.granted else outcome.stderr.strip()] += 1

    def kill(self) -> None:
        """End all that are left."""
        for call in self._calls:
            call.kill()
        self._calls.clear()


@contextmanager
def crowd(helper: Path, size: int, **details: object) -> Iterator[Crowd]:
    """A crowd for the time of the block, all of whom have been heard at its end."""
    callers = Crowd(helper, size, **details)  # type: ignore[arg-type]
    try:
        yield callers
        callers.finish()
    finally:
        callers.kill()
