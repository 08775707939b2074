# SPDX-License-Identifier: GPL-2.0-or-later
"""Files and directories on the way to the policy, and whether they still are as they were when it was read.

The device of which TAPs are made is watched as well, where it is missing.
"""

import os
import time
from typing import NamedTuple

from qbhelper.broker.permission import SEARCH, gate
from qbhelper.kernel.tap import has_device

TICK = 0.02
"""Seconds; the kernel's clock for change times has steps of up to 10 ms."""
SECONDS_WITHOUT_DEVICE = 0.1
"""After its first caller a broker says for so long that there is none: to all who waited while it started."""


class Signature(NamedTuple):
    """What changes when a file does: its change time covers content, owner, mode and ACL (inode(7))."""

    identity: tuple[int, int]
    mode: int
    changed: int
    modified: int
    size: int


def signature_of(fd: int) -> Signature:
    """Return what `fd` (O_PATH will do) refers to, as it is now."""
    status = os.fstat(fd)
    return Signature(
        (status.st_dev, status.st_ino), status.st_mode, status.st_ctime_ns, status.st_mtime_ns, status.st_size
    )


def others_may_change(status: os.stat_result) -> bool:
    """Whether somebody else than root may write to a file or directory.  With an ACL the group bits are its mask."""
    return status.st_uid != 0 or status.st_mode & 0o022 != 0


class File:
    """A file, or a symbolic link, that was read."""

    def __init__(self, fd: int, *, is_roots: bool) -> None:
        self.fd = fd
        self.signature = signature_of(fd)
        self.is_roots = is_roots
        self._is_settled = True

    def settle(self, begun: float) -> bool:
        """Note whether each change from now on will show, where reading began at `begun` (seconds since 1970).

        A file that was changed in this very tick of the clock may change again in it.  Not one that was changed in
        the future: that is the clock of another host.
        """
        self._is_settled = not begun - TICK <= self.signature.changed / 1e9 <= time.time()
        return self._is_settled

    def is_current(self) -> bool:
        """Whether it is as it was read, for certain."""
        return self._is_settled and signature_of(self.fd) == self.signature


class Directory:
    """A directory, and where the names led that were looked up in it.  `path` has no symbolic links in it."""

    def __init__(self, fd: int, path: bytes, *, is_roots: bool) -> None:
        self.fd = fd
        self.path = path
        self.is_roots = is_roots
        self.status = os.fstat(fd)
        self.asks = gate(fd, SEARCH)
        self._changed = self.status.st_ctime_ns
        self._names: dict[bytes, tuple[int, int] | int | None] = {}
        self._all_names: list[str] | None = None

    def is_shared(self) -> bool:
        """Whether everybody may write to it, and only owners delete from it, as in /tmp."""
        return self.status.st_mode & 0o1002 == 0o1002

    def path_of(self, name: bytes) -> bytes:
        """Return the path of an entry."""
        return self.path.rstrip(b"/") + b"/" + name

    def open(self, name: bytes) -> int:
        """Open an entry as O_PATH, and remember which file it is, or why there is none.  Raises OSError.

        What was found first is remembered: another file at the second time is a change.
        """
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as error:
            self._names.setdefault(name, error.errno)
            raise
        self._names.setdefault(name, signature_of(fd).identity)
        return fd

    def watch_names(self) -> None:
        """Have a name more or less count as a change, too.  Raises OSError if we may not see them."""
        self._all_names = self._list()

    def _list(self) -> list[str]:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def _has_other_names(self) -> bool:
        try:
            return self._all_names is not None and self._all_names != self._list()
        except OSError:
            return True  # without CAP_DAC_READ_SEARCH we may not look again: read all anew

    def settle(self, begun: float) -> bool:
        """Note whether each change from now on will show, as `File.settle` does; else the names are compared again."""
        if not begun - TICK <= self._changed / 1e9 <= time.time():
            return True
        self._changed = 0
        return False

    def is_current(self) -> bool:
        """Whether its names lead where they led.  /etc changes all day long, the names in it that count do not."""
        changed = os.fstat(self.fd).st_ctime_ns
        if changed == self._changed:
            return True
        if gate(self.fd, SEARCH) != self.asks:
            return False
        for name, before in self._names.items():
            now: tuple[int, int] | int | None
            try:
                status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                now = (status.st_dev, status.st_ino)
            except OSError as error:
                now = error.errno  # without CAP_DAC_READ_SEARCH we may not look everywhere again: read all anew
            if now != before:
                return False
        if self._has_other_names():
            return False
        if changed / 1e9 < time.time() - TICK:  # else it could change again without its clock showing it
            self._changed = changed
        return True


class Device:
    """The TUN device, as it was when we started.

    The unit gives the broker a /dev of its own, made when it starts: what was missing then, it never sees.
    """

    def __init__(self) -> None:
        self._is_there = has_device()
        self._until: float | None = None

    def is_current(self) -> bool:
        """Whether it was there; if not, whether it was looked for just now, for the caller who asks."""
        if self._is_there:
            return True
        now = time.monotonic()
        if self._until is None:
            self._until = now + SECONDS_WITHOUT_DEVICE
        return now <= self._until
