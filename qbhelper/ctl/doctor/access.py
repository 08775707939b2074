# SPDX-License-Identifier: GPL-2.0-or-later
"""May this person use that file?  By the kernel's own rule, which the broker, too, judges its callers by."""

import os
import stat

from qbhelper.broker.permission import READ, SEARCH, Gate, gate
from qbhelper.ctl.doctor.finding import word
from qbhelper.ctl.people import Person, group_name, user_name
from qbhelper.request import Caller
from qbhelper.sources import shows_unmapped

EXECUTE = SEARCH
WRITE = 2
_STORE = "/nix/store"
_LETTERS = {READ: "r", WRITE: "w", EXECUTE: "x"}


class Obstacle:
    """What is in the way of a file: the file itself, or a directory on its path."""

    def __init__(self, path: str, gate: Gate, wants: str, file: str) -> None:
        self.path = path
        self._gate = gate
        self._wants = wants
        self._file = file

    def command(self, person: Person) -> str:
        """Return what takes it away; empty if it is more than the place of the file: a home is not ours to open.

        Where it is open to a group, as somebody has meant it, that is to put the person into the group.
        """
        if self.path not in (self._file, os.path.dirname(self._file)):
            return ""
        group, uid = group_name(self._gate.gid), person.caller.uid
        if self._gate.gid != 0 and self._gate.mode >> 3 & self._gate.want and not group.isdecimal():
            user = user_name(uid)
            if not user.isdecimal():
                return f"usermod --append --groups {word(group)} {word(user)} # counts from their next login"
        return f"chmod o+{self._wants} {word(self.path)}"


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
        if (found := _kept(directory, (SEARCH,), caller, real)) is not None:
            return found
    return _kept(real, wants, caller, real)


def _kept(path: str, wants: tuple[int, ...], caller: Caller, file: str) -> Obstacle | None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        gates = [gate(fd, want) for want in wants]
    finally:
        os.close(fd)
    if all(one.lets_pass(caller) for one in gates):
        return None
    return Obstacle(path, gates[0], "".join(_LETTERS[want] for want in wants), file)


def first_changeable(path: str, trusted: tuple[int, ...] = ()) -> str | None:
    """Return the part of a path that others than root and `trusted` could change or replace; None if there is none.

    Without `trusted` as native/installation.c judges what is to run with privilege: the links on the way, where they
    lead, and sticky directories, too.  Raises OSError.
    """
    for one in dict.fromkeys((path, os.path.realpath(path, strict=True))):
        parts = one.split("/")
        for number in range(1, len(parts) + 1):
            part = "/".join(parts[:number]) or "/"
            if _others_may_change(part, os.lstat(part), trusted):
                return part
    return None


def _others_may_change(part: str, status: os.stat_result, trusted: tuple[int, ...]) -> bool:
    if status.st_uid not in (0, *trusted) and not shows_unmapped(status.st_uid):
        return True
    sticky = bool(status.st_mode & stat.S_ISVTX)
    # A group may add to NixOS's store, but what is root's in it stays root's.
    only_add = sticky and (trusted or (part == _STORE and not status.st_mode & stat.S_IWOTH))
    return not stat.S_ISLNK(status.st_mode) and not only_add and bool(status.st_mode & 0o022)


def command_to_close(part: str, path: str) -> str:
    """Return what makes a part of a path root's alone; empty if that part is more than the place of what it leads to.

    To take /tmp or a home from its users would mend nothing.
    """
    real = os.path.realpath(path)
    if part not in (path, os.path.dirname(path), real, os.path.dirname(real)) or os.stat(part).st_mode & stat.S_ISVTX:
        return ""
    return f"chown root {word(part)} && chmod go-w {word(part)}"
