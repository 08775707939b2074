# SPDX-License-Identifier: GPL-2.0-or-later
"""Ethernet frames to send: what honest guests say, and what dishonest ones do.

Checksums are left out: no bridge looks at them.
"""

import struct
from collections.abc import Sequence
from ipaddress import ip_address

BROADCAST = b"\xff" * 6
OWN_MAC = bytes.fromhex("525400123450")
OTHER_MAC = bytes.fromhex("5254006666ff")

IPV4, ARP, REVERSE_ARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
DOT1Q, DOT1AD = 0x8100, 0x88A8
TCP, UDP, ICMPV6 = 6, 17, 58
HOP_BY_HOP, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 44, 51, 60

Tag = tuple[int, int]
"""EtherType and VLAN id."""


def ethernet(
    kind: int,
    payload: bytes,
    *,
    source: bytes = OWN_MAC,
    destination: bytes = BROADCAST,
    tags: Sequence[Tag] = (),
    least: int = 60,
) -> bytes:
    """A frame, filled up with zeros to the least size that Ethernet has."""
    tagged = b"".join(struct.pack("!HH", *tag) for tag in tags)
    frame: bytes = destination + source + tagged + struct.pack("!H", kind) + payload
    return frame.ljust(least, b"\0")


def llc(header: bytes, payload: bytes = b"", **words: object) -> bytes:
    """A frame of 802.2, which has its length where others have their type."""
    return ethernet(len(header + payload), header + payload, **words)  # type: ignore[arg-type]


SNAP = b"\xaa\xaa\x03\0\0\0"
"""What an EtherType comes after in 802.2."""


def bpdu() -> bytes:
    """A configuration BPDU, the claim to be the root of the spanning tree."""
    return llc(b"\x42\x42\x03", bytes(4) + bytes(31), destination=bytes.fromhex("0180c2000000"))


def packed(address: str) -> bytes:
    """An IPv4 or IPv6 address as it travels."""
    return ip_address(address).packed


def arp(
    sender: str,
    target: str,
    *,
    mac: bytes = OWN_MAC,
    operation: int = 1,
    hardware: int = 1,
    protocol: int = IPV4,
    sizes: tuple[int, int] = (6, 4),
) -> bytes:
    """A packet of ARP: a question by default, 2 for an answer."""
    head = struct.pack("!HHBBH", hardware, protocol, *sizes, operation)
    return head + mac + packed(sender) + bytes(6) + packed(target)


def ipv4(
    source: str,
    destination: str,
    payload: bytes = b"",
    *,
    protocol: int = UDP,
    options: bytes = b"",
    fragment: int = 0,
    more: bool = False,
    first_byte: int | None = None,
) -> bytes:
    """A packet of IPv4; `fragment` is its offset in bytes, `options` a multiple of 4."""
    first = 0x45 + len(options) // 4 if first_byte is None else first_byte
    length = 20 + len(options) + len(payload)
    place = fragment // 8 | (0x2000 if more else 0)
    head = struct.pack("!BBHHHBBH", first, 0, length, 1, place, 64, protocol, 0)
    return head + packed(source) + packed(destination) + options + payload


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    """A datagram of UDP."""
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def tcp(payload: bytes = b"") -> bytes:
    """A segment of TCP."""
    return struct.pack("!HHIIBBHHH", 1000, 2000, 1, 1, 5 << 4, 0x10, 1024, 0, 0) + payload


def ipv6(
    source: str,
    destination: str,
    payload: bytes,
    *,
    following: int = ICMPV6,
    extensions: Sequence[tuple[int, bytes]] = (),
    length: int | None = None,
    first_byte: int = 0x60,
) -> bytes:
    """A packet of IPv6.  Each extension has its number and all of its bytes but the first, its next header."""
    body = payload
    for kind, rest in reversed(extensions):
        body = bytes([following]) + rest + body
        following = kind
    head = struct.pack("!BBHHBB", first_byte, 0, 0, len(body) if length is None else length, following, 255)
    return head + packed(source) + packed(destination) + body


def extension(kind: int, size: int = 8) -> tuple[int, bytes]:
    """An extension header of so many bytes, filled with padding."""
    return kind, bytes([size // 8 - 1]) + bytes(size - 2)


def fragment(offset: int = 0, *, more: bool = False) -> tuple[int, bytes]:
    """A fragment header; `offset` in bytes."""
    return FRAGMENT, b"\0" + struct.pack("!HI", offset | more, 1)


def icmpv6(message: int, rest: bytes = b"\0\0\0\0") -> bytes:
    """A message of ICMPv6; `rest` is what comes after the checksum."""
    return bytes([message, 0, 0, 0]) + rest


def mac_option(kind: int, mac: bytes = OWN_MAC) -> bytes:
    """The option of neighbour discovery that tells a MAC: 1 the sender's, 2 the target's."""
    return bytes([kind, 1]) + mac


def router_solicitation(options: bytes = b"") -> bytes:
    """The question for a router."""
    return icmpv6(133, bytes(4) + options)


def router_advertisement(options: bytes = b"") -> bytes:
    """The claim to be a router, for half an hour."""
    return icmpv6(134, struct.pack("!BBHII", 64, 0, 1800, 0, 0) + options)


def neighbour_solicitation(target: str, options: bytes = b"") -> bytes:
    """The question who has an address."""
    return icmpv6(135, bytes(4) + packed(target) + options)


def neighbour_advertisement(target: str, options: bytes = b"") -> bytes:
    """The claim to have an address, whatever was known before."""
    return icmpv6(136, b"\x20\0\0\0" + packed(target) + options)


def redirect(target: str, destination: str) -> bytes:
    """The advice to use another router for a destination."""
    return icmpv6(137, bytes(4) + packed(target) + packed(destination))


def listener_report() -> bytes:
    """A report of multicast listener discovery, version 2, of no groups."""
    return icmpv6(143)


def link_local_of(mac: bytes) -> str:
    """The link-local address that is made of a MAC (RFC 4291, appendix A)."""
    identifier = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return str(ip_address(b"\xfe\x80" + bytes(6) + identifier))
