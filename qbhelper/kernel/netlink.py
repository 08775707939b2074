# SPDX-License-Identifier: GPL-2.0-or-later
"""The few rtnetlink messages that every brokered port needs (rtnetlink(7), linux/if_link.h).

pyroute2 does the rest of netlink.  Not these: each port means one message out and some seven events in,
and it decodes an event in the time that making a whole port takes.
"""

import errno
import os
import struct
from _socket import AF_NETLINK, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

NETLINK_ROUTE = 0
RTMGRP_LINK = 1
SO_RCVBUFFORCE = 33

NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300

IFLA_IFNAME = 3
IFLA_MASTER = 10
IFLA_LINKINFO = 18
IFLA_IFALIAS = 20
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_TUN_OWNER = 1
IFLA_TUN_GROUP = 2
IFLA_TUN_PERSIST = 6

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
HALF = "the kernel sent half a netlink message"
_TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_RECEIVE = 1 << 18
"""Bytes; larger than any single read of a dump that the kernel makes."""
_EVENT_BUFFER = 8 << 20
"""Bytes of link events that may wait while we make ports."""
EVENTS_AT_ONCE = 64
"""Read in one go: whoever holds a TAP can change its MAC faster than we read of it, for ever."""


class Link:
    """An interface as the kernel describes it in one message.

    index; name; alias, empty if none; master: index of its bridge, 0 if none; kind, as `tun` or `bridge`;
    owner, group: uid and gid that a TAP was given to, None if none; persistent; gone: the message says it is no more.
    """

    __slots__ = ("alias", "gone", "group", "index", "kind", "master", "name", "owner", "persistent")

    def __init__(
        self,
        *,
        index: int,
        name: bytes,
        alias: bytes,
        master: int,
        kind: bytes,
        owner: int | None,
        group: int | None,
        persistent: bool,
        gone: bool,
    ) -> None:
        self.index: Final = index
        self.name: Final = name
        self.alias: Final = alias
        self.master: Final = master
        self.kind: Final = kind
        self.owner: Final = owner
        self.group: Final = group
        self.persistent: Final = persistent
        self.gone: Final = gone


