# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is where QEMU and libvirt look for a helper: their own, with privilege or without, or ours."""

import enum
import os
import stat

from qbhelper.ctl.doctor import helper
from qbhelper.ctl.doctor.privilege_of_file import privilege_of
from qbhelper.wire import SOCKET_PATH

NAME = "qbhelper"

_SIZE_MAX = 4 << 20
"""Bytes that are read of a program; ours has less than one tenth of a MiB."""


class Kind(enum.Enum):
    """What there is at a path."""

    MISSING = "missing"
    OURS = "ours"
    SETUID = "QEMU's own, setuid root"
    CAPABLE = "QEMU's own, with a file capability"
    PLAIN = "QEMU's own, without privilege"
    """Or with one that counts for nothing there."""
    UNKNOWN = "unknown"


def installed() -> str:
    """Return where our helper is, or where a package would put it: for words and commands, unlike helper.installed."""
    return helper.installed() or helper.USUAL[0]


def kind_of(path: str) -> Kind:
    """Return what would be started by this path."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            return Kind.MISSING
        if _is_ours(path):
            return Kind.OURS
        if not privilege_of(path, is_of_this_process=False).works:
            return Kind.PLAIN
        return Kind.SETUID if status.st_mode & stat.S_ISUID else Kind.CAPABLE
    except (FileNotFoundError, NotADirectoryError):
        return Kind.MISSING
    except OSError:
        return Kind.UNKNOWN


def _is_ours(path: str) -> bool:
    """Whether it is our program: by what is in it, as a copy has another name, and a wrapper names the one it starts.

    Raises OSError if it can't be read.
    """
    if os.path.basename(os.path.realpath(path)) == NAME:
        return True
    with open(path, "rb") as file:
        content = file.read(_SIZE_MAX)
    return SOCKET_PATH.encode() in content or f"/bin/{NAME}\0".encode() in content
