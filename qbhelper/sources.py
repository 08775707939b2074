# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds and reads what says who may have what: the policy of /etc/qbhelper, or QEMU's access list.

The standalone way reads all with the caller's own rights.  The broker (broker/snapshot.py) runs the same functions
with rights of its own, and with what the caller could read of the access list.
"""

import errno
import os
import stat
import time

from qbhelper.errors import AccessListError, PolicyError, Problem, printable, reason
from qbhelper.policy import access_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from qbhelper.policy.decision import Verdicts
    from qbhelper.policy.rules import Day, Policy
    from qbhelper.policy.toml_file import Source
    from qbhelper.policy.who import Accounts
    from qbhelper.request import Caller

DIRECTORY = b"/etc/qbhelper"
POLICY = b"policy.toml"
DROP_INS = b"policy.d"
"""In DIRECTORY: a directory of files that are read after POLICY, in the order of their names."""
DROP_INS_MAX = 256

ACCESS_LISTS = (b"/etc/qemu/bridge.conf", b"/etc/qemu-kvm/bridge.conf")
"""Where distributions keep QEMU's access list; the second is Red Hat's.  The first that exists counts."""

NOT_REGULAR = "not a regular file"
SIZE_MAX = 1 << 20
"""Bytes; ten thousand rules are a third of it."""


def read_source(path: bytes) -> bytes:
    """Return the text of a policy file, read with the rights of this process.

    Raises OSError if it can't be read, is no regular file, or is larger than SIZE_MAX.
    """
    # O_NONBLOCK: an include may name a FIFO, and opening one would wait for a writer.
    return read_opened(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))


def read_opened(fd: int, only_trusted: bool = False) -> bytes:
    """Read the policy file that `fd` refers to, and close `fd`.

    Raises OSError as `read_source` does, and UntrustedError where `only_trusted` and others than root can change it.
    """
    try:
        status = os.fstat(fd)
        if only_trusted:
            require_trust(status)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        text = b""
        while part := os.read(fd, SIZE_MAX + 1 - len(text)):
            text += part
            if len(text) > SIZE_MAX:
                raise OSError(errno.EFBIG, f"larger than {SIZE_MAX} bytes")
        return text
    finally:
        os.close(fd)


def load_access_list(
    read: "access_list.Reader" = read_source, parser: "access_list.Parser | None" = None
) -> access_list.AccessList:
    """Load the access list of this host as `read` finds it: by default as this process may read it.

    Raises AccessListError, in the original's words, unless it can be read completely.
    """
    for path in ACCESS_LISTS:
        try:
            return access_list.load(path, read, parser)
        except FileNotFoundError:
            continue
        except OSError as error:
            remedy = (
                "each user who may use bridges needs to read it: chmod o+r it, or chgrp it to a group of theirs"
                if isinstance(error, PermissionError)
                else "the administrator has to mend it"
            )
            raise _error(path, reason(error), remedy) from error
        except AccessListError as error:
            raise _error(path, error.what, error.remedy) from error
    raise _error(
        ACCESS_LISTS[0],
        os.strerror(errno.ENOENT),
        "as root write the line `allow br0' into it, with your bridge's name",
    )


def _error(path: bytes, problem: str, remedy: str) -> AccessListError:
    return AccessListError(f"failed to parse default acl file `{printable(path)}': {problem}", remedy)


class UntrustedError(OSError):
    """Others than root can change this file or directory; `remedy` is what root can do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(errno.EINVAL, what)
        self.remedy: Final = remedy


def require_trust(status: os.stat_result, it: str = "it") -> None:
    """Raise UntrustedError unless root owns what has this status, and nobody else can write to `it`."""
    if status.st_uid != 0 and not shows_unmapped(status.st_uid):
        raise UntrustedError(
            f"uid {status.st_uid} owns {it}", f"as root: chown root {it}, after a look at what is in it"
        )
    # With an ACL the group's bits are its mask, so this covers whoever is named in it (acl(5)).
    if status.st_mode & 0o022:
        raise UntrustedError(
            f"others than root can write to {it}", f"as root: chmod go-w {it}, after a look at what is in it"
        )


def shows_unmapped(uid: int) -> bool:
    """Whether this uid only stands for those that our user namespace does not know, as the host's root may be.

    Who is in one has CAP_NET_ADMIN over a network of its own, if any: /etc is not theirs to change, and what they
    could gain, they have.
    """
    try:
        with open("/proc/self/uid_map") as mapped, open("/proc/sys/kernel/overflowuid") as overflow:
            return mapped.read().split() != ["0", "0", "4294967295"] and uid == int(overflow.read())
    except OSError:
        return False


