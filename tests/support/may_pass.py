# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest may send, said a second time: for the reader, where qbhelper/kernel/sieve says it for the kernel."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from tests.support.frames import link_local_of

TAGS = {0x8100, 0x88A8, 0x9100, 0x9200}
EXTENSIONS = {0, 43, 60, 135, 139, 140}
FRAGMENT, AUTHENTICATION, UDP, ICMPV6 = 44, 51, 17, 58


class Dropped(Exception):
    """The frame may not pass."""


@dataclass(frozen=True)
class Sieve:
    """What is looked for; the words of `ethernet.program`."""

    macs: tuple[bytes, ...] = ()
    addresses: tuple[IPv4Network | IPv6Network, ...] = ()
    guards: frozenset[str] = frozenset()
    only_tag: int | None = None

    @property
    def reaches_in(self) -> bool:
        """Whether it matters what is in a frame."""
        return bool(self.macs or self.addresses or self.guards & {"dhcp-server", "ra"})

    def has(self, version: int) -> bool:
        """Whether an address of this family is allowed at all."""
        return any(network.version == version for network in self.addresses)

    def allows(self, address: IPv4Address | IPv6Address, mac: bytes = b"") -> bool:
        """Whether a guest may have this address if it speaks with this MAC."""
        if mac and str(address) == link_local_of(mac):
            return True
        return any(address in network for network in self.addresses)


def may_pass(frame: bytes, sieve: Sieve, outer_tag: int | None = None) -> bool:
    """Whether a frame may pass; `outer_tag` is the EtherType of the tag that the kernel took off before."""
    try:
        _ethernet(frame, sieve, outer_tag)
    except Dropped:
        return False
    return True


def untagged(frame: bytes) -> tuple[bytes, int | None]:
    """Take the first tag off a frame, if it is one that the kernel takes off; returns its EtherType, too."""
    kind = int.from_bytes(frame[12:14])
    return (frame[:12] + frame[16:], kind) if kind in (0x8100, 0x88A8) else (frame, None)


def _part(data: bytes, start: int, size: int) -> bytes:
    """A part of a frame, which is dropped if it ends before."""
    require(start + size <= len(data))
    return data[start : start + size]


def _number(data: bytes, start: int, size: int) -> int:
    return int.from_bytes(_part(data, start, size))


def require(condition: object) -> None:
    """Drop the frame unless this holds."""
    if not condition:
        raise Dropped


def _ethernet(frame: bytes, sieve: Sieve, outer_tag: int | None) -> None:
    source = frame[6:12]
    if sieve.macs:
        require(_part(frame, 6, 6) in sieve.macs)
    if "bpdu" in sieve.guards:
        destination = _part(frame, 0, 6)
        require(destination[:5] != b"\x01\x80\xc2\0\0" or destination[5] not in (*range(16), *range(32, 48)))
        require(destination not in (b"\x01\0\x0c\xcc\xcc\xcc", b"\x01\0\x0c\xcc\xcc\xcd"))
    start = 12
    while (kind := _number(frame, start, 2)) in TAGS:
        start += 4
        if start > 20:
            raise Dropped
    has_inner_tags = start > 12
    if "vlan-tags" in sieve.guards:
        require(outer_tag is None and not has_inner_tags)
    elif sieve.only_tag is not None:
        require(outer_tag in (None, sieve.only_tag) and not has_inner_tags)
    if sieve.reaches_in or "bpdu" in sieve.guards:
        _content(kind, frame[start + 2 :], source, sieve)


def _content(kind: int, data: bytes, source: bytes, sieve: Sieve) -> None:
    if kind < 0x600:
        is_spanning_tree = _number(data, 0, 2) & 0xFEFE == 0x4242
        require(not sieve.addresses)
        require("bpdu" not in sieve.guards if is_spanning_tree else not sieve.reaches_in)
    elif kind == 0x0800:
        _ipv4(data, sieve)
    elif kind in (0x0806, 0x8035):
        _arp(data, sieve, reverse=kind == 0x8035)
    elif kind == 0x86DD:
        _ipv6(data, source, sieve)
    else:
        require(not sieve.addresses)


