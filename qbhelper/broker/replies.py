# SPDX-License-Identifier: GPL-2.0-or-later
"""How a reply comes about: the code of an error, and the one datagram that takes it to the caller."""

import socket

from qbhelper import wire
from qbhelper.errors import AccessDenied, AccessListError, NoSuchBridge, QbError, UsageError
from qbhelper.wire import Code, Reply


class UnsupportedError(QbError):
    """What was asked is not to be had here."""


class ElsewhereError(QbError):
    """The caller is in another network namespace than the broker."""


def code_of(error: QbError) -> Code:
    """Return what a program is told of `error`."""
    if isinstance(error, AccessDenied | AccessListError | UsageError):
        return Code.NOT_ALLOWED
    if isinstance(error, NoSuchBridge):
        return Code.NO_SUCH_BRIDGE
    if isinstance(error, UnsupportedError):
        return Code.UNSUPPORTED
    if isinstance(error, ElsewhereError):
        return Code.ELSEWHERE
    return Code.INTERNAL


def send(connection: socket.socket, reply: Reply, fd: int | None) -> bool:
    """Send a reply, with an fd beside it; whether the kernel took it."""
    datagram = wire.pack_reply(reply)
    try:
        if fd is None:
            return connection.send(datagram, socket.MSG_NOSIGNAL) == len(datagram)
        return socket.send_fds(connection, [datagram], [fd], socket.MSG_NOSIGNAL) == len(datagram)
    except OSError:
        return False
