# SPDX-License-Identifier: GPL-2.0-or-later
"""Which processes have which TAP open, and which virtual machine a process runs.

Of a process that its caller may not look into nothing is told: the kernel does not tell us either (proc(5)).
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

from qbhelper.errors import printable

_PROC = "/proc"
_TUN = b"/tun"
"""In the path of /dev/net/tun, wherever a container may have it."""
_INTERFACE = b"iff:"
"""Before the name of the interface in /proc/PID/fdinfo/N of an fd of a TAP (drivers/net/tun.c)."""
_WORDS_MAX = 1 << 20
"""Bytes of a command line."""


class Holder:
    """A process that has a TAP open.

    pid; program: the name of its file, printable; machine: that of the virtual machine it runs, printable, None if
    that is not known; is_elsewhere: it is in another network namespace, so it may mean another TAP of the same name.
    """

    __slots__ = ("is_elsewhere", "machine", "pid", "program")

    def __init__(self, pid: int, program: str, machine: str | None, is_elsewhere: bool) -> None:
        self.pid = pid
        self.program = program
        self.machine = machine
        self.is_elsewhere = is_elsewhere


def holders() -> dict[bytes, list[Holder]]:
    """Return, by the name of the TAP, the processes that have it open, as far as we may look into them."""
    found: defaultdict[bytes, list[Holder]] = defaultdict(list)
    try:
        ours = os.readlink(f"{_PROC}/self/ns/net")
        pids = sorted(int(entry) for entry in os.listdir(_PROC) if entry.isdecimal())
    except OSError:  # no /proc here
        return found
    for pid in pids:
        # It may be gone by now, or not for us to see.
        with suppress(OSError):
            names = frozenset(_interfaces(pid))
            if names:
                holder = _holder(pid, ours)
                for name in names:
                    found[name].append(holder)
    return found


def _interfaces(pid: int) -> Iterator[bytes]:
    """Yield the interfaces that a process has fds of."""
    for number in os.listdir(f"{_PROC}/{pid}/fd"):
        with suppress(FileNotFoundError):  # just closed
            if _TUN not in os.readlink(f"{_PROC}/{pid}/fd/{number}".encode()):
                continue
            with open(f"{_PROC}/{pid}/fdinfo/{number}", "rb") as about:
                for line in about:
                    name = line.removeprefix(_INTERFACE).strip()
                    if line.startswith(_INTERFACE) and name:
                        yield name


def _holder(pid: int, ours: str) -> Holder:
    program = os.path.basename(os.readlink(f"{_PROC}/{pid}/exe").removesuffix(" (deleted)"))
    with open(f"{_PROC}/{pid}/cmdline", "rb") as line:
        words = line.read(_WORDS_MAX).split(b"\0")
    is_elsewhere = os.readlink(f"{_PROC}/{pid}/ns/net") != ours
    return Holder(pid, printable(os.fsencode(program)), machine_of(program, words), is_elsewhere)


def machine_of(program: str, words: list[bytes]) -> str | None:
    """Return the name that a QEMU was given for its virtual machine (qemu(1), -name); None if it has none."""
    # NixOS starts .qemu-system-x86_64-wrapped.
    if not (program == "kvm" or program.lstrip(".").startswith("qemu-")):
        return None
    name = b""
    for option, value in pairwise(words):
        if option in (b"-name", b"--name"):
            name = _guest_in(value) or name
    return printable(name) if name else None


def _guest_in(value: bytes) -> bytes:
    """Return NAME of `NAME,...` or `guest=NAME,...`, in which two commas stand for one of the name."""
    parts = value.replace(b",,", b"\0").split(b",")
    found = b"" if b"=" in parts[0] else parts[0]
    for part in parts:
        key, is_set, text = part.partition(b"=")
        if is_set and key == b"guest":
            found = text
    return found.replace(b"\0", b",")
