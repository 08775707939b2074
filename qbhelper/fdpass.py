# SPDX-License-Identifier: GPL-2.0-or-later
"""Handing file descriptors over a Unix socket: SCM_RIGHTS, unix(7)."""

import os
import struct
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    SCM_RIGHTS,
    SOL_SOCKET,
)
from _socket import socket as Socket  # noqa: N812  the same class without the 8 ms that socket.py takes

from qbhelper.errors import HandOverError, reason

_INT = struct.Struct("i")


def send(socket: Socket, fd: int) -> None:
    """Hand `fd` over: one zero byte that carries exactly one fd, as QEMU and libvirt take it (contract 1.5).

    Does not wait: QEMU's socket is fresh, so one that is full is none of QEMU's.
    Raises HandOverError unless the kernel took it whole.
    """
    rights = [(SOL_SOCKET, SCM_RIGHTS, _INT.pack(fd))]
    try:
        sent = socket.sendmsg([b"\0"], rights, MSG_DONTWAIT | MSG_NOSIGNAL)
    except OSError as error:
        raise HandOverError(f"failed to write fd to unix socket: {reason(error)}") from error
    if sent != 1:
        raise HandOverError(f"failed to write fd to unix socket: {sent} of 1 byte sent")


def receive(socket: Socket) -> int:
    """Take one fd that was handed over as `send` does; it is close-on-exec.

    Raises HandOverError, and keeps no fd, unless one byte with exactly one fd arrives.
    """
    try:
        data, ancillary, flags, _ = socket.recvmsg(1, CMSG_SPACE(_INT.size), MSG_CMSG_CLOEXEC)
    except OSError as error:
        raise HandOverError(f"failed to receive a file descriptor: {reason(error)}") from error
    fds: list[int] = [
        fd
        for level, kind, payload in ancillary
        if (level, kind) == (SOL_SOCKET, SCM_RIGHTS)
        for (fd,) in _INT.iter_unpack(payload[: len(payload) - len(payload) % _INT.size])
    ]
    if len(data) == 1 and len(fds) == 1 and not flags & (MSG_CTRUNC | MSG_TRUNC):
        return fds[0]
    for fd in fds:
        os.close(fd)
    raise HandOverError(f"failed to receive a file descriptor: {len(fds)} came with {len(data)} bytes")
