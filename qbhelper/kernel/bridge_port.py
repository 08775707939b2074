# SPDX-License-Identifier: GPL-2.0-or-later
"""What a bridge keeps for each of its ports: flags, VLANs, and MAC addresses in its forwarding database.

It is gone when the port is.  Everything is read back, as old kernels pass over what they do not know.
linux/if_link.h, linux/if_bridge.h, linux/neighbour.h; in the kernel net/bridge/br_{netlink,vlan,fdb}.c.
"""

import errno
import struct
import sys

from qbhelper.kernel.exchange import Exchange, Refused, attributes, require_same
from qbhelper.kernel.message import (
    AF_BRIDGE,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    NLM_F_DUMP,
    NO_STATISTICS,
    RTM_GETLINK,
    RTM_SETLINK,
    attribute,
    ifinfo,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWVLAN, RTM_DELVLAN, RTM_GETVLAN = 112, 113, 114
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
_NESTED = 0x8000

IFLA_PROTINFO = 12
IFLA_INFO_SLAVE_DATA = 5
LEARNING, UNICAST_FLOOD, ISOLATED, LOCKED = 8, 9, 33, 39
"""Flags of a port: IFLA_BRPORT_*."""
IFLA_BR_VLAN_FILTERING, IFLA_BR_VLAN_PROTOCOL = 7, 8

BRIDGE_VLANDB_ENTRY = 1
BRIDGE_VLANDB_ENTRY_INFO, BRIDGE_VLANDB_ENTRY_RANGE = 1, 2
PVID, UNTAGGED = 0x2, 0x4
"""Of a port's VLANs: the one that what comes in without a tag is in; one that goes out without (BRIDGE_VLAN_INFO_*)."""
_ALL_VLANS = (1, 4094)

NDA_LLADDR, NDA_VLAN, NDA_MASTER = 2, 5, 9
NTF_MASTER, NTF_STICKY = 0x04, 0x40
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80
"""An entry that somebody has made, and one for an address of the host's own; all others were learned."""
_MOST_TRIES = 10

_IFINFO = struct.Struct("=BxHiII")
_VLAN_MESSAGE = struct.Struct("=BxxxI")
_VLAN_INFO = struct.Struct("=HH")
_NDMSG = struct.Struct("=BxxxiHBB")


class MacTaken(Exception):
    """A MAC address is that of another port, or of the host.  `holder`: the interface's index."""

    def __init__(self, mac: bytes, holder: int) -> None:
        super().__init__()
        self.mac: Final = mac
        self.holder: Final = holder


class Interface:
    """What there is to know of a bridge or a port.

    name; mtu; master: index of its bridge, 0 if none; flags: those of a port, by their numbers; filters_vlans: whether
    it is a bridge that does; vlan_protocol: the EtherType of a bridge's tags, 0 if this kernel's bridges know of none.
    """

    __slots__ = ("filters_vlans", "flags", "master", "mtu", "name", "vlan_protocol")

    def __init__(self, payload: bytes) -> None:
        described = dict(attributes(payload, _IFINFO.size))
        about = dict(attributes(described.get(IFLA_LINKINFO, b"")))
        bridge = dict(attributes(about.get(IFLA_INFO_DATA, b"")))
        port = attributes(about.get(IFLA_INFO_SLAVE_DATA, b""))
        self.name: Final = described.get(IFLA_IFNAME, b"").rstrip(b"\0")
        self.mtu: Final = _number(described.get(IFLA_MTU, b""))
        self.master: Final = _number(described.get(IFLA_MASTER, b""))
        self.flags: Final = {kind: value for kind, value in port if len(value) == 1}
        self.filters_vlans: Final = bridge.get(IFLA_BR_VLAN_FILTERING, b"\0") != b"\0"
        self.vlan_protocol: Final = int.from_bytes(bridge.get(IFLA_BR_VLAN_PROTOCOL, b""))


def describe(exchange: Exchange, index: int) -> Interface:
    """Describe an interface.  Raises OSError (ENODEV) if it is gone."""
    return Interface(exchange.ask(RTM_GETLINK, ifinfo(index) + NO_STATISTICS)[0])


def set_flag(exchange: Exchange, index: int, flag: int, value: bool) -> None:
    """Set a flag of a port."""
    packed = bytes([value])
    head = _IFINFO.pack(AF_BRIDGE, 0, index, 0, 0)
    exchange.ask(RTM_SETLINK, head + attribute(IFLA_PROTINFO | _NESTED, attribute(flag, packed)))
    require_same(describe(exchange, index).flags.get(flag), packed)


# VLANs -------------------------------------------------------------------------------------------------------------


def set_vlans(exchange: Exchange, index: int, untagged: int | None, tagged: tuple[int, ...]) -> None:
    """Have a port be in these VLANs and no other: not in that which the bridge puts every port in either."""
    exchange.ask(RTM_DELVLAN, _vlan_request(index, *_ALL_VLANS))
    for first, last in _ranges(tagged):
        exchange.ask(RTM_NEWVLAN, _vlan_request(index, first, last))
    if untagged is not None:
        exchange.ask(RTM_NEWVLAN, _vlan_request(index, untagged, untagged, PVID | UNTAGGED))
    wanted = dict.fromkeys(tagged, 0)
    if untagged is not None:
        wanted[untagged] = PVID | UNTAGGED
    require_same(vlans_of(exchange, index), wanted)


def vlans_of(exchange: Exchange, index: int) -> dict[int, int]:
    """Return the VLANs that a port is in, and the flags of each."""
    found: dict[int, int] = {}
    for payload in exchange.ask(RTM_GETVLAN, _VLAN_MESSAGE.pack(AF_BRIDGE, index), NLM_F_DUMP):
        for kind, entry in attributes(payload, _VLAN_MESSAGE.size):
            if kind == BRIDGE_VLANDB_ENTRY:
                described = dict(attributes(entry))
                flags, first = _VLAN_INFO.unpack(described[BRIDGE_VLANDB_ENTRY_INFO])
                last = _number(described.get(BRIDGE_VLANDB_ENTRY_RANGE, b"")) or first
                found.update(dict.fromkeys(range(first, last + 1), flags))
    return found


def _vlan_request(index: int, first: int, last: int, flags: int = 0) -> bytes:
    entry = attribute(BRIDGE_VLANDB_ENTRY_INFO, _VLAN_INFO.pack(flags, first))
    if last > first:
        entry += attribute(BRIDGE_VLANDB_ENTRY_RANGE, last.to_bytes(2, sys.byteorder))
    return _VLAN_MESSAGE.pack(AF_BRIDGE, index) + attribute(BRIDGE_VLANDB_ENTRY | _NESTED, entry)


def _ranges(numbers: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return ascending numbers as the first and last of each unbroken run."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


# MAC addresses -------------------------------------------------------------------------------------------------------


def hold_mac(exchange: Exchange, index: int, bridge: int, mac: bytes, vlan: int) -> None:
    """Enter in the bridge that `mac` is behind this port in a VLAN (0 if the bridge does not tell them apart).

    Nobody who sends from that address elsewhere can change it.  Raises MacTaken if another has it in the same way.
    """
    about = attribute(NDA_LLADDR, mac) + (attribute(NDA_VLAN, vlan.to_bytes(2, sys.byteorder)) if vlan else b"")
    entry = _NDMSG.pack(AF_BRIDGE, index, NUD_NOARP, NTF_MASTER | NTF_STICKY, 0) + about
    for _ in range(_MOST_TRIES):
        # Not to replace what is there: of two ports that want an address at once, one would lose it unawares.
        if _succeeds(exchange, RTM_NEWNEIGH, entry, NLM_F_CREATE | NLM_F_EXCL, but=errno.EEXIST):
            break
        found = _entry(exchange, bridge, about)
        if found and found[:2] == (index, NUD_NOARP):  # it is held already
            break
        _forget_learned(exchange, bridge, mac, about)
    found = _entry(exchange, bridge, about)
    require_same(found and found[:3], (index, NUD_NOARP, NTF_STICKY))


def _forget_learned(exchange: Exchange, bridge: int, mac: bytes, about: bytes) -> None:
    """Make the bridge forget where it heard of an address last, as when a guest has moved."""
    found = _entry(exchange, bridge, about)
    if found is None:
        return
    holder, state, _ = found
    if state & (NUD_NOARP | NUD_PERMANENT):
        raise MacTaken(mac, holder)
    _succeeds(exchange, RTM_DELNEIGH, _NDMSG.pack(AF_BRIDGE, holder, 0, NTF_MASTER, 0) + about, 0, but=errno.ENOENT)


def _entry(exchange: Exchange, bridge: int, about: bytes) -> tuple[int, int, int] | None:
    """Return port, state and flags of what the bridge knows of an address."""
    try:
        (payload,) = exchange.ask(
            RTM_GETNEIGH, _NDMSG.pack(AF_BRIDGE, 0, 0, 0, 0) + attribute(NDA_MASTER, bridge) + about
        )
    except Refused as refusal:
        if refusal.errno == errno.ENOENT:
            return None
        raise
    _, port, state, flags, _ = _NDMSG.unpack_from(payload)
    return port, state, flags & ~NTF_MASTER


def _succeeds(exchange: Exchange, kind: int, body: bytes, flags: int, *, but: int) -> bool:
    """Have something done; False if the kernel says this errno."""
    try:
        exchange.ask(kind, body, flags)
    except Refused as refusal:
        if refusal.errno == but:
            return False
        raise
    return True


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)
