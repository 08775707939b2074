# SPDX-License-Identifier: GPL-2.0-or-later
"""What is timed: programs from their start to their end, as QEMU waits for them."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
_SILENCE = [(os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)]


@dataclass
class Ports:
    """TAPs that are kept open: removing one takes the kernel longer than making one."""

    fds: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Give all of them back."""
        while self.fds:
            os.close(self.fds.pop())


class Keeper:
    """Another process, which holds the TAPs as other QEMUs would: what a helper inherits, it has to close."""

    def __init__(self) -> None:
        self._near, far = socket.socketpair()
        self._process = os.fork()
        if self._process == 0:
            self._near.close()
            while socket.recv_fds(far, 1, 1)[0]:
                far.send(b"!")
            os._exit(0)
        far.close()

    def take_over(self, ports: Ports) -> None:
        """Hold all of these from now on."""
        for fd in ports.fds:
            socket.send_fds(self._near, [b"!"], [fd])
            if self._near.recv(1) != b"!":
                raise RuntimeError("the process that holds the ports has ended")
        ports.close()

    def close(self) -> None:
        """Give all of them back, and wait until the kernel has removed them."""
        self._near.close()
        os.waitpid(self._process, 0)


@dataclass(frozen=True)
class Call:
    """A helper that was started, and our end of its socket."""

    helper: Path
    process: int
    near: socket.socket

    def finish(self, ports: Ports) -> None:
        """Take the fd and wait for the end.  Raises RuntimeError unless both came."""
        with self.near:
            _, fds, _, _ = socket.recv_fds(self.near, 1, 1)
        ports.fds += fds
        wait(self.process, 0)
        if len(fds) != 1:
            raise RuntimeError(f"{self.helper}: no fd")


def call(helper: Path, bridge: str) -> Call:
    """Start a helper as QEMU does."""
    near, far = socket.socketpair()
    with far:
        far.set_inheritable(True)
        words = [str(helper), "--use-vnet", f"--fd={far.fileno()}", f"--br={bridge}"]
        return Call(helper, spawn(words), near)


def grant(helper: Path, bridge: str, ports: Ports) -> float:
    """Seconds from the start of a helper to fd received and helper ended."""
    begin = time.perf_counter()
    call(helper, bridge).finish(ports)
    return time.perf_counter() - begin


def grants_at_once(helper: Path, bridge: str, count: int, ports: Ports) -> float:
    """Seconds from the start of the first of `count` helpers to the end of the last."""
    begin = time.perf_counter()
    for started in [call(helper, bridge) for _ in range(count)]:
        started.finish(ports)
    return time.perf_counter() - begin


def run(words: Sequence[str], status: int) -> float:
    """Seconds from the start of a program to its end, which has to be with this status."""
    begin = time.perf_counter()
    wait(spawn(words), status)
    return time.perf_counter() - begin


def spawn(words: Sequence[str]) -> int:
    """Start a program, its stderr thrown away; return its pid."""
    return os.posix_spawn(words[0], list(words), ENVIRONMENT, file_actions=_SILENCE)


def wait(process: int, status: int) -> None:
    """Wait for the end of a process.  Raises RuntimeError if it is another than expected."""
    ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if ended != status:
        raise RuntimeError(f"a program ended with {ended}, not {status}")
