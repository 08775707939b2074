# SPDX-License-Identifier: GPL-2.0-or-later
"""All that the access list is made of, read once with CAP_DAC_READ_SEARCH, to be judged for any caller.

The standalone way opens each file as its caller, and the kernel decides what exists for them.  The broker
can't: so it walks each path once, notes what every directory and file on it asks of who passes, and then
answers `read` for a caller as the kernel would have.  The same `access_list.load` runs over that, hence
the same verdicts.

`is_current` tells whether anything it has read, or has not found, has changed since.
"""

import errno
import os
import stat
import time
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from qbhelper.broker.permission import READ, SEARCH, Gate, gate
from qbhelper.errors import AccessListError, reason
from qbhelper.policy import access_list
from qbhelper.request import Caller
from qbhelper.sources import ACCESS_LISTS, NOT_REGULAR, load_access_list, read_opened

PATHS_MAX = 4096
"""Paths of access lists in all.  One caller's are bounded much lower, in policy/access_list.py."""
SYMLINKS_MAX = 40
"""On one path (path_resolution(7))."""
PATH_MAX = 4096
"""Bytes of a path with its final NUL byte (linux/limits.h)."""
_TICK = 0.02
"""Seconds; the kernel's clock for change times has steps of up to 10 ms."""


@dataclass(frozen=True)
class Walked:
    """Where a path led: the gates on the way in their order, then a source, or the error of its end."""

    gates: tuple[Gate, ...]
    source: bytes | None
    error: tuple[int, str] = (errno.EIO, "")

    def read(self, caller: Caller) -> bytes:
        """Return the source as `caller` would have read it, or raise what they would have met."""
        for one in self.gates:
            if not one.lets_pass(caller):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if self.source is None:
            raise OSError(*self.error)
        return self.source


def take() -> "Snapshot":
    """Make a snapshot in which every later change will show.

    A file that was changed in this very tick of the clock could change again in it, unseen: then wait, and
    read anew.  Somebody who keeps writing to a file gets the tenth snapshot, and a reload soon after.
    """
    for _ in range(10):
        begun = time.time()
        snapshot = Snapshot()
        if snapshot.newest_change() < begun - _TICK:
            break
        snapshot.close()
        time.sleep(_TICK)
    else:
        snapshot = Snapshot()
    return snapshot


