# SPDX-License-Identifier: GPL-2.0-or-later
"""How a reply comes about: the code of an error, and the one datagram that takes it to the caller."""

import socket
from collections.abc import Sequence

from qbhelper import wire
from qbhelper.errors import (
    AccessDenied,
    AccessListError,
    Busy,
    ElsewhereError,
    NoSuchBridge,
    NoSuchLease,
    PolicyError,
    QbError,
    QuotaExceeded,
    Taken,
    UnsupportedError,
    UsageError,
)
from qbhelper.wire import Code, Reply

_CODES: dict[type[QbError], Code] = {
    AccessDenied: Code.NOT_ALLOWED,
    AccessListError: Code.NOT_ALLOWED,
    PolicyError: Code.NOT_ALLOWED,
    UsageError: Code.NOT_ALLOWED,
    QuotaExceeded: Code.QUOTA,
    Taken: Code.QUOTA,
    ElsewhereError: Code.ELSEWHERE,
    NoSuchBridge: Code.NO_SUCH_BRIDGE,
    NoSuchLease: Code.NO_SUCH_LEASE,
    UnsupportedError: Code.UNSUPPORTED,
    Busy: Code.BUSY,
}


def code_of(error: QbError) -> Code:
    """Return what a program is told of `error`."""
    return _CODES.get(type(error), Code.INTERNAL)


def send(connection: socket.socket, reply: Reply, fds: Sequence[int] = ()) -> bool:
    """Send a reply, with fds beside it; whether the kernel took it."""
    datagram = wire.pack_reply(reply)
    try:
        if not fds:
            return connection.send(datagram, socket.MSG_NOSIGNAL) == len(datagram)
        return socket.send_fds(connection, [datagram], fds, socket.MSG_NOSIGNAL) == len(datagram)
    except OSError:
        return False
