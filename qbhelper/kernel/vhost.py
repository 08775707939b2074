# SPDX-License-Identifier: GPL-2.0-or-later
"""Fds of /dev/vhost-net, through which the host's kernel moves a guest's frames (linux/vhost.h)."""

import os

from qbhelper.errors import UnsupportedError, reason

VHOST_DEVICE = "/dev/vhost-net"
QUEUES_MAX = 253 // 2
"""SCM_MAX_FD in include/net/scm.h, shared with the fds of the TAP."""


def open_each(count: int) -> tuple[int, ...]:
    """Return `count` fds of the device, close-on-exec; each serves one queue.  Raises UnsupportedError."""
    if count > QUEUES_MAX:
        raise UnsupportedError(
            f"failed to make {count} queues with vhost: that is more fds than are sent in one message",
            f"ask for {QUEUES_MAX} at most",
        )
    fds: list[int] = []
    try:
        while len(fds) < count:
            fds.append(os.open(VHOST_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        for fd in fds:
            os.close(fd)
        what = f"failed to open {VHOST_DEVICE}: {reason(error)}"
        if isinstance(error, PermissionError):
            raise UnsupportedError(
                what, "the broker's account has to be in the group of the device: docs/ports.md"
            ) from error
        raise UnsupportedError(what, "as root: modprobe vhost_net; or ask for a port without vhost") from error
    return tuple(fds)
