# SPDX-License-Identifier: GPL-2.0-or-later
"""May this person use that file?  By the kernel's own rule, which the broker, too, judges its callers by."""

import os
import stat

from qbhelper.broker.permission import READ, SEARCH, Gate, gate
from qbhelper.ctl.doctor.finding import word
from qbhelper.request import Caller
from qbhelper.sources import shows_unmapped

EXECUTE = SEARCH
WRITE = 2
_STORE = "/nix/store"
_LETTERS = {READ: "r", WRITE: "w", EXECUTE: "x"}


class Obstacle:
    """What is in the way: the file, or a directory on its path; gate: what it asks; remedy: what opens it to all."""

    def __init__(self, path: str, gate: Gate, wants: str) -> None:
        self.path = path
        self.gate = gate
        self.remedy = f"chmod o+{wants} {word(path)}"


def obstacle(path: str, wants: tuple[int, ...], caller: Caller) -> Obstacle | None:
    """Return the first thing that keeps `caller` from a file, wherever its path leads; None if nothing does.

    wants: of READ, WRITE and EXECUTE.  Root, with all its capabilities, is kept from nothing.
    Raises OSError if we can't look ourselves.
    """
    if caller.uid == 0:
        return None
    real = os.path.realpath(path)  # as far as we come ourselves: what keeps us is met below
    parts = real.split("/")
    for number in range(1, len(parts)):
        directory = "/".join(parts[:number]) or "/"
        if (found := _kept(directory, (SEARCH,), caller)) is not None:
            return found
    return _kept(real, wants, caller)


def _kept(path: str, wants: tuple[int, ...], caller: Caller) -> Obstacle | None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        gates = [gate(fd, want) for want in wants]
    finally:
        os.close(fd)
    if all(one.lets_pass(caller) for one in gates):
        return None
    return Obstacle(path, gates[0], "".join(_LETTERS[want] for want in wants))


def not_roots_alone(path: str) -> str | None:
    """Return the part of a path that others than root could change or replace; None if there is none.

    As native/installation.c judges what is to run with privilege: the links on the way, and where they lead.
    Raises OSError.
    """
    for one in dict.fromkeys((path, os.path.realpath(path, strict=True))):
        parts = one.split("/")
        for number in range(1, len(parts) + 1):
            part = "/".join(parts[:number]) or "/"
            if _others_may_change(part, os.lstat(part)):
                return part
    return None


def _others_may_change(part: str, status: os.stat_result) -> bool:
    if status.st_uid != 0 and not shows_unmapped(status.st_uid):
        return True
    # A group may add to NixOS's store, but what is root's in it stays root's.
    only_add = part == _STORE and status.st_mode & (stat.S_ISVTX | stat.S_IWOTH) == stat.S_ISVTX
    return not stat.S_ISLNK(status.st_mode) and not only_add and bool(status.st_mode & 0o022)