class PolicyFiles:
    """The files of the policy, as this process may read them."""

    def read(self, directory: bytes, name: bytes) -> bytes:
        """Return the text of a file that only root can change.

        Raises FileNotFoundError if there is nothing of this name, and OSError if it can't be read or not be trusted.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        return read_opened(self._open(directory, name, flags), only_trusted=True)

    def names(self, directory: bytes, name: bytes) -> list[bytes]:
        """Return the names in a directory that only root can change.  Raises OSError as `read` does."""
        fd = self._open(directory, name, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            require_trust(os.fstat(fd))
            return [os.fsencode(entry) for entry in os.listdir(fd)]
        finally:
            os.close(fd)

    def _open(self, directory: bytes, name: bytes, flags: int) -> int:
        parent = _open_or_miss(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, None)
        try:
            require_trust(os.fstat(parent), "its directory")
            return _open_or_miss(name, flags, parent)
        finally:
            os.close(parent)


def _open_or_miss(path: bytes, flags: int, parent: int | None) -> int:
    """Open a file; raises FileNotFoundError only if there is not even a symbolic link of this name."""
    try:
        return os.open(path, flags, dir_fd=parent)
    except FileNotFoundError:
        # A link that leads nowhere was to lead to rules: that is not the same as no policy.
        os.stat(path, dir_fd=parent, follow_symlinks=False)
        raise OSError(errno.EINVAL, "a symbolic link that leads nowhere") from None


def read_policy(files: PolicyFiles | None = None) -> "Policy | None":
    """Return the policy of this host; None if there is none, and the access list rules.

    Raises PolicyError, with all problems of all files, unless all of it is read and right.
    """
    files = PolicyFiles() if files is None else files
    problems: list[Problem] = []

    def take(directory: bytes, name: bytes) -> "Source | None":
        path = printable(directory + b"/" + name)
        try:
            return path, files.read(directory, name)
        except OSError as error:
            # What was listed has to be there: lost in between, as in the middle of a change, it might be a deny.
            if directory != DIRECTORY or not isinstance(error, FileNotFoundError):
                problems.append(_problem(path, error))
        return None

    main = take(DIRECTORY, POLICY)
    listed = [take(DIRECTORY + b"/" + DROP_INS, name) for name in _drop_ins(files, problems)]
    drop_ins = [source for source in listed if source]
    if not (main or drop_ins or problems):
        return None
    if not (main or problems):
        problems.append(
            Problem(
                printable(DIRECTORY + b"/" + POLICY),
                0,
                f"missing, and {drop_ins[0][0]} is there",
                "write it, if only with the line [end] in it; or remove the files of policy.d",
            )
        )
    from qbhelper.policy.toml_file import parse  # here, because it brings tomllib, which takes 17 ms

    policy, wrong = parse(main, drop_ins)
    problems += wrong
    if problems:
        raise policy_error(problems)
    return policy


def _drop_ins(files: PolicyFiles, problems: list[Problem]) -> list[bytes]:
    """Return the names of the files beside POLICY, in their order."""
    path = printable(DIRECTORY + b"/" + DROP_INS)
    try:
        names = files.names(DIRECTORY, DROP_INS)
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(_problem(path, error))
        return []
    # What editors and package managers leave beside a file has another ending, or begins with a dot.
    names = sorted(name for name in names if name.endswith(b".toml") and not name.startswith(b"."))
    if len(names) > DROP_INS_MAX:
        problems.append(Problem(path, 0, f"more than {DROP_INS_MAX} files", "put rules together in fewer"))
        return []
    return names


def _problem(path: str, error: OSError) -> Problem:
    hint = "the administrator has to mend it"
    if isinstance(error, UntrustedError):
        hint = error.remedy
    elif isinstance(error, PermissionError):
        hint = "as root chmod 0644 it (a directory: 0755), or start the broker, which reads it for all: qbhelperd"
    return Problem(path, 0, reason(error), hint)


def policy_error(problems: list[Problem]) -> PolicyError:
    """Return the error for callers: they may not be able to read the files, and learn where, not what.

    What is said of a file as a whole (line 0) has nothing of its content in it.
    """
    first = problems[0]
    if not first.line:
        return PolicyError(f"failed to read the policy: {first.path}: {first.what}", first.hint, tuple(problems))
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return PolicyError(
        f"the policy has an error: {first.path}:{first.line}{more}",
        "nothing is allowed until the administrator mends it: `qbhelperctl check' says what is wrong",
        tuple(problems),
    )


def verdicts_for(
    caller: "Caller",
    policy: "Policy | None",
    accounts: "Accounts",
    load: "Callable[[], access_list.AccessList]",
) -> "Verdicts":
    """Return what rules as it stands for `caller`: the policy if there is one, and what `load` has as the access list.

    Raises AccessListError if the access list counts, and can't be read completely.
    """
    if policy is None:
        return load()
    return policy.for_caller(caller, accounts, _today, load() if policy.qemu_acl else None)


def _today() -> "Day":
    return time.localtime()[:3]


def load_policy(caller: "Caller") -> "Verdicts":
    """Return what rules on this host as it stands for `caller`, whose rights this process has.

    Raises PolicyError or AccessListError unless it can be read completely.
    """
    policy = read_policy()
    if policy is None:
        return load_access_list()
    from qbhelper.accounts import HostAccounts

    return verdicts_for(caller, policy, HostAccounts(), load_access_list)
