# SPDX-License-Identifier: GPL-2.0-or-later
"""Goes along paths as the kernel does, and tells later whether each name still leads where it led.

What a file or directory on a path asks of who passes is noted on the way, so that somebody else's rights can be judged.
"""

import errno
import os
import stat
import time
from typing import NamedTuple

from qbhelper.broker.permission import READ, SEARCH, Gate, gate

SYMLINKS_MAX = 40
"""On one path (path_resolution(7))."""
TICK = 0.02
"""Seconds; the kernel's clock for change times has steps of up to 10 ms."""


class Watch:
    """All that was met on the paths that were gone along.  `links_protected`: see `links_are_protected`."""

    def __init__(self, links_protected: bool) -> None:
        self._directories: dict[tuple[int, int], Directory] = {}
        self._files: dict[tuple[int, int], tuple[int, Signature]] = {}
        self._links_protected = links_protected

    def is_current(self) -> bool:
        """Whether every file is as it was met, and every name still leads where it led."""
        return all(signature_of(fd) == signature for fd, signature in self._files.values()) and all(
            directory.is_current() for directory in self._directories.values()
        )

    def newest_change(self) -> float:
        """Return when the file or directory that changed last did so (seconds since 1970)."""
        changes = [signature.changed for _, signature in self._files.values()]
        changes += [directory.changed for directory in self._directories.values()]
        return max(changes) / 1e9

    def close(self) -> None:
        """Watch no more."""
        for directory in self._directories.values():
            os.close(directory.fd)
        for fd, _ in self._files.values():
            os.close(fd)

    def follow(self, path: bytes, gates: list[Gate]) -> "Directory | tuple[int, Signature]":
        """Go along `path` as the kernel does, adding to `gates`; return what is at its end.

        That is a directory, or an fd (O_PATH) of a file of any other type, which stays ours.  Raises OSError.
        """
        left = path.split(b"/")[::-1]
        here = self._directory(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        links = 0
        while left:
            name = left.pop()
            if not name:
                continue
            gates.append(gate(here.fd, SEARCH))
            if name == b".":
                continue
            fd = here.open(name)
            status = os.fstat(fd)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                target = os.readlink(b"", dir_fd=fd)
                self._file(fd)
                if links > SYMLINKS_MAX:
                    raise failure(errno.ELOOP)
                # Only the last link of a path (WALK_TRAILING in fs/namei.c): those on the way are followed for all.
                is_last = not any(left)
                if is_last and self._links_protected and here.is_shared() and status.st_uid != here.asks.uid:
                    gates.append(Gate(READ, 0o400, status.st_uid, status.st_gid, ()))
                left += target.split(b"/")[::-1]
                if target.startswith(b"/"):
                    here = self._directory(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            elif stat.S_ISDIR(status.st_mode):
                here = self._directory(fd)
            elif left:
                os.close(fd)
                raise failure(errno.ENOTDIR)
            else:
                found = self._file(fd)
                gates.append(gate(found[0], READ))
                return found
        gates.append(gate(here.fd, READ))
        return here

    def _file(self, fd: int) -> "tuple[int, Signature]":
        """Keep `fd`, or the one of the same file that is kept already."""
        signature = signature_of(fd)
        if signature.identity in self._files:
            os.close(fd)
        return self._files.setdefault(signature.identity, (fd, signature))

    def _directory(self, fd: int) -> "Directory":
        identity = signature_of(fd).identity
        if identity in self._directories:
            os.close(fd)
        else:
            self._directories[identity] = Directory(fd)
        return self._directories[identity]


class Signature(NamedTuple):
    """What changes when a file does: its change time covers content, owner, mode and ACL (inode(7))."""

    identity: tuple[int, int]
    mode: int
    changed: int
    modified: int
    size: int


def failure(number: int) -> OSError:
    """Return the error of this number in the system's own words."""
    return OSError(number, os.strerror(number))


def links_are_protected() -> bool:
    """Whether a symlink in a directory like /tmp is followed only for its owner (proc_sys_fs(5))."""
    try:
        with open("/proc/sys/fs/protected_symlinks", "rb") as setting:
            return setting.read(1) != b"0"
    except FileNotFoundError:
        return True


def signature_of(fd: int) -> Signature:
    """Return the signature of the file that `fd` (O_PATH will do) refers to.  Raises OSError."""
    status = os.fstat(fd)
    return Signature(
        (status.st_dev, status.st_ino), status.st_mode, status.st_ctime_ns, status.st_mtime_ns, status.st_size
    )


class Directory:
    """A directory on some path, and where the names that were looked up in it led."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.asks = gate(fd, SEARCH)
        self.changed = signature_of(fd).changed
        self._names: dict[bytes, tuple[int, int] | None] = {}
        self._all_names: list[str] | None = None

    def is_shared(self) -> bool:
        """Whether everybody may write to it, and only owners delete from it, as in /tmp."""
        return os.fstat(self.fd).st_mode & 0o1002 == 0o1002

    def open(self, name: bytes) -> int:
        """Open an entry as O_PATH, and remember which file it is, or that there is none.  Raises OSError."""
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            self._names[name] = None
            raise
        self._names[name] = signature_of(fd).identity
        return fd

    def watch_names(self) -> None:
        """Have a name more or less count as a change, too.  Raises OSError if we may not see them."""
        self._all_names = self._list()

    def _list_again(self) -> list[str] | None:
        try:
            return self._list()
        except OSError:
            return None  # without CAP_DAC_READ_SEARCH we may not

    def _list(self) -> list[str]:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def is_current(self) -> bool:
        """Whether its names lead where they led.  /etc changes all day long, the names in it that count do not."""
        changed = signature_of(self.fd).changed
        if changed == self.changed:
            return True
        if gate(self.fd, SEARCH) != self.asks:
            return False
        for name, before in self._names.items():
            try:
                status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                now = (status.st_dev, status.st_ino)
            except FileNotFoundError:
                now = None
            except OSError:
                return False  # without CAP_DAC_READ_SEARCH we may not look again: read all anew
            if now != before:
                return False
        if self._all_names is not None and self._all_names != self._list_again():
            return False
        if changed / 1e9 < time.time() - TICK:  # else it could change again without its clock showing it
            self.changed = changed
        return True