def _arp(data: bytes, sieve: Sieve, *, reverse: bool) -> None:
    if not (sieve.macs or sieve.addresses):
        return
    require(_part(data, 0, 6) == b"\0\x01\x08\0\x06\x04")
    if sieve.macs:
        require(_part(data, 8, 6) in sieve.macs)
    if not sieve.addresses:
        return
    sender = IPv4Address(_part(data, 14, 4))
    if reverse:
        require(_number(data, 6, 2) == 3 and int(sender) == 0 and _number(data, 24, 4) == 0)
    elif not sieve.allows(sender):
        require(int(sender) == 0 and sieve.allows(IPv4Address(_part(data, 24, 4))))


def _ipv4(data: bytes, sieve: Sieve) -> None:
    if not (sieve.addresses or "dhcp-server" in sieve.guards):
        return
    require(not sieve.addresses or sieve.has(4))
    first = _number(data, 0, 1)
    size = (first & 15) * 4
    require(first >> 4 == 4 and size >= 20)
    is_udp = _number(data, 9, 1) == UDP
    place = _number(data, 6, 2) & 0x3FFF
    if "dhcp-server" in sieve.guards and is_udp and place & 0x1FFF == 0:
        require(_number(data, size, 2) != 67)
        require(_number(data, size + 2, 2) != 68)
    if sieve.addresses and not sieve.allows(IPv4Address(_part(data, 12, 4))):
        require(_part(data, 12, 8) == bytes(4) + b"\xff" * 4)
        require(is_udp and place == 0 and (_number(data, size, 2), _number(data, size + 2, 2)) == (68, 67))


def _ipv6(data: bytes, mac: bytes, sieve: Sieve) -> None:
    if not sieve.reaches_in:
        return
    require(not sieve.addresses or sieve.has(6))
    require(_number(data, 0, 1) >> 4 == 6)
    end = 40 + _number(data, 4, 2)
    kind, start, in_fragments = _upper(data, end)
    ports = (
        (_number(data, start, 2), _number(data, start + 2, 2)) if kind == UDP and "dhcp-server" in sieve.guards else ()
    )
    require(not ports or (ports[0] != 547 and ports[1] != 546))
    looks_at_messages = sieve.macs or sieve.addresses or "ra" in sieve.guards
    message = _number(data, start, 1) if kind == ICMPV6 and looks_at_messages else None
    if message is not None:
        require("ra" not in sieve.guards or message not in (134, 137))
        require(not in_fragments or message not in range(133, 138))
    if sieve.addresses:
        _claims(data, start, mac, message, sieve)
    if sieve.macs:
        _options(data, start, end, message, sieve)


def _upper(data: bytes, end: int) -> tuple[int | None, int, bool]:
    """What the packet carries behind all its headers, where that begins, and whether it is in fragments."""
    kind, start, in_fragments = _number(data, 6, 1), 40, False
    for _ in range(6):
        if kind in EXTENSIONS:
            size = 8 * (1 + _number(data, start + 1, 1))
        elif kind == AUTHENTICATION:
            size = 4 * (2 + _number(data, start + 1, 1))
        elif kind == FRAGMENT:
            in_fragments = True
            if _number(data, start + 2, 2) >> 3:
                return None, start, True
            size = 8
        else:
            break
        kind = _number(data, start, 1)
        start += size
    require(kind not in EXTENSIONS | {AUTHENTICATION, FRAGMENT})
    require(not in_fragments or start + 8 <= end)
    return kind, start, in_fragments


def _claims(data: bytes, start: int, mac: bytes, message: int | None, sieve: Sieve) -> None:
    source = IPv6Address(_part(data, 8, 16))
    allowed = sieve.allows(source, mac)
    if not allowed:
        require(int(source) == 0 and _number(data, 24, 1) == 0xFF and message in (131, 132, 133, 135, 143))
    if message == 136 if allowed else message == 135:
        require(sieve.allows(IPv6Address(_part(data, start + 8, 16)), mac))


def _options(data: bytes, start: int, end: int, message: int | None, sieve: Sieve) -> None:
    sizes = {133: 8, 134: 16, 135: 24, 136: 24}
    if message not in sizes:
        return
    at = start + sizes[message]
    macs, count = [], 0
    while at != end:
        require(at < end and count < 8)
        kind, size = _number(data, at, 1), 8 * _number(data, at + 1, 1)
        require(size)
        if kind in (1, 2):
            require(size == 8)
            macs.append(at + 2)
        at, count = at + size, count + 1
    require(len(macs) < 2)
    require(all(_part(data, place, 6) in sieve.macs for place in macs))
