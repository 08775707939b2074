# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs of a helper under strace: which steps it takes, and what happens if one of them goes wrong.

Tracing by root, with `-u`, leaves setuid and file capabilities in force.  A step is a system call,
known by its name and by how many of that name came before it: that is how strace counts, too.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.kernel import probe
from tests.support import caller, world
from tests.support.caller import Outcome

ACCOUNT = "nobody"
"""The one plain user with a name that every distribution has; strace takes no number."""


@dataclass(frozen=True)
class Step:
    """The `nth` system call of this name in a run, and what strace says of it."""

    name: str
    nth: int
    text: str

    def __str__(self) -> str:
        return f"{self.name}#{self.nth}"


def under_strace(helper: Path, *options: str) -> Outcome:
    """Call a helper as `nobody`, under strace with these options."""
    return caller.call(
        Path(shutil.which("strace") or "strace"),
        uid=None,
        env={"PATH": os.environ["PATH"]},
        argv=lambda fd: ["-qq", "-u", ACCOUNT, *options, str(helper), "--use-vnet", f"--fd={fd}", "--br=br0"],
    )


@cache
def steps(helper: Path) -> tuple[Step, ...]:
    """Every system call of a run that is granted, in order.  Needs a br0 that is allowed."""
    log = world.WORLD / "steps"
    with under_strace(helper, "-s", "200", "-v", "-o", str(log)) as outcome:
        assert outcome.granted, outcome
    lines = [match for line in log.read_text().splitlines() if (match := re.match(r"(\w+)\((.*)", line))]
    # strace does not count the execve by which it starts the program.
    seen = Counter({"execve": -1})
    found = []
    for match in lines:
        name, text = match.groups()
        seen[name] += 1
        found.append(Step(name, seen[name], text))
    return tuple(found)


def position(helper: Path, name: str, text: str) -> int:
    """Where in `steps` the first one of this name stands whose words contain `text`."""
    return next(at for at, step in enumerate(steps(helper)) if step.name == name and text in step.text)


def find(helper: Path, name: str, text: str, *, last: bool = False, before: str | None = None) -> Step:
    """The first (or last) step of this name whose words contain `text`; the last one before a `before`, if given."""
    taken = steps(helper)
    if before is not None:
        taken = taken[: next(at for at, step in enumerate(taken) if step.name == before)]
    found = [step for step in taken if step.name == name and text in step.text]
    assert found, f"no {name} with {text}"
    return found[-1 if last or before else 0]


def tampered(helper: Path, step: Step, how: str) -> Outcome:
    """Call a helper with something done to one step: `signal=SIGKILL` or `error=EPERM`, for example."""
    return under_strace(
        helper, "-o", "/dev/null", "-e", f"trace={step.name}", "-e", f"inject={step.name}:{how}:when={step.nth}"
    )


class Stopped:
    """A run that stands still each time it has taken one of certain steps."""

    def __init__(self, strace: subprocess.Popen[bytes], log: int, end: socket.socket) -> None:
        self._strace = strace
        self._log = log
        self._end = end
        self._heard = b""
        self._waited = 0
        self.outcome: Outcome | None = None

    @property
    def pid(self) -> int:
        """The helper's own process."""
        return probe.children(self._strace.pid)[0]

    def wait_until_stopped(self) -> None:
        """Wait until it has stopped (again)."""
        self._waited += 1
        while self._heard.count(b"stopped by SIGSTOP") < self._waited:
            part = os.read(self._log, 4096)
            assert part, f"it ended instead of stopping: {self._heard!r}"
            self._heard += part

    def go_on(self) -> None:
        """Let it run."""
        os.kill(self.pid, signal.SIGCONT)

    def finish(self) -> Outcome:
        """Let it run to its end; what came of it."""
        self.go_on()
        data, fds = caller.receive(self._end)
        _, stderr = self._strace.communicate(timeout=30)
        self.outcome = Outcome(self._strace.returncode, stderr.decode(errors="replace"), data, fds)
        return self.outcome


@contextmanager
def stopped_at(helper: Path, name: str, when: str) -> Iterator[Stopped]:
    """Call a helper and hold it when it has taken the steps of this name that `when` counts."""
    ours, theirs = socket.socketpair()
    log, written = os.pipe()
    with ours, theirs:
        ours.settimeout(30)
        words = ["strace", "-qq", "-u", ACCOUNT, "-o", f"/dev/fd/{written}", "-e", f"trace={name}"]
        words += ["-e", f"inject={name}:signal=SIGSTOP:when={when}"]
        strace = subprocess.Popen(
            [*words, str(helper), "--use-vnet", f"--fd={theirs.fileno()}", "--br=br0"],
            pass_fds=[theirs.fileno(), written],
            stderr=subprocess.PIPE,
        )
        theirs.close()
        os.close(written)
        run = Stopped(strace, log, ours)
        try:
            yield run
        finally:
            for pid in probe.children(strace.pid) if strace.poll() is None else []:
                probe.end(pid)
            strace.communicate(timeout=30)
            if run.outcome:
                run.outcome.close()
            os.close(log)
