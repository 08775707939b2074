# SPDX-License-Identifier: GPL-2.0-or-later
"""How a reply comes about: the code of an error, and the one datagram that takes it to the caller."""

import socket
from collections.abc import Sequence

from qbhelper import wire
from qbhelper.errors import QbError
from qbhelper.wire import Code, Reply


def code_of(error: QbError) -> Code:
    """Return what a program is told of `error`."""
    return Code[error.code]


def send(connection: socket.socket, reply: Reply, fds: Sequence[int] = ()) -> bool:
    """Send a reply, with fds beside it; whether the kernel took it."""
    datagram = wire.pack_reply(reply)
    try:
        if not fds:
            return connection.send(datagram, socket.MSG_NOSIGNAL) == len(datagram)
        return socket.send_fds(connection, [datagram], fds, socket.MSG_NOSIGNAL) == len(datagram)
    except OSError:
        return False
