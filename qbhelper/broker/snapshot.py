# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy, and all that the access list is made of, read once with CAP_DAC_READ_SEARCH, to be judged for any caller.

The policy is the same for all.  Of an access list, the standalone way opens each file as its caller, and the
kernel decides what exists for them.  The broker can't: so it walks each path once, notes what every directory
and file on it asks of who passes, and then answers `read` for a caller as the kernel would have.  The same
`access_list.load` runs over that, hence the same verdicts.

`is_current` tells whether anything it has read, or has not found, has changed since.
"""

import errno
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from qbhelper.accounts import HostAccounts
from qbhelper.broker.permission import Gate
from qbhelper.broker.watch import TICK, Directory, Watch, failure, links_are_protected
from qbhelper.errors import AccessListError, PolicyError, Problem, reason
from qbhelper.policy import access_list
from qbhelper.policy.rules import Policy
from qbhelper.request import Caller
from qbhelper.sources import (
    ACCESS_LISTS,
    NOT_REGULAR,
    PolicyFiles,
    load_access_list,
    read_opened,
    read_policy,
    verdicts_for,
)

if TYPE_CHECKING:
    from qbhelper.policy.decision import Verdicts

PATHS_MAX = 4096
"""Paths of access lists in all.  One caller's are bounded much lower, in policy/access_list.py."""
PATH_MAX = 4096
"""Bytes of a path with its final NUL byte (linux/limits.h)."""


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
        if snapshot.newest_change() < begun - TICK:
            break
        snapshot.close()
        time.sleep(TICK)
    else:
        snapshot = Snapshot()
    return snapshot


class Snapshot:
    """The policy and the access lists of this host as they were when it was made."""

    def __init__(self) -> None:
        self._watch = Watch(links_are_protected())
        self._accounts = HostAccounts()
        self._policy: Policy | None = None
        self._policy_error: PolicyError | None = None
        try:
            self._policy = read_policy(_WatchedFiles(self._watch))
        except PolicyError as error:
            self._policy_error = error
        self._walked: dict[bytes, Walked] = {}
        # Breadth first, and files in turn: a file of a user's own that includes thousands takes no place from the
        # includes of others, and each path is met at the least depth that it has for anybody.
        level = list(ACCESS_LISTS)
        for _ in range(access_list.DEPTH_MAX + 1):
            rounds = zip_longest(*[self._take(path) for path in level])
            level = [target for targets in rounds for target in targets if target is not None]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong with the policy: for the journal, because callers are told only where."""
        return self._policy_error.problems if self._policy_error else ()

    def policy_for(self, caller: Caller) -> "Verdicts":
        """Return what rules, as it stands for `caller`; it may be kept as long as this snapshot.

        Raises PolicyError or AccessListError as standalone does.
        """
        if self._policy_error is not None:
            # Each time it is raised it would grow by the frames on its way.
            raise self._policy_error.with_traceback(None)
        return verdicts_for(caller, self._policy, self._accounts, self._reader_for(caller))

    def load_for(self, caller: Caller) -> access_list.AccessList:
        """Return the access list as it stands for `caller`.  Raises AccessListError as standalone does."""
        return load_access_list(self._reader_for(caller))

    def _reader_for(self, caller: Caller) -> "access_list.Reader":
        def read(path: bytes) -> bytes:
            walked = self._walked.get(path)
            if walked is None:  # more paths than PATHS_MAX: an include that was never looked at is no include to skip
                raise OSError(errno.EMFILE, "too many includes on this host")
            return walked.read(caller)

        return read

    def is_current(self) -> bool:
        """Whether every file is as it was read, and every name still leads where it led."""
        return self._watch.is_current()

    def newest_change(self) -> float:
        """Return when the file or directory that changed last did so (seconds since 1970)."""
        return self._watch.newest_change()

    def close(self) -> None:
        """Close what is watched."""
        self._watch.close()

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
            source = self._read(path, gates)
            return Walked(tuple(gates), source)
        except PermissionError:
            # A file system that root's capabilities do not count for (NFS, FUSE), or an LSM.  Not to be taken for a
            # file that the caller may not read: that would be passed over, with a deny in it.
            return Walked(tuple(gates), None, (errno.EIO, "the broker itself may not read it"))
        except OSError as error:
            return Walked(tuple(gates), None, (error.errno or errno.EIO, reason(error)))

    def _read(self, path: bytes, gates: list[Gate]) -> bytes:
        """Return the source at the end of `path`, adding to `gates`.  Raises OSError."""
        if len(path) >= PATH_MAX:
            raise failure(errno.ENAMETOOLONG)
        found = self._watch.follow(path, gates)
        if isinstance(found, Directory):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        fd, signature = found
        if stat.S_ISSOCK(signature.mode):
            raise failure(errno.ENXIO)  # as open(2) says
        if not stat.S_ISREG(signature.mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        return read_opened(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))


class _WatchedFiles(PolicyFiles):
    """The files of the policy, each watched before it is read: so a change in between shows as one."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def read(self, directory: bytes, name: bytes) -> bytes:
        """Return the text of a file that only root can change, and watch it; or watch that it is not there."""
        self._follow(directory, name)
        return super().read(directory, name)

    def names(self, directory: bytes, name: bytes) -> list[bytes]:
        """Return the names in a directory that only root can change, and watch which they are."""
        found = self._follow(directory, name)
        if isinstance(found, Directory):
            found.watch_names()
        return super().names(directory, name)

    def _follow(self, directory: bytes, name: bytes) -> object:
        with suppress(OSError):  # reading will meet it, and say so
            return self._watch.follow(directory + b"/" + name, [])
        return None
