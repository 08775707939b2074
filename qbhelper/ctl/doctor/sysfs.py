# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel tells of an interface in /sys/class/net alone (Documentation/ABI/testing/sysfs-class-net)."""

import errno
import os
from pathlib import Path

from qbhelper.errors import KernelError, printable
from qbhelper.kernel.message import Link

_DIRECTORY = b"/sys/class/net"
_WIRELESS = (b"phy80211", b"wireless")


def read(link: Link, name: str) -> str | None:
    """Return what one file of an interface says; None if the file is not there, or says nothing while it is down.

    Raises KernelError if /sys shows another network namespace than the one that we are in.
    """
    _require_same(link)
    return _text(link, name)


def number(link: Link, name: str) -> int | None:
    """Return the same as a number.  Raises KernelError."""
    text = read(link, name)
    return int(text) if text is not None and text.isdecimal() else None


def is_wireless(link: Link) -> bool:
    """Whether it is Wi-Fi.  Raises KernelError."""
    _require_same(link)
    return any(os.path.exists(b"/".join((_DIRECTORY, link.name, word))) for word in _WIRELESS)


def _require_same(link: Link) -> None:
    if _text(link, "ifindex") != str(link.index):
        raise KernelError(
            f"/sys/class/net does not show `{printable(link.name)}' as it is here",
            "mount the sysfs of this network namespace: mount -t sysfs sysfs /sys",
        )


def _text(link: Link, name: str) -> str | None:
    try:
        return Path(os.fsdecode(b"/".join((_DIRECTORY, link.name))), name).read_text().strip()
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return None
        raise
