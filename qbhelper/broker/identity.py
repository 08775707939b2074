# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is at the other end of a connection, as the kernel tells it (unix(7), socket(7)).

Nothing here is said by the caller.  Ids and groups are those of the moment of connect(2).
"""

import array
import errno
import socket
import struct
from typing import NamedTuple

from qbhelper.request import Caller

SO_PEERGROUPS = 59
SO_NETNS_COOKIE = 71
_UCRED = struct.Struct("3i")
GROUPS_MAX = 256
"""Python's getsockopt returns 1024 bytes at most.  A process may be in 65536 groups (credentials(7))."""


class Peer(NamedTuple):
    """The process that connected.

    caller: uid, gid and groups as this host has them: root of a user namespace is the uid that made it; pid 0 where
    the process is in a pid namespace that we do not see into; all_groups: False if they are in more than GROUPS_MAX,
    and the caller's groups are not known.
    """

    caller: Caller
    all_groups: bool


def of(connection: socket.socket, network: int) -> Peer:
    """Return who is at the other end of an accepted connection.  `network`: the cookie of ours.  Raises OSError."""
    pid, uid, gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if pid < 0 or uid == -1 or gid == -1:
        raise OSError("the kernel does not know who connected")
    groups: bytes | None
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * GROUPS_MAX)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        groups = None
    caller = Caller(
        uid & 0xFFFFFFFF,
        gid & 0xFFFFFFFF,
        tuple(array.array("I", groups or b"")),
        pid=pid,
        is_elsewhere=network_of(connection) != network,
    )
    return Peer(caller, groups is not None)


def network_of(any_socket: socket.socket) -> int:
    """Return the cookie of a socket's network namespace; an accepted socket has that of who connected."""
    cookie: int = struct.unpack("=Q", any_socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8))[0]
    return cookie
