# SPDX-License-Identifier: GPL-2.0-or-later
"""The one rtnetlink question that every port needs (rtnetlink(7), linux/if_link.h).

pyroute2 does the rest of netlink.  Not this: importing it takes longer than thirty ports.
"""

import errno
import os
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW
from _socket import socket as Socket  # noqa: N812  the same class without the 8 ms that socket.py takes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NETLINK_ROUTE = 0
NLMSG_ERROR = 2
RTM_NEWLINK = 16
RTM_GETLINK = 18
NLM_F_REQUEST = 0x1
IFLA_MASTER = 10

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_RECEIVE = 1 << 16
"""Bytes; a link is described in some two thousand."""


class Link:
    """An interface as the kernel describes it: its index, and that of its bridge, 0 if it is no port."""

    __slots__ = ("index", "master")

    def __init__(self, index: int, master: int) -> None:
        self.index: Final = index
        self.master: Final = master


def get_link(index: int) -> Link:
    """Describe the interface with this index.  Raises OSError, as the kernel has it."""
    netlink = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
    try:
        body = _IFINFO.pack(0, 0, index, 0, 0)
        netlink.send(_HEADER.pack(_HEADER.size + len(body), RTM_GETLINK, NLM_F_REQUEST, 1, 0) + body)
        answer = memoryview(netlink.recv(_RECEIVE))
    finally:
        netlink.close()
    length, kind = _HEADER.unpack_from(answer)[:2]
    payload = answer[_HEADER.size : length]
    if kind == NLMSG_ERROR:
        code = -struct.unpack_from("=i", payload)[0]
        raise OSError(code, os.strerror(code))
    if kind != RTM_NEWLINK or _IFINFO.unpack_from(payload)[2] != index:
        raise OSError(errno.EBADMSG, "the kernel answered something else")
    master = _attributes(payload[_IFINFO.size :]).get(IFLA_MASTER)
    return Link(index, struct.unpack("=I", master)[0] if master is not None else 0)


def _attributes(view: memoryview) -> dict[int, memoryview]:
    found: dict[int, memoryview] = {}
    while len(view) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(view)
        if not _ATTRIBUTE.size <= length <= len(view):
            raise OSError(errno.EBADMSG, "the kernel sent half a netlink attribute")
        found[kind & _TYPE_MASK] = view[_ATTRIBUTE.size : length]
        view = view[length + -length % 4 :]
    return found
