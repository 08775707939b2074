# SPDX-License-Identifier: GPL-2.0-or-later
"""AppArmor at work in a whole machine: what its kernel says of it, and who is confined by what.

    with apparmor.watched() as watch:
        ...
        assert watch.hear().denied == []

What is denied is in the kernel's log, unless the kernel was booted with audit=0, or finds that it is too much.  So
whoever hears has something denied on purpose first: when that is in the log, all before it is there as well.
"""

import os
import re
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support import world

PROFILES = Path("/etc/apparmor.d")
PATIENCE = 20.0
"""Seconds that a line may take into the kernel's log."""

_LOG = "/dev/kmsg"
_ROOM = 8192  # of a record, which the kernel gives whole or not at all
_LIMIT = Path("/proc/sys/kernel/printk_ratelimit")
_OF_THE_WATCH = "of-the-watch"
_MAY_NOT_WRITE = f"profile {_OF_THE_WATCH} {{ /** mrix, }}\n"
_FILE = "/run/of-the-watch"


class Watch:
    """What AppArmor has said since the watch began, as far as it was heard."""

    def __init__(self, log: int) -> None:
        """log: an fd of the kernel's log."""
        self._log = log
        self._heard = 0
        self.denied: list[str] = []
        """Lines of the kernel's on what it has refused."""
        self.audited: list[str] = []
        """Lines on what it has allowed by a rule that is to be audited."""

    def hear(self) -> Self:
        """Hear all that has been said until now."""
        self._heard += 1
        script = f": >{_FILE}-{self._heard}"
        subprocess.run(within(_OF_THE_WATCH, "/bin/sh", "-c", script), stderr=subprocess.DEVNULL, check=False)
        for line in self._lines():
            if f'name="{_FILE}-{self._heard}"' in line:
                return self
            for kind, lines in (("DENIED", self.denied), ("AUDIT", self.audited)):
                if f'apparmor="{kind}"' in line:
                    lines.append(line)
        raise AssertionError("AppArmor's denials are not in the kernel's log")

    def _lines(self) -> Iterator[str]:
        """Yield the lines as they come.  OSError (EPIPE) if some were lost."""
        while select.select([self._log], [], [], PATIENCE)[0]:
            _, _, text = os.read(self._log, _ROOM).decode(errors="replace").partition(";")
            assert not re.search(r"callbacks suppressed|audit_lost=[1-9]", text), text
            yield text.partition("\n")[0]


def load(*profiles: Path | str) -> None:
    """Have the kernel enforce profiles, from files as they are now."""
    world.run("apparmor_parser", "--replace", "--skip-cache", *map(str, profiles))


def load_text(profile: str) -> None:
    """The same with a profile that is in no file."""
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=profile, text=True, check=True)


def mode(profile: str) -> str | None:
    """How a profile is loaded ("enforce"); None if it is not."""
    lines = Path("/sys/kernel/security/apparmor/profiles").read_text().splitlines()
    return {name: mode.rstrip(")") for name, _, mode in (line.rpartition(" (") for line in lines)}.get(profile)


def confinement(pid: int) -> str:
    """The profile of a process and its mode, as the kernel says it: "qbhelperd (enforce)"."""
    return Path(f"/proc/{pid}/attr/apparmor/current").read_text().strip()


def as_child_of(profile: str, *command: str | Path) -> list[str]:
    """Words that start a command as a program does which has this profile."""
    return ["aa-exec", "--immediate", f"--profile={profile}", "--", *map(str, command)]


def within(profile: str, *command: str | Path) -> list[str]:
    """Words that start a command which has this profile itself."""
    return ["aa-exec", f"--profile={profile}", "--", *map(str, command)]


@contextmanager
def watched() -> Iterator[Watch]:
    """Listen to the kernel for the time of the block."""
    _LIMIT.write_text("0\n")  # or it drops lines that come quickly
    load_text(_MAY_NOT_WRITE)
    log = os.open(_LOG, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.lseek(log, 0, os.SEEK_END)
        yield Watch(log)
    finally:
        os.close(log)
