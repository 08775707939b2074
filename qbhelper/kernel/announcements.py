# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel announces of leased TAPs that are not, or no longer, as we make them (rtnetlink(7), RTMGRP_LINK).

A port that is made is announced several times over, as is one that ends, and who holds a TAP can have it
announced as often as they like.  So the kernel looks at each announcement for us, and wakes us for none that tells of
nothing wrong.
"""

import array
import errno
import struct
import sys
from _socket import AF_NETLINK, MSG_DONTWAIT, SO_RCVBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812

from qbhelper.kernel.bpf import NETLINK_ATTRIBUTE, NETLINK_NESTED, Program
from qbhelper.kernel.message import (
    AF_BRIDGE,
    BRIDGE_PORT_MAC_START,
    IFLA_ADDRESS,
    IFLA_IFALIAS,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_TUN_GROUP,
    IFLA_TUN_MULTI_QUEUE,
    IFLA_TUN_OWNER,
    IFLA_TUN_PERSIST,
    NETLINK_ROUTE,
    RTM_NEWLINK,
    RTMGRP_LINK,
    Link,
    messages,
    parse_link,
)

SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33

_BUFFER = 8 << 20
"""Bytes of announcements that may wait while we make ports."""
_LARGEST = 1 << 16
"""Bytes of one announcement; most have 1.5 KB."""
_TYPE, _FAMILY, _ATTRIBUTES = 4, 16, 32
"""Where these begin in an announcement: struct nlmsghdr, then struct ifinfomsg."""
AT_ONCE = 64
"""Read in one go: whoever holds a TAP with several queues can have it announced faster than we read, for ever."""


class Announcements:
    """Of TAPs that may have been tampered with."""

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        """From now on.  Raises OSError."""
        self._socket = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        try:
            self._socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:
            # In a user namespace, as in a system container, CAP_NET_ADMIN is not enough for more than rmem_max.
            # What then is lost is announced as lost.
            self._socket.setsockopt(SOL_SOCKET, SO_RCVBUF, _BUFFER)
        program = array.array("B", _suspicious())
        address, size = program.buffer_info()
        self._socket.setsockopt(SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", size // 8, address))
        self._socket.bind((0, RTMGRP_LINK))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """The fd to wait on until there is something to read."""
        return self._socket.fileno()

    def read(self) -> "list[Link] | None":
        """Return the interfaces to look at, as they were when they were announced, as far as is read in one go.

        None if so much was announced that some was lost (ENOBUFS).
        """
        suspects: list[Link] = []
        for _ in range(AT_ONCE):
            try:
                data = self._socket.recv(_LARGEST, MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            suspects += [parse_link(payload) for _, _, _, payload in messages(data)]
        return suspects


def _suspicious() -> bytes:
    """Return the program that lets nothing through but what may be a leased TAP that is not as we made it.

    What it does not find is a reason to let an announcement through; only an alias has to be there.
    """
    code = Program()
    code.load(_TYPE, 2)
    code.unless_equal(_as_loaded(RTM_NEWLINK.to_bytes(2, sys.byteorder)), "boring")  # what is gone needs no look
    code.load(_FAMILY, 1)
    code.if_equal(AF_BRIDGE, "boring")  # of the port, not the TAP
    _find(code, IFLA_LINKINFO, IFLA_INFO_KIND)
    code.if_equal(0, "suspicious")
    code.a_to_x()
    code.load_at_x(4)
    code.unless_equal(_as_loaded(b"tun\0"), "boring")
    _find(code, IFLA_IFALIAS)
    code.if_equal(0, "boring")
    _find(code, IFLA_ADDRESS)
    code.if_equal(0, "suspicious")
    code.a_to_x()
    code.load_at_x(4, 1)
    code.unless_equal(BRIDGE_PORT_MAC_START[0], "suspicious")
    for kind, size in ((IFLA_TUN_OWNER, 4), (IFLA_TUN_PERSIST, 1), (IFLA_TUN_MULTI_QUEUE, 1)):
        _find(code, IFLA_LINKINFO, IFLA_INFO_DATA, kind)
        code.if_equal(0, "suspicious")
        code.a_to_x()
        code.load_at_x(4, size)
        # Root of a user namespace can have itself announced as 0.  That gains nothing while one queue is in use; and
        # with several queues all is let through.
        code.unless_equal(0, "suspicious")
    _find(code, IFLA_LINKINFO, IFLA_INFO_DATA, IFLA_TUN_GROUP)
    code.if_equal(0, "boring")
    code.label("suspicious")
    code.match()
    code.label("boring")
    code.no_match()
    return code.packed()


def _find(code: Program, kind: int, *nested: int) -> None:
    """A = where the attribute at the end of this path of attributes is; 0 if it is not there."""
    code.set_a(_ATTRIBUTES)
    code.set_x(kind)
    code.load(NETLINK_ATTRIBUTE)
    missing = code.new_label()
    for inner in nested:
        code.if_equal(0, missing)  # else the start of the announcement would be taken for an attribute
        code.set_x(inner)
        code.load(NETLINK_NESTED)
    code.label(missing)


def _as_loaded(value: bytes) -> int:
    """Return the number that a load makes of these bytes: loads are big-endian."""
    return int.from_bytes(value)
