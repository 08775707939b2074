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
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from qbhelper.accounts import HostAccounts
from qbhelper.broker.mounts import Mounts, is_users
from qbhelper.broker.walk import TOO_MANY, Share, SpentError, Walked, Walker
from qbhelper.broker.watched import TICK, Directory
from qbhelper.errors import AccessListError, PolicyError, Problem, printable
from qbhelper.policy import access_list
from qbhelper.policy.access_list import Include, Rule
from qbhelper.policy.port import PortSettings
from qbhelper.policy.rules import Policy
from qbhelper.request import Caller
from qbhelper.sources import ACCESS_LISTS, PolicyFiles, load_access_list, read_policy, verdicts_for

if TYPE_CHECKING:
    from qbhelper.policy.decision import Verdicts

SECONDS_TO_LAST = 0.5
"""Though others than root change what is theirs: they may do so all the time, and callers want to be served."""
TRIES = 3


def take() -> "Snapshot":
    """Make a snapshot in which every later change of root's will show.

    A file that was changed in this very tick of the clock could change again in it, unseen: then wait, and read
    anew.  Where root keeps writing to a file, the last try counts, as one that is outdated already.
    """
    left = TRIES
    while True:
        left -= 1
        begun = time.time()
        snapshot = Snapshot()
        if snapshot.settle(begun) or not left:
            return snapshot
        snapshot.close()
        time.sleep(TICK)


class Snapshot:
    """The policy and the access lists of this host as they were when it was made."""

    def __init__(self) -> None:
        self._walked: dict[bytes, Walked] = {}
        self._said: dict[tuple[bytes, str], _Said] = {}
        self._lists: dict[tuple[str, tuple[Rule, ...]], access_list.AccessList] = {}
        self._mounts = Mounts()
        self._walker = Walker(self._mounts)
        self._accounts = HostAccounts()
        self._policy: Policy | None = None
        self._policy_error: PolicyError | None = None
        try:
            self._policy = read_policy(_WatchedFiles(self._walker))
        except PolicyError as error:
            self._policy_error = error
        self._read_all()
        self._everybodys = [*self._walker.watched]
        self._roots = [one for one in self._everybodys if one.is_roots]
        self._mounted = {path: self._mounts.at(path) for path in self._walker.visited}
        self._is_remounted = {True: False, False: False}
        """By root, and by others."""
        self._taken = time.monotonic()

    def settle(self, begun: float) -> bool:
        """Note what could change without showing it, if reading began at `begun`; whether nothing of that is root's."""
        unsettled = [one for one in self._everybodys if not one.settle(begun)]
        return not any(one.is_roots for one in unsettled)

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
        return verdicts_for(caller, self._policy, self._accounts, lambda: self.load_for(caller))

    def with_macs(self) -> dict[str, PortSettings]:
        """Return what the rules that have `macs` say of their ports, by the identity that leases have of the rule."""
        terms = [rule.terms for rule in self._policy.rules] if self._policy else []
        return {each.rule: each.port for each in terms if each.rule is not None and each.port.macs}

    def load_for(self, caller: Caller) -> access_list.AccessList:
        """Return the access list as it stands for `caller`.  Raises AccessListError as standalone does."""

        def read(path: bytes) -> bytes:
            walked = self._walked.get(path)
            if walked is None:  # a share was used up: an include that was never looked at is no include to skip
                raise OSError(errno.EMFILE, TOO_MANY)
            return walked.read(caller)

        found = load_access_list(read, self._parse)
        # Most callers have one in common, and any number of groups may ask: a list of ten thousand rules is 80 KB.
        return self._lists.setdefault((found.path, found.rules), found)

    def is_current(self) -> bool:
        """Whether every file is as it was read, and every name still leads where it led.

        What others than root can change counts only when the snapshot has lasted for a while.
        """
        if self._mounts.have_changed():
            self._is_remounted = {True: False, False: False}
            for path, before in self._mounted.items():
                for changed in {*before} ^ {*self._mounts.at(path)}:
                    self._is_remounted[not is_users(changed)] = True
        if time.monotonic() < self._taken + SECONDS_TO_LAST:
            return not self._is_remounted[True] and all(one.is_current() for one in self._roots)
        return not any(self._is_remounted.values()) and all(one.is_current() for one in self._everybodys)

    def close(self) -> None:
        """Close what is watched."""
        for one in self._walker.watched:
            os.close(one.fd)
        self._mounts.close()

    def _read_all(self) -> None:
        """Walk all paths, each level of includes before the next, so that each is met at its least depth for anybody.

        What root alone writes comes first: it is watched as root's then, whoever else includes it.
        """
        roots = Share(is_roots=True)
        level = [(path, roots) for path in ACCESS_LISTS]
        others: list[list[tuple[bytes, Share]]] = []
        for _ in range(access_list.DEPTH_MAX + 1):
            found = [one for path, share in level for one in self._take(path, share)]
            level = [one for one in found if one[1].is_roots]
            others.append([one for one in found if not one[1].is_roots])
        level = []
        for found in others[:-1]:
            level = [one for path, share in [*level, *found] for one in self._take(path, share)]

    def _take(self, path: bytes, share: Share) -> list[tuple[bytes, Share]]:
        """Walk `path`, and return the paths that it includes, as far as anybody would look at them."""
        if path in share.seen:
            return []
        share.seen.add(path)
        try:
            share.take_step()
            if path not in self._walked:
                self._walked[path], share = self._walker.walk(path, share)
        except SpentError:
            return []
        source = self._walked[path].source
        # Up to its first error: whoever can read this file is refused, and what follows is read for nobody.
        said, _ = self._parsed(source, printable(path)) if source is not None else ([], None)
        includes = [one for one in said if isinstance(one, Include)]
        return [(access_list.target_of(one, path), share) for one in includes]

    def _parse(self, text: bytes, path: str) -> Iterator[Rule | Include]:
        """Do as `access_list.parse` does, but the work once for all callers."""
        statements, error = self._parsed(text, path)
        yield from statements
        if error is not None:
            raise AccessListError(error.what, error.remedy)

    def _parsed(self, text: bytes, path: str) -> "_Said":
        if (text, path) not in self._said:
            statements: list[Rule | Include] = []
            problem = None
            try:
                statements.extend(access_list.parse(text, path))  # what came before an error stays
            except AccessListError as error:
                problem = error
            self._said[text, path] = (statements, problem)
        return self._said[text, path]


class _WatchedFiles(PolicyFiles):
    """The files of the policy, each watched before it is read: so a change in between shows as one."""

    def __init__(self, walker: Walker) -> None:
        self._walker = walker

    def read(self, directory: bytes, name: bytes) -> bytes:
        """Return the text of a file that only root can change, and watch it; or watch that it is not there."""
        self._watch(directory, name)
        return super().read(directory, name)

    def names(self, directory: bytes, name: bytes) -> list[bytes]:
        """Return the names in a directory that only root can change, and watch which they are."""
        found = self._watch(directory, name)
        if isinstance(found, Directory):
            found.watch_names()
        return super().names(directory, name)

    def _watch(self, directory: bytes, name: bytes) -> object:
        with suppress(OSError):  # reading will meet it, and say so
            return self._walker.watch(directory + b"/" + name)
        return None


_Said = tuple[list[Rule | Include], AccessListError | None]
"""What a text says up to its first error, and that error."""
