# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads policy files with the caller's own rights, and finds the access list."""

import errno
import os
import stat

from qbhelper.errors import AccessListError, printable, reason
from qbhelper.policy import access_list

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


def read_opened(fd: int) -> bytes:
    """Read the policy file that `fd` refers to, and close `fd`.  Raises OSError as `read_source` does."""
    try:
        status = os.fstat(fd)
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
