# SPDX-License-Identifier: GPL-2.0-or-later
"""Goes along paths as the kernel does, for a caller who is not known yet: what is at the end, and who gets there.

What a user may write to can name thousands of files, by paths that take a second each.  So each include of the
administrator's that leads to such a place has a share of its own of what is read, and takes nothing from the others.
"""

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from posixpath import dirname

from qbhelper.broker.mounts import Mounts
from qbhelper.broker.permission import READ, Gate, gate
from qbhelper.broker.watched import Directory, File, others_may_change
from qbhelper.errors import reason
from qbhelper.request import Caller
from qbhelper.sources import NOT_REGULAR, SIZE_MAX, read_opened

STEPS_MAX = 1 << 16
"""Names to look up on the ways to all that root's own files include."""
TEXT_MAX = 64 << 20
"""Bytes in these files together."""
OTHERS_STEPS_MAX = 1024
OTHERS_TEXT_MAX = 64 << 10
"""The same for one include that others than root may write to, with all that it includes: a thousand rules."""
SYMLINKS_MAX = 40
"""On one path (path_resolution(7))."""
PATH_MAX = 4096
"""Bytes of a path with its final NUL byte (linux/limits.h)."""
_FOR_NOBODY = Gate(READ, 0, 0, 0, ())


TOO_MANY = "too many includes on this host"


class SpentError(Exception):
    """A share is used up."""


class Share:
    """How much one hand may have us read; `is_roots` if that hand is root's."""

    def __init__(self, *, is_roots: bool) -> None:
        self.is_roots = is_roots
        self.seen: set[bytes] = set()
        self._steps = STEPS_MAX if is_roots else OTHERS_STEPS_MAX
        self._text = TEXT_MAX if is_roots else OTHERS_TEXT_MAX

    def beyond(self, status: os.stat_result) -> "Share":
        """Return the share for what lies beyond a file or directory: another one, if that is not root's alone."""
        return Share(is_roots=False) if self.is_roots and others_may_change(status) else self

    def take_step(self) -> None:
        """Account for a name to look up.  Raises SpentError."""
        self._steps -= 1
        if self._steps < 0:
            raise SpentError

    def take_text(self, size: int) -> None:
        """Account for so many bytes to read.  Raises SpentError, or OSError if no share would do."""
        most = SIZE_MAX if self.is_roots else OTHERS_TEXT_MAX
        if size > most:
            raise OSError(errno.EFBIG, f"larger than {most} bytes" + ("" if self.is_roots else ", and not only root's"))
        self._text -= size
        if self._text < 0:
            raise SpentError


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


