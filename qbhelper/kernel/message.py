# SPDX-License-Identifier: GPL-2.0-or-later
"""What rtnetlink messages about interfaces look like (rtnetlink(7), linux/if_link.h, linux/netlink.h)."""

import errno
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final, TypeVar

    Answer = TypeVar("Answer")

NETLINK_ROUTE = 0
RTMGRP_LINK = 1
AF_BRIDGE = 7

NLMSG_ERROR = 2
NLMSG_DONE = 3
RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300

IFF_UP = 0x1

IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_MASTER = 10
IFLA_LINKINFO = 18
IFLA_IFALIAS = 20
IFLA_AF_SPEC = 26
IFLA_EXT_MASK = 29
IFLA_CARRIER = 33
RTEXT_FILTER_SKIP_STATS = 0x8
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_INFO_SLAVE_KIND = 4
IFLA_TUN_OWNER = 1
IFLA_TUN_GROUP = 2
IFLA_TUN_PERSIST = 6
IFLA_TUN_MULTI_QUEUE = 7
IFLA_TUN_NUM_QUEUES = 8
IFLA_TUN_NUM_DISABLED_QUEUES = 9

AF_INET6 = 10
IFLA_INET6_ADDR_GEN_MODE = 8
IN6_ADDR_GEN_MODE_NONE = b"\1"

BRIDGE_PORT_MAC_START = b"\xfe"
"""A bridge takes the lowest MAC of its ports for its own; with fe: first it does not take the TAP's."""

_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_ERROR = struct.Struct("=i")
HALF = "the kernel sent half a netlink message"
DUMPS_MAX = 10
"""So often a dump is asked for, until nothing came or went while the kernel made it."""
INTERRUPTED = "what there is came and went all the while"
_TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_ZERO = bytes(4)
_OF_A_STATE = frozenset((IFLA_IFNAME, IFLA_IFALIAS, IFLA_MASTER, IFLA_LINKINFO))
_OF_A_LINK = _OF_A_STATE | {IFLA_ADDRESS, IFLA_MTU, IFLA_CARRIER}
_OF_ITS_KIND = frozenset((IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND))
_OF_A_TUN = frozenset(
    (IFLA_TUN_OWNER, IFLA_TUN_GROUP, IFLA_TUN_PERSIST, IFLA_TUN_NUM_QUEUES, IFLA_TUN_NUM_DISABLED_QUEUES)
)


class LinkState:
    """Of an interface, what tells whether it has become what was asked for.

    index; name; alias, empty if none; master: index of its bridge, 0 if none; up: whether it was set up;
    master_kind: `bridge`, or what else it is a port of; empty if of nothing.
    """

    __slots__ = ("alias", "index", "master", "master_kind", "name", "up")

    def __init__(self, index: int, name: bytes, alias: bytes, master: int, up: bool, master_kind: bytes) -> None:
        self.index: Final = index
        self.name: Final = name
        self.alias: Final = alias
        self.master: Final = master
        self.up: Final = up
        self.master_kind: Final = master_kind


class Link(LinkState):
    """All of what the kernel says of an interface that is of use here.

    kind, as `tun` or `bridge`; mtu (bytes); owner, group: uid and gid that a TAP was given to, None if none;
    persistent; address: its MAC; queues: of a TAP, attached or not; has_carrier: of a TAP, whether it is open, unless
    who has it open wants it to look otherwise.
    """

    __slots__ = (
        "address",
        "group",
        "has_carrier",
        "kind",
        "mtu",
        "owner",
        "persistent",
        "queues",
    )

    def __init__(
        self,
        *,
        index: int,
        name: bytes,
        alias: bytes,
        master: int,
        kind: bytes,
        mtu: int,
        up: bool,
        owner: int | None,
        group: int | None,
        persistent: bool,
        address: bytes,
        queues: int,
        has_carrier: bool,
        master_kind: bytes = b"",
    ) -> None:
        super().__init__(index, name, alias, master, up, master_kind)
        self.kind: Final = kind
        self.mtu: Final = mtu
        self.owner: Final = owner
        self.group: Final = group
        self.persistent: Final = persistent
        self.address: Final = address
        self.queues: Final = queues
        self.has_carrier: Final = has_carrier


def attribute(kind: int, value: bytes | int) -> bytes:
    """Return one attribute as it travels; a number is 32 bits wide."""
    if isinstance(value, int):
        value = value.to_bytes(4, sys.byteorder)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


NO_STATISTICS = attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)


def ifinfo(index: int, flags: int = 0, *, clear: int = 0) -> bytes:
    """Return what each request begins with: the interface that it is about, flags to set and others to clear."""
    return _IFINFO.pack(0, 0, index, flags, flags | clear)


def by_name(name: bytes, *attributes: bytes, flags: int = 0) -> bytes:
    """Return the body of a request about the interface of this name, or altname."""
    return ifinfo(0, flags) + attribute(IFLA_IFNAME, name + b"\0") + b"".join(attributes)


def named_with(start: bytes) -> bytes:
    """Return what the description of an interface holds if its name begins with `start`."""
    return IFLA_IFNAME.to_bytes(2, sys.byteorder) + start