class Snapshot:
    """The access lists of this host as they were when it was made."""

    def __init__(self) -> None:
        self._walked: dict[bytes, Walked] = {}
        self._directories: dict[tuple[int, int], _Directory] = {}
        self._files: dict[tuple[int, int], tuple[int, _Signature]] = {}
        self._links_protected = _links_are_protected()
        # Breadth first, and files in turn: a file of a user's own that includes thousands takes no place from the
        # includes of others, and each path is met at the least depth that it has for anybody.
        level = list(ACCESS_LISTS)
        for _ in range(access_list.DEPTH_MAX + 1):
            rounds = zip_longest(*[self._take(path) for path in level])
            level = [target for targets in rounds for target in targets if target is not None]

    def load_for(self, caller: Caller) -> access_list.AccessList:
        """Return the access list as it stands for `caller`.  Raises AccessListError as standalone does."""

        def read(path: bytes) -> bytes:
            walked = self._walked.get(path)
            if walked is None:  # more paths than PATHS_MAX: an include that was never looked at is no include to skip
                raise OSError(errno.EMFILE, "too many includes on this host")
            return walked.read(caller)

        return load_access_list(read)

    def is_current(self) -> bool:
        """Whether every file is as it was read, and every name still leads where it led."""
        return all(_signature(fd) == signature for fd, signature in self._files.values()) and all(
            directory.is_current() for directory in self._directories.values()
        )

    def newest_change(self) -> float:
        """Return when the file or directory that changed last did so (seconds since 1970)."""
        changes = [signature.changed for _, signature in self._files.values()]
        changes += [directory.changed for directory in self._directories.values()]
        return max(changes) / 1e9

    def close(self) -> None:
        """Close what is watched."""
        for directory in self._directories.values():
            os.close(directory.fd)
        for fd, _ in self._files.values():
            os.close(fd)

    def _take(self, path: bytes) -> list[bytes]:
        """Walk `path`, and return the paths that it includes, as far as anybody would look at them."""
        if path in self._walked or len(self._walked) >= PATHS_MAX:
            return []
        walked = self._walked[path] = self._walk(path)
        targets: list[bytes] = []
        if walked.source is not None:
            try:
                for statement in access_list.parse(walked.source, ""):
                    if isinstance(statement, access_list.Include):
                        targets += [access_list.target_of(statement, path)]
            except AccessListError:
                pass  # whoever can read this file is refused; what follows the error is read for nobody
        return targets

    def _walk(self, path: bytes) -> Walked:
        gates: list[Gate] = []
        try:
            if len(path) >= PATH_MAX:
                raise _error(errno.ENAMETOOLONG)
            source = self._follow(path, gates)
            return Walked(tuple(gates), source)
        except PermissionError:
            # A file system that root's capabilities do not count for (NFS, FUSE), or an LSM.  Not to be taken for a
            # file that the caller may not read: that would be passed over, with a deny in it.
            return Walked(tuple(gates), None, (errno.EIO, "the broker itself may not read it"))
        except OSError as error:
            return Walked(tuple(gates), None, (error.errno or errno.EIO, reason(error)))

    def _follow(self, path: bytes, gates: list[Gate]) -> bytes:
        """Go along `path` as the kernel does, adding to `gates`; return what is at its end.  Raises OSError."""
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
                self._watch(fd)
                if links > SYMLINKS_MAX:
                    raise _error(errno.ELOOP)
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
                raise _error(errno.ENOTDIR)
            else:
                return self._file(fd, gates)
        gates.append(gate(here.fd, READ))
        raise OSError(errno.EINVAL, NOT_REGULAR)

    def _file(self, fd: int, gates: list[Gate]) -> bytes:
        """Read the file at the end of a path; keeps `fd`, to see whether it changes."""
        fd, signature = self._watch(fd)
        gates.append(gate(fd, READ))
        if stat.S_ISSOCK(signature.mode):
            raise _error(errno.ENXIO)  # as open(2) says
        if not stat.S_ISREG(signature.mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        return read_opened(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))

    def _watch(self, fd: int) -> "tuple[int, _Signature]":
        """Keep `fd`, or the one of the same file that is kept already."""
        signature = _signature(fd)
        if signature.identity in self._files:
            os.close(fd)
        return self._files.setdefault(signature.identity, (fd, signature))

    def _directory(self, fd: int) -> "_Directory":
        identity = _signature(fd).identity
        if identity in self._directories:
            os.close(fd)
        else:
            self._directories[identity] = _Directory(fd)
        return self._directories[identity]


class _Signature(NamedTuple):
    """What changes when a file does: its change time covers content, owner, mode and ACL (inode(7))."""

    identity: tuple[int, int]
    mode: int
    changed: int
    modified: int
    size: int


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _links_are_protected() -> bool:
    """Whether a symlink in a directory like /tmp is followed only for its owner (proc_sys_fs(5))."""
    try:
        with open("/proc/sys/fs/protected_symlinks", "rb") as setting:
            return setting.read(1) != b"0"
    except FileNotFoundError:
        return True


def _signature(fd: int) -> _Signature:
    status = os.fstat(fd)
    return _Signature(
        (status.st_dev, status.st_ino), status.st_mode, status.st_ctime_ns, status.st_mtime_ns, status.st_size
    )


class _Directory:
    """A directory on some path, and where the names that were looked up in it led."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.asks = gate(fd, SEARCH)
        self.changed = _signature(fd).changed
        self._names: dict[bytes, tuple[int, int] | None] = {}

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
        self._names[name] = _signature(fd).identity
        return fd

    def is_current(self) -> bool:
        """Whether its names lead where they led.  /etc changes all day long, the names in it that count do not."""
        changed = _signature(self.fd).changed
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
        if changed / 1e9 < time.time() - _TICK:  # else it could change again without its clock showing it
            self.changed = changed
        return True
