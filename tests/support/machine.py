# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole machines to test on: Debian, booted with systemd, thrown away afterwards.

    with boot("debian13") as machine:
        machine.check("systemctl", "start", "qbhelper.socket")
        print(machine.run("id", uid=61234).output)

Two kinds: a container (tests/support/container.py) is up in a second, has this machine's kernel and
speed, and can run QEMU; a virtual machine (tests/support/virtual_machine.py) takes a quarter of a
minute, is ten times slower, and has its distribution's own kernel with all that belongs to it.

Both have this checkout in /opt/qbhelper, and nothing of qbhelper installed.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from tests.support import payload

PATIENCE = 60.0
"""Seconds without a word from a command after which it is taken for stuck."""
HOME = "/root"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PRIVATE_WORLD = "setpriv --inh-caps=-all unshare --net --mount --pid --fork --kill-child --mount-proc"
"""What makes one, as in `./dev`."""


class MachineFailed(Exception):
    """A machine did not do what it should; says what is known of it."""


@dataclass(frozen=True)
class Done:
    """What came of a command."""

    status: int
    """Its exit status; 128 and more: the signal that ended it."""
    output: str
    """What it wrote to stdout and stderr."""


Stream = Generator[bytes, None, int]
"""The output of a command as it comes; returns the exit status."""


class Machine(ABC):
    """A booted machine.  A context manager: leaving it ends the machine and all that is in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._undo = ExitStack()
        """What ends the machine; filled when it has booted."""
        self._last_words = ""

    # What a kind of machine brings ------------------------------------------------------------------

    @abstractmethod
    def _execute(self, argv: list[str], stdin: bytes, patience: float) -> Stream:
        """Execute a program as root in the machine; `TimeoutError` if it is stuck, which ends it."""

    @abstractmethod
    def _heard(self) -> str:
        """What the machine said by itself: its console, and its journal if that can be had."""

    # What can be done with any ------------------------------------------------------------------------

    def stream(
        self,
        *argv: str,
        uid: int = 0,
        stdin: bytes = b"",
        cwd: str = "/",
        environment: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> Stream:
        """Run a command and give its output as it comes; as this uid, with the same gid and no other groups."""
        variables = {**ENVIRONMENT, **(environment or {})}
        words = ["env", "-i", f"--chdir={cwd}", *(f"{name}={value}" for name, value in variables.items())]
        if uid != 0:
            words += ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]
        try:
            return (yield from self._execute([*words, *argv], stdin, patience))
        except TimeoutError:
            raise self.failure(f"no word for {patience:g} s from: {' '.join(argv)[:200]}") from None

    def run(
        self,
        *argv: str,
        uid: int = 0,
        stdin: bytes = b"",
        cwd: str = "/",
        environment: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> Done:
        """Run a command to its end; the words are those of `stream`."""
        output = bytearray()
        stream = self.stream(*argv, uid=uid, stdin=stdin, cwd=cwd, environment=environment, patience=patience)
        while True:
            try:
                output += next(stream)
            except StopIteration as end:
                return Done(end.value, output.decode(errors="replace"))

    def check(self, *argv: str, uid: int = 0, stdin: bytes = b"", cwd: str = "/", patience: float = PATIENCE) -> str:
        """Run a command that must succeed; what it printed."""
        done = self.run(*argv, uid=uid, stdin=stdin, cwd=cwd, patience=patience)
        if done.status != 0:
            raise self.failure(f"`{' '.join(argv)}` ended with {done.status}:\n{done.output}")
        return done.output

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file, with the directories that it lies in."""
        self.check("install", "-D", f"--mode={mode:o}", "/dev/stdin", path, stdin=content)

    def pytest(self, *arguments: str, in_private_world: bool, patience: float) -> Stream:
        """Run pytest in the machine's copy of this checkout.

        Either in a private world as `./dev test` makes it, or in the machine as it was booted.
        """
        environment = {"QBHELPER_MACHINE": self.name, "XDG_CACHE_HOME": f"{HOME}/.cache"}
        if "CI" in os.environ:
            environment["CI"] = os.environ["CI"]
        if in_private_world:
            environment["QBHELPER_HOST_NETWORK"] = self.check("readlink", "/proc/self/ns/net").strip()
            command = [*PRIVATE_WORLD.split(), "./dev", "inside", "test", str(payload.TOOLS)]
        else:
            command = [f"{payload.TOOLS}/bin/python", "-m", "pytest", "--basetemp=/run/world/pytest"]
        return self.stream(*command, *arguments, cwd=str(payload.CHECKOUT), environment=environment, patience=patience)

    def failure(self, why: str) -> MachineFailed:
        """An exception that says this, and all that was heard of the machine."""
        heard = (self._last_words or self._heard()).strip()
        return MachineFailed(f"{self.name}: {why}" + (f"\n--- the machine said:\n{heard[-4000:]}" if heard else ""))

    def end(self) -> None:
        """End the machine, and wait until nothing is left of it; again is harmless."""
        self._last_words = self._last_words or self._heard()
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