class Links:
    """Requests about interfaces, each answered before the call returns.  Errors are OSError, as the kernel has them."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self) -> None:
        self._socket = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def set_alias(self, index: int, alias: bytes) -> None:
        """Set the alias (at most 255 bytes) of an interface."""
        self._ask(RTM_NEWLINK, NLM_F_ACK, _ifinfo(index) + _attribute(IFLA_IFALIAS, alias))

    def delete(self, index: int) -> None:
        """Delete an interface, whoever holds it open."""
        self._ask(RTM_DELLINK, NLM_F_ACK, _ifinfo(index))

    def get(self, index: int) -> Link | None:
        """Describe one interface; None if it is gone."""
        try:
            found = self._ask(RTM_GETLINK, 0, _ifinfo(index))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return found[0]

    def find(self, name: bytes) -> Link | None:
        """Describe the interface of this name, or altname; None if there is none.

        Not by ioctl: with CAP_NET_ADMIN that would have the kernel load a module called netdev-NAME.
        """
        try:
            found = self._ask(RTM_GETLINK, 0, _ifinfo(0) + _attribute(IFLA_IFNAME, name + b"\0"))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return found[0]

    def dump(self) -> list[Link]:
        """Describe every interface of the network namespace."""
        return self._ask(RTM_GETLINK, NLM_F_DUMP, _ifinfo(0))

    def _ask(self, kind: int, flags: int, body: bytes) -> list[Link]:
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, NLM_F_REQUEST | flags, self._sequence, 0) + body)
        links: list[Link] = []
        while True:
            data = self._socket.recv(_RECEIVE)
            if not data:
                raise OSError(errno.EBADMSG, HALF)
            for answer, sequence, payload in _messages(data):
                if sequence != self._sequence:
                    continue  # the rest of an answer that somebody stopped waiting for
                if answer == NLMSG_ERROR:
                    code = struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return links
                if answer == NLMSG_DONE:
                    return links
                links.append(_parse_link(payload, gone=False))
                if not flags & NLM_F_DUMP:
                    return links


class LinkEvents:
    """The kernel's announcements of changes to interfaces (RTNLGRP_LINK).

    `needle`: bytes without which an announcement is of no interest.  Most are not, and looking for it costs a
    hundredth of decoding.
    """

    __slots__ = ("_needle", "_socket")

    def __init__(self, needle: bytes) -> None:
        self._needle = needle
        self._socket = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.setsockopt(SOL_SOCKET, SO_RCVBUFFORCE, _EVENT_BUFFER)
        self._socket.bind((0, RTMGRP_LINK))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """The fd to wait on until there is something to read."""
        return self._socket.fileno()

    def read(self) -> "list[Link] | None":
        """Return what was announced since the last time, as far as it is read in one go.

        None if so much was announced that some was lost (ENOBUFS).
        """
        links: list[Link] = []
        for _ in range(EVENTS_AT_ONCE):
            try:
                data = self._socket.recv(_RECEIVE, MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            if self._needle not in data:
                continue
            for kind, _, payload in _messages(data):
                if kind in (RTM_NEWLINK, RTM_DELLINK):
                    links.append(_parse_link(payload, gone=kind == RTM_DELLINK))
        return links


def _ifinfo(index: int) -> bytes:
    return _IFINFO.pack(0, 0, index, 0, 0)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _messages(data: bytes) -> "Iterator[tuple[int, int, memoryview]]":
    """Yield type, sequence number and payload of each message in one read."""
    view = memoryview(data)
    while len(view) >= _HEADER.size:
        length, kind, _, sequence, _ = _HEADER.unpack_from(view)
        if not _HEADER.size <= length <= len(view):
            raise OSError(errno.EBADMSG, HALF)
        yield kind, sequence, view[_HEADER.size : length]
        view = view[length + -length % 4 :]


def _attributes(view: memoryview) -> "dict[int, memoryview]":
    found: dict[int, memoryview] = {}
    while len(view) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(view)
        if not _ATTRIBUTE.size <= length <= len(view):
            raise OSError(errno.EBADMSG, HALF)
        found[kind & _TYPE_MASK] = view[_ATTRIBUTE.size : length]
        view = view[length + -length % 4 :]
    return found


def _parse_link(payload: memoryview, *, gone: bool) -> Link:
    try:
        return _unpack_link(payload, gone=gone)
    except struct.error as error:
        raise OSError(errno.EBADMSG, HALF) from error


def _unpack_link(payload: memoryview, *, gone: bool) -> Link:
    index: int = _IFINFO.unpack_from(payload)[2]
    attributes = _attributes(payload[_IFINFO.size :])
    about = _attributes(attributes.get(IFLA_LINKINFO, memoryview(b"")))
    kind = _text(about.get(IFLA_INFO_KIND))
    tun = _attributes(about[IFLA_INFO_DATA]) if kind == b"tun" and IFLA_INFO_DATA in about else {}
    master = attributes.get(IFLA_MASTER)
    owner, group = tun.get(IFLA_TUN_OWNER), tun.get(IFLA_TUN_GROUP)
    return Link(
        index=index,
        name=_text(attributes.get(IFLA_IFNAME)),
        alias=_text(attributes.get(IFLA_IFALIAS)),
        master=struct.unpack("=I", master)[0] if master is not None else 0,
        kind=kind,
        owner=struct.unpack("=I", owner)[0] if owner is not None else None,
        group=struct.unpack("=I", group)[0] if group is not None else None,
        persistent=bytes(tun.get(IFLA_TUN_PERSIST, b"\0")) != b"\0",
        gone=gone,
    )


def _text(value: memoryview | None) -> bytes:
    return bytes(value).rstrip(b"\0") if value is not None else b""