def of_kind(kind: bytes) -> bytes:
    """Return an attribute by which a dump is of interfaces of this kind alone."""
    return attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, kind))


def pack(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a request."""
    return _HEADER.pack(_HEADER.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


def messages(data: bytes) -> "Iterator[tuple[int, int, int, bytes]]":
    """Yield type, flags, sequence number and payload of each message in one read.  Raises OSError as `parse_link`."""
    start, end = 0, len(data)
    while end - start >= _HEADER.size:
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, start)
        if not _HEADER.size <= length <= end - start:
            raise OSError(errno.EBADMSG, HALF)
        yield kind, flags, sequence, data[start + _HEADER.size : start + length]
        start += length + -length % 4


def _attributes(data: bytes, wanted: "frozenset[int]", start: int = 0) -> "dict[int, bytes]":
    """Return those of the attributes in `data` from `start` on that are `wanted`.

    No Python is run more often than this loop: an interface has forty of them, and few are of use here.
    """
    found: dict[int, bytes] = {}
    unpack, end = _ATTRIBUTE.unpack_from, len(data)
    while end - start >= 4:
        length, kind = unpack(data, start)
        if not 4 <= length <= end - start:
            raise OSError(errno.EBADMSG, HALF)
        kind &= _TYPE_MASK
        if kind in wanted:
            found[kind] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def parse_state(payload: bytes) -> LinkState:
    """Return the state of the interface that a message describes.  Raises OSError (EBADMSG) for half a message."""
    try:
        _, _, index, flags, _ = _IFINFO.unpack_from(payload)
        attributes = _attributes(payload, _OF_A_STATE, _IFINFO.size)
        about = _attributes(attributes.get(IFLA_LINKINFO, b""), _OF_ITS_KIND)
        return LinkState(
            index,
            attributes.get(IFLA_IFNAME, b"").rstrip(b"\0"),
            attributes.get(IFLA_IFALIAS, b"").rstrip(b"\0"),
            _number(attributes.get(IFLA_MASTER, _ZERO)),
            bool(flags & IFF_UP),
            about.get(IFLA_INFO_SLAVE_KIND, b"").rstrip(b"\0"),
        )
    except struct.error as error:
        raise OSError(errno.EBADMSG, HALF) from error


def parse_link(payload: bytes) -> Link:
    """Return the interface that a message describes.  Raises OSError (EBADMSG) for half a message."""
    try:
        return _unpack_link(payload)
    except struct.error as error:
        raise OSError(errno.EBADMSG, HALF) from error


def _unpack_link(payload: bytes) -> Link:
    _, _, index, flags, _ = _IFINFO.unpack_from(payload)
    attributes = _attributes(payload, _OF_A_LINK, _IFINFO.size)
    about = _attributes(attributes.get(IFLA_LINKINFO, b""), _OF_ITS_KIND)
    kind = about.get(IFLA_INFO_KIND, b"").rstrip(b"\0")
    tun = _attributes(about.get(IFLA_INFO_DATA, b""), _OF_A_TUN) if kind == b"tun" else {}
    owner, group = tun.get(IFLA_TUN_OWNER), tun.get(IFLA_TUN_GROUP)
    return Link(
        index=index,
        name=attributes.get(IFLA_IFNAME, b"").rstrip(b"\0"),
        alias=attributes.get(IFLA_IFALIAS, b"").rstrip(b"\0"),
        master=_number(attributes.get(IFLA_MASTER, _ZERO)),
        kind=kind,
        mtu=_number(attributes.get(IFLA_MTU, _ZERO)),
        up=bool(flags & IFF_UP),
        owner=None if owner is None else _number(owner),
        group=None if group is None else _number(group),
        persistent=tun.get(IFLA_TUN_PERSIST, b"\0") != b"\0",
        address=attributes.get(IFLA_ADDRESS, b""),
        queues=_number(tun.get(IFLA_TUN_NUM_QUEUES, _ZERO)) + _number(tun.get(IFLA_TUN_NUM_DISABLED_QUEUES, _ZERO))
        or 1,
        has_carrier=attributes.get(IFLA_CARRIER, b"\0") != b"\0",
        master_kind=about.get(IFLA_INFO_SLAVE_KIND, b"").rstrip(b"\0"),
    )


def until_whole(ask: "Callable[[], Answer]") -> "Answer":
    """Return what `ask` does; where it raises InterruptedError, for a dump with NLM_F_DUMP_INTR, ask again.

    Something may be missing in such a one (docs.kernel.org/userspace-api/netlink/intro.html).  But not for ever.
    """
    for _ in range(DUMPS_MAX - 1):
        try:
            return ask()
        except InterruptedError:
            continue
    return ask()


def error_in(payload: bytes) -> int:
    """Return the errno in the payload of an NLMSG_ERROR; 0 if it tells of success."""
    code: int = _ERROR.unpack_from(payload)[0]
    return -code


def _number(value: bytes) -> int:
    number: int = _NUMBER.unpack(value)[0]
    return number