class Walker:
    """Walks paths, and keeps open what it met on them: `watched`.

    `visited` are the paths that it was at, without symbolic links in them.
    """

    def __init__(self, mounts: Mounts) -> None:
        self.visited: set[bytes] = set()
        self._mounts = mounts
        self._directories: dict[tuple[bytes, bool], Directory] = {}
        self._files: dict[tuple[int, int], File] = {}
        self._links_protected = _links_are_protected()

    @property
    def watched(self) -> "Iterable[Directory | File]":
        """All that has to stay as it is for what was read to be still true."""
        yield from self._files.values()
        yield from self._directories.values()

    def walk(self, path: bytes, share: Share) -> tuple[Walked, Share]:
        """Read what `path` leads to, on behalf of `share`, and tell the share for what that includes.

        Raises SpentError if that share is a user's: what they can't have read, another's share may still cover.
        """
        way = _Way(share)
        source, error = None, (errno.EIO, "")
        try:
            if len(path) >= PATH_MAX:
                raise _error(errno.ENAMETOOLONG)
            source = _read(self._follow(path, way), way)
        except PermissionError:
            # A file system that root's capabilities do not count for (NFS, FUSE), or an LSM.  Not to be taken for a
            # file that the caller may not read: that would be passed over, with a deny in it.
            error = (errno.EIO, "the broker itself may not read it")
        except OSError as problem:
            error = (problem.errno or errno.EIO, reason(problem))
        except SpentError:
            if not share.is_roots:
                raise
            error = (errno.EMFILE, TOO_MANY)  # for whoever gets so far
        return Walked(tuple(way.gates), source, error), way.share

    def read(self, path: bytes, gates: list[Gate]) -> bytes:
        """Return the text of what `path` leads to, noting the gates on it.  Raises OSError as this process meets it."""
        way = _Way(Share(is_roots=True))
        way.gates = gates
        try:
            if len(path) >= PATH_MAX:
                raise _error(errno.ENAMETOOLONG)
            return _read(self._follow(path, way), way)
        except SpentError:
            raise OSError(errno.EMFILE, TOO_MANY) from None

    def watch(self, path: bytes) -> "Directory | File":
        """Watch what `path` leads to, or that there is nothing; return it.  Raises OSError."""
        return self._follow(path, _Way(Share(is_roots=True)))

    def _follow(self, whole: bytes, way: "_Way") -> "Directory | File":
        """Go along the path `whole`, noting the gates on it; return what is at its end.  Raises OSError."""
        way.left = whole.split(b"/")[::-1]
        here = self._root(way)
        while way.left:
            name = way.left.pop()
            if not name:
                continue
            way.share.take_step()
            way.gates.append(here.asks)
            if name == b".":
                continue
            if name == b"..":
                fd = os.open(b"..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here.fd)
                here = self._directory(fd, dirname(here.path), way)
                continue
            path = here.path_of(name)
            self._insist_on_seeing(path)
            fd = here.open(name)
            status = os.fstat(fd)
            if stat.S_ISLNK(status.st_mode):
                here = self._link(fd, here, way)
            elif stat.S_ISDIR(status.st_mode):
                here = self._directory(fd, path, way)
            elif way.left:
                os.close(fd)
                raise _error(errno.ENOTDIR)
            else:
                return self._file(fd, way)
        return here

    def _link(self, fd: int, here: Directory, way: "_Way") -> Directory:
        """Put what a symbolic link in `here` says before the rest of the way; return where that begins."""
        status = os.fstat(fd)
        target = os.readlink(b"", dir_fd=fd)
        self._watch(fd, is_roots=way.share.is_roots and status.st_uid == 0)
        way.links += 1
        if way.links > SYMLINKS_MAX:
            raise _error(errno.ELOOP)
        # Only the last link of a path (WALK_TRAILING in fs/namei.c): those on the way are followed for all.
        is_last = not any(way.left)
        if is_last and self._links_protected and here.is_shared() and status.st_uid != here.status.st_uid:
            way.gates.append(Gate(READ, 0o400, status.st_uid, status.st_gid, ()))
        way.left += target.split(b"/")[::-1]
        return self._root(way) if target.startswith(b"/") else here

    def _root(self, way: "_Way") -> Directory:
        return self._directory(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), b"/", way)

    def _directory(self, fd: int, path: bytes, way: "_Way") -> Directory:
        """Enter a directory that was reached by `path`: the same one by another path may have other mounts in it."""
        way.share = way.share.beyond(os.fstat(fd))
        is_roots = way.share.is_roots
        if (path, is_roots) in self._directories:
            os.close(fd)
        else:
            self._directories[path, is_roots] = Directory(fd, path, is_roots=is_roots)
        return self._directories[path, is_roots]

    def _file(self, fd: int, way: "_Way") -> File:
        """Keep the file at the end of a path, to see whether it changes."""
        way.share = way.share.beyond(os.fstat(fd))
        return self._watch(fd, is_roots=way.share.is_roots)

    def _insist_on_seeing(self, path: bytes) -> None:
        """Go no further where the broker sees something else than its callers.  Not even to look: FUSE might wait."""
        self.visited.add(path)
        why_hidden = self._mounts.why_hidden(path)
        if why_hidden:
            raise OSError(errno.EINVAL, why_hidden)

    def _watch(self, fd: int, *, is_roots: bool) -> File:
        """Keep `fd`, or the one of the same file that is kept already."""
        file = File(fd, is_roots=is_roots)
        kept = self._files.setdefault(file.signature.identity, file)
        if kept is not file:
            kept.is_roots |= is_roots
            os.close(fd)
        return kept


class _Way:
    """What was met so far on the way along one path, and what is left of it: names, the next one last."""

    def __init__(self, share: Share) -> None:
        self.gates: list[Gate] = []
        self.share = share
        self.left: list[bytes] = []
        self.links = 0


def _read(found: "Directory | File", way: _Way) -> bytes:
    """Return the text of what is at the end of a way.  Raises OSError and SpentError."""
    way.gates.append(gate(found.fd, READ))
    status = os.fstat(found.fd)
    if stat.S_ISSOCK(status.st_mode):
        raise _error(errno.ENXIO)  # as open(2) says
    if not stat.S_ISREG(status.st_mode):
        # Nobody may open a device there, not even root (may_open() in fs/namei.c).
        is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
        if is_device and os.fstatvfs(found.fd).f_flag & os.ST_NODEV:
            way.gates.append(_FOR_NOBODY)
        raise OSError(errno.EINVAL, NOT_REGULAR)
    way.share.take_text(status.st_size)
    text = read_opened(os.open(f"/proc/self/fd/{found.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
    way.share.take_text(max(0, len(text) - status.st_size))  # it grew meanwhile
    return text


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _links_are_protected() -> bool:
    """Whether a symlink in a directory like /tmp is followed only for its owner (proc_sys_fs(5))."""
    try:
        with open("/proc/sys/fs/protected_symlinks", "rb") as setting:
            return setting.read(1) != b"0"
    except FileNotFoundError:
        return True
