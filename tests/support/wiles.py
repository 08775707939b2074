# SPDX-License-Identifier: GPL-2.0-or-later
"""What guests send under each setting: what has to pass, and the wiles that have to fail."""

from dataclasses import dataclass
from ipaddress import ip_network

from tests.support import frames as f
from tests.support.frames import OTHER_MAC, OWN_MAC
from tests.support.may_pass import Sieve


@dataclass(frozen=True)
class Case:
    """A frame under a setting, in words that a test's name can have."""

    name: str
    sieve: Sieve
    frame: bytes
    passes: bool


NET4, NET6 = ip_network("10.0.0.0/24"), ip_network("2001:db8::/64")
OUR4, THEIR4 = "10.0.0.5", "10.9.9.9"
OUR6, THEIR6 = "2001:db8::5", "2001:db8:bad::5"
ODD_MAC = bytes.fromhex("525401123451")
OUR_LINK_LOCAL = f.link_local_of(OWN_MAC)
ROUTER = "fe80::1"
ALL_NODES, SOLICITED, ALL_ROUTERS, LISTENERS = "ff02::1", "ff02::1:ff00:5", "ff02::2", "ff02::16"

MACS = Sieve(macs=(bytes.fromhex("525400123451"), OWN_MAC))
ADDRESSES = Sieve(addresses=(NET4, NET6))
ONLY_IPV4, ONLY_IPV6 = Sieve(addresses=(NET4,)), Sieve(addresses=(NET6,))
BPDU, DHCP_SERVER, RA, VLAN_TAGS = (
    Sieve(guards=frozenset({guard})) for guard in ("bpdu", "dhcp-server", "ra", "vlan-tags")
)
TRUNK = Sieve(only_tag=f.DOT1Q)
EVERYTHING = Sieve(MACS.macs, ADDRESSES.addresses, frozenset({"bpdu", "dhcp-server", "ra", "vlan-tags"}))

DHCP_DISCOVER = f.ipv4("0.0.0.0", "255.255.255.255", f.udp(68, 67, bytes(240)))
DHCP_OFFER = f.ipv4(OUR4, "255.255.255.255", f.udp(67, 68, bytes(240)))
DHCP6_SOLICIT = f.ipv6(OUR_LINK_LOCAL, "ff02::1:2", f.udp(546, 547, bytes(40)), following=f.UDP)
DHCP6_REPLY = f.ipv6(OUR_LINK_LOCAL, ROUTER, f.udp(547, 546, bytes(40)), following=f.UDP)
RA_PACKET = f.ipv6(OUR_LINK_LOCAL, ALL_NODES, f.router_advertisement())
ANNOUNCEMENT = f.arp("0.0.0.0", "0.0.0.0", operation=3)


def _pair(sieve: Sieve, honest: dict[str, bytes], dishonest: dict[str, bytes]) -> list[Case]:
    return [
        *(Case(name, sieve, frame, True) for name, frame in honest.items()),
        *(Case(name, sieve, frame, False) for name, frame in dishonest.items()),
    ]


_NONCE = b"\x0e\x01nonce!"
_ANSWER_OF_ND = f.ipv6(OUR6, ALL_NODES, f.neighbour_advertisement(OUR6, f.mac_option(2)))


def ip4(sender: str, **words: object) -> bytes:
    """A frame with a datagram of UDP over IPv4."""
    return f.ethernet(f.IPV4, f.ipv4(sender, "10.0.0.1", f.udp(1000, 2000)), **words)  # type: ignore[arg-type]


def ip6(
    source: str, payload: bytes = b"", destination: str = "2001:db8::1", *, mac: bytes = OWN_MAC, **words: object
) -> bytes:
    """A frame with a message of ICMPv6, an echo request by default."""
    packet = f.ipv6(source, destination, payload or f.icmpv6(128), **words)  # type: ignore[arg-type]
    return f.ethernet(f.IPV6, packet, source=mac)


def _in_two(payload: bytes, *, first: int) -> list[bytes]:
    """A message of ICMPv6 in two fragments."""
    packets = [
        f.ipv6(OUR_LINK_LOCAL, ALL_NODES, payload[:first], extensions=[f.fragment(0, more=True)]),
        f.ipv6(OUR_LINK_LOCAL, ALL_NODES, payload[first:], extensions=[f.fragment(first)]),
    ]
    return [f.ethernet(f.IPV6, packet) for packet in packets]


_HIDDEN_BEHIND_THE_END = f.ipv6(
    OUR_LINK_LOCAL,
    ALL_NODES,
    b"\x06\x01" + bytes(14) + bytes(20),
    following=f.DESTINATION,
    extensions=[f.fragment(0, more=True)],
    length=16,
)
"""The first fragment ends in the middle of an extension header; behind the packet's end, the rest says TCP."""
_NOTHING_BUT_HEADERS = f.ipv6(
    OUR_LINK_LOCAL,
    ALL_NODES,
    f.tcp(),
    following=f.TCP,
    extensions=[f.fragment(0, more=True), f.extension(f.DESTINATION)],
    length=16,
)
"""The first fragment ends where the advertisement begins, in the next one; behind the packet's end, there is TCP."""

CASES = [
    *_pair(
        MACS,
        {
            "the guest's own mac": ip4(THEIR4),
            "arp of the own mac": f.ethernet(f.ARP, f.arp(THEIR4, OUR4)),
            "an answer of arp with the own mac": f.ethernet(f.ARP, f.arp(THEIR4, OUR4, operation=2)),
            "nd with the own mac": ip6(THEIR6, f.neighbour_solicitation(OUR6, f.mac_option(1)), SOLICITED),
            "nd without a mac": ip6("::", f.neighbour_solicitation(OUR6), SOLICITED),
            "nd with a nonce as well": ip6(OUR6, f.neighbour_solicitation(OUR6, _NONCE + f.mac_option(1)), SOLICITED),
            "nd with eight options": ip6(
                OUR6, f.neighbour_advertisement(OUR6, _NONCE * 7 + f.mac_option(2)), ALL_NODES
            ),
            "router solicitation of the own mac": ip6(OUR6, f.router_solicitation(f.mac_option(1)), ALL_ROUTERS),
            "router advertisement of the own mac": ip6(OUR6, f.router_advertisement(f.mac_option(1)), ALL_NODES),
            "what comes after nd, in a fragment": ip6(OUR6, f.icmpv6(138), extensions=[f.fragment()]),
            "a datagram whose port begins like nd": f.ethernet(
                f.IPV6, f.ipv6(OUR6, THEIR6, f.udp(136 << 8, 53, bytes(32)), following=f.UDP)
            ),
            "any other kind of frame": f.ethernet(0x88CC, bytes(46)),
            "qemu's announcement": f.ethernet(f.REVERSE_ARP, ANNOUNCEMENT),
            "a bpdu": f.bpdu(),
            "behind a tag": f.ethernet(f.ARP, f.arp(OUR4, OUR4), tags=[(f.DOT1Q, 5)]),
            "behind two tags": f.ethernet(f.ARP, f.arp(OUR4, OUR4), tags=[(f.DOT1AD, 5), (f.DOT1Q, 5)]),
            "nd behind a tag": f.ethernet(f.IPV6, _ANSWER_OF_ND, tags=[(f.DOT1Q, 5)]),
        },
        {
            "another's mac": ip4(OUR4, source=OTHER_MAC),
            "another's mac behind a tag": ip4(OUR4, source=OTHER_MAC, tags=[(f.DOT1Q, 5)]),
            "a mac that ends like the own": ip4(OUR4, source=bytes.fromhex("025400123450")),
            "a mac one bit away": ip4(OUR4, source=bytes.fromhex("525400123452")),
            "arp of another's mac": f.ethernet(f.ARP, f.arp(OUR4, OUR4, mac=OTHER_MAC)),
            "arp of another's mac behind a tag": f.ethernet(
                f.ARP, f.arp(OUR4, OUR4, mac=OTHER_MAC), tags=[(f.DOT1Q, 5)]
            ),
            "arp of another's mac behind two tags": f.ethernet(
                f.ARP, f.arp(OUR4, OUR4, mac=OTHER_MAC), tags=[(f.DOT1AD, 5), (f.DOT1Q, 5)]
            ),
            "arp behind three tags": f.ethernet(f.ARP, f.arp(OUR4, OUR4), tags=[(0x9100, 0)] * 3),
            "arp behind five tags": f.ethernet(f.ARP, f.arp(OUR4, OUR4), tags=[(f.DOT1Q, 0)] * 5),
            "arp of another's mac in 802.2": f.llc(f.SNAP, b"\x08\x06" + f.arp(OUR4, OUR4, mac=OTHER_MAC)),
            "arp of another size": f.ethernet(f.ARP, f.arp(OUR4, OUR4, sizes=(8, 4))),
            "an announcement of another's mac": f.ethernet(
                f.REVERSE_ARP, f.arp("0.0.0.0", "0.0.0.0", operation=3, mac=OTHER_MAC)
            ),
            "nd question of another's mac": ip6(
                OUR6, f.neighbour_solicitation(OUR6, f.mac_option(1, OTHER_MAC)), SOLICITED
            ),
            "nd answer of another's mac": ip6(
                OUR6, f.neighbour_advertisement(OUR6, f.mac_option(2, OTHER_MAC)), ALL_NODES
            ),
            "nd answer of both macs": ip6(
                OUR6, f.neighbour_advertisement(OUR6, f.mac_option(2) + f.mac_option(2, OTHER_MAC)), ALL_NODES
            ),
            "nd answer of both macs, the other's first": ip6(
                OUR6, f.neighbour_advertisement(OUR6, f.mac_option(2, OTHER_MAC) + f.mac_option(2)), ALL_NODES
            ),
            "nd answer with nine options": ip6(
                OUR6, f.neighbour_advertisement(OUR6, _NONCE * 8 + f.mac_option(2)), ALL_NODES
            ),
            "nd answer whose mac has more than six bytes": ip6(
                OUR6, f.neighbour_advertisement(OUR6, b"\x02\x02" + OWN_MAC + bytes(8)), ALL_NODES
            ),
            "nd answer with an option beyond its end": ip6(
                OUR6, f.neighbour_advertisement(OUR6, b"\x0e\x02nonce!"), ALL_NODES
            ),
            "nd answer in a fragment": ip6(
                OUR6, f.neighbour_advertisement(OUR6, f.mac_option(2)), ALL_NODES, extensions=[f.fragment()]
            ),
            "a redirect in a fragment": ip6(OUR6, f.redirect(OUR6, THEIR6), extensions=[f.fragment()]),
            "nd answer with an option of no length": ip6(OUR6, f.neighbour_advertisement(OUR6, b"\x0e\0" + bytes(6))),
            "nd answer behind an extension": ip6(
                OUR6,
                f.neighbour_advertisement(OUR6, f.mac_option(2, OTHER_MAC)),
                extensions=[f.extension(f.DESTINATION)],
            ),
            "router solicitation of another's mac": ip6(
                OUR6, f.router_solicitation(f.mac_option(1, OTHER_MAC)), ALL_ROUTERS
            ),
            "router advertisement of another's mac": ip6(
                OUR6, f.router_advertisement(f.mac_option(1, OTHER_MAC)), ALL_NODES
            ),
            "a frame that ends in the mac": ip4(OUR4)[:11],
        },
    ),
    *_pair(
        ADDRESSES,
        {
            "the own address": ip4(OUR4),
            "the own address behind a tag": ip4(OUR4, tags=[(f.DOT1Q, 5)]),
            "the own address from any mac": ip4(OUR4, source=OTHER_MAC),
            "with options of ip": f.ethernet(f.IPV4, f.ipv4(OUR4, THEIR4, f.udp(1, 2), options=bytes(12))),
            "a later fragment": f.ethernet(f.IPV4, f.ipv4(OUR4, THEIR4, bytes(8), fragment=1480)),
            "arp of the own address": f.ethernet(f.ARP, f.arp(OUR4, THEIR4)),
            "an arp probe for the own address": f.ethernet(f.ARP, f.arp("0.0.0.0", OUR4)),
            "a dhcp client without address": f.ethernet(f.IPV4, DHCP_DISCOVER),
            "qemu's announcement": f.ethernet(f.REVERSE_ARP, ANNOUNCEMENT),
            "the own address of ipv6": ip6(OUR6),
            "with a traffic class": ip6(OUR6, first_byte=0x6F),
            "the link-local address of the own mac": ip6(OUR_LINK_LOCAL, f.router_solicitation(), ALL_ROUTERS),
            "a listener report behind its extension": ip6(
                OUR_LINK_LOCAL, f.listener_report(), LISTENERS, extensions=[f.extension(f.HOP_BY_HOP)]
            ),
            **{
                f"a listener's message without address: {message}": ip6("::", f.icmpv6(message, bytes(20)), LISTENERS)
                for message in (131, 132)
            },
            "the link-local address of a mac with odd bytes": ip6(f.link_local_of(ODD_MAC), mac=ODD_MAC),
            "a datagram whose port begins like an answer of nd": f.ethernet(
                f.IPV6, f.ipv6(OUR6, THEIR6, f.udp(136 << 8, 53, bytes(32)), following=f.UDP)
            ),
            "a listener report without address": ip6(
                "::", f.listener_report(), LISTENERS, extensions=[f.extension(f.HOP_BY_HOP)]
            ),
            "detection of a duplicate": ip6("::", f.neighbour_solicitation(OUR6), SOLICITED),
            "detection of a duplicate link-local address": ip6(
                "::", f.neighbour_solicitation(OUR_LINK_LOCAL), SOLICITED
            ),
            "a question for the router": ip6(OUR6, f.neighbour_solicitation(ROUTER, f.mac_option(1)), SOLICITED),
            "an answer about the own address": ip6(OUR6, f.neighbour_advertisement(OUR6), "2001:db8::1"),
            "an answer about the link-local address": ip6(
                OUR_LINK_LOCAL, f.neighbour_advertisement(OUR_LINK_LOCAL), "2001:db8::1"
            ),
            "a dhcpv6 client": f.ethernet(f.IPV6, DHCP6_SOLICIT),
            "a fragment": f.ethernet(
                f.IPV6, f.ipv6(OUR6, THEIR6, bytes(16), following=f.UDP, extensions=[f.fragment(0, more=True)])
            ),
            "a later fragment of ipv6": f.ethernet(
                f.IPV6, f.ipv6(OUR6, THEIR6, bytes(16), following=f.UDP, extensions=[f.fragment(16)])
            ),
        },
        {
            "another's address": ip4(THEIR4),
            "another's address behind a tag": ip4(THEIR4, tags=[(f.DOT1Q, 5)]),
            "another's address behind two tags": ip4(THEIR4, tags=[(f.DOT1AD, 5), (f.DOT1Q, 5)]),
            "another's address behind five tags": ip4(OUR4, tags=[(f.DOT1Q, 0)] * 5),
            "another's address in 802.2": f.llc(f.SNAP, b"\x08\0" + f.ipv4(THEIR4, OUR4)),
            "no address": ip4("0.0.0.0"),
            "a dhcp client with another's address": f.ethernet(
                f.IPV4, f.ipv4(THEIR4, "255.255.255.255", f.udp(68, 67, bytes(240)))
            ),
            "a dhcp client with half an address": f.ethernet(
                f.IPV4, f.ipv4("0.0.0.5", "255.255.255.255", f.udp(68, 67, bytes(240)))
            ),
            "a dhcp client that does not speak to all": f.ethernet(
                f.IPV4, f.ipv4("0.0.0.0", "10.0.0.1", f.udp(68, 67, bytes(240)))
            ),
            "a dhcp client from another port": f.ethernet(
                f.IPV4, f.ipv4("0.0.0.0", "255.255.255.255", f.udp(67, 67, bytes(240)))
            ),
            "a dhcp client to another port": f.ethernet(
                f.IPV4, f.ipv4("0.0.0.0", "255.255.255.255", f.udp(68, 69, bytes(240)))
            ),
            "a dhcp client in tcp": f.ethernet(
                f.IPV4, f.ipv4("0.0.0.0", "255.255.255.255", f.udp(68, 67, bytes(240)), protocol=f.TCP)
            ),
            "a dhcp client in fragments": f.ethernet(
                f.IPV4, f.ipv4("0.0.0.0", "255.255.255.255", f.udp(68, 67, bytes(240)), more=True)
            ),
            "a dhcp client in a later fragment": f.ethernet(
                f.IPV4, f.ipv4("0.0.0.0", "255.255.255.255", f.udp(68, 67, bytes(240)), fragment=8)
            ),
            "ipv6 as ipv4": f.ethernet(f.IPV4, f.ipv4(OUR4, OUR4, first_byte=0x65)),
            "a header that is too short": f.ethernet(f.IPV4, f.ipv4(OUR4, OUR4, first_byte=0x44)),
            "arp of another's address": f.ethernet(f.ARP, f.arp(THEIR4, OUR4)),
            "an answer of arp about another's address": f.ethernet(f.ARP, f.arp(THEIR4, OUR4, operation=2)),
            "an arp probe with half an address": f.ethernet(f.ARP, f.arp("0.0.0.5", OUR4)),
            "an announcement with a target": f.ethernet(f.REVERSE_ARP, f.arp("0.0.0.0", THEIR4, operation=3)),
            "an arp probe for another's address": f.ethernet(f.ARP, f.arp("0.0.0.0", THEIR4)),
            "arp of another kind of network": f.ethernet(f.ARP, f.arp(OUR4, OUR4, hardware=6)),
            "an announcement of an address": f.ethernet(f.REVERSE_ARP, f.arp(THEIR4, "0.0.0.0", operation=3)),
            "an announcement as arp": f.ethernet(f.ARP, ANNOUNCEMENT),
            "an answer of reverse arp": f.ethernet(f.REVERSE_ARP, f.arp("0.0.0.0", "0.0.0.0", operation=4)),
            "another's address of ipv6": ip6(THEIR6),
            "the router's link-local address": ip6(ROUTER),
            "the link-local address of another's mac": ip6(f.link_local_of(OTHER_MAC)),
            "no address of ipv6": ip6("::"),
            **{
                f"nearly no address: {address}": ip6(address, f.listener_report(), LISTENERS)
                for address in ("1::", "0:0:1::", "::1:0:0", "::1")
            },
            "another's address in a router solicitation": ip6(THEIR6, f.router_solicitation(), ALL_ROUTERS),
            "no address, in a datagram that looks like a report": f.ethernet(
                f.IPV6, f.ipv6("::", LISTENERS, f.udp(143 << 8, 53), following=f.UDP)
            ),
            "no address, in an echo request to many": ip6("::", f.icmpv6(128), ALL_NODES),
            "no address, in an answer to all": ip6("::", f.neighbour_advertisement(OUR6), ALL_NODES),
            **{
                f"nearly the link-local address of the own mac: {address}": ip6(address)
                for address in ("fe81::5054:ff:fe12:3450", "fe80::1:5054:ff:fe12:3450", "fe80::5055:ff:fe12:3450")
            },
            "no address, and not to many": ip6("::", f.listener_report(), "2001:db8::1"),
            "detection of a duplicate of another's": ip6("::", f.neighbour_solicitation(THEIR6), SOLICITED),
            "detection of a duplicate of the router": ip6("::", f.neighbour_solicitation(ROUTER), SOLICITED),
            "an answer about another's address": ip6(OUR6, f.neighbour_advertisement(THEIR6), ALL_NODES),
            "an answer about the router": ip6(OUR6, f.neighbour_advertisement(ROUTER), ALL_NODES),
            "an answer about the router behind an extension": ip6(
                OUR6, f.neighbour_advertisement(ROUTER), ALL_NODES, extensions=[f.extension(f.DESTINATION, 16)]
            ),
            "an answer about the router in a fragment": ip6(
                OUR6, f.neighbour_advertisement(ROUTER), ALL_NODES, extensions=[f.fragment()]
            ),
            "ipv4 as ipv6": ip6(OUR6, first_byte=0x40),
            "a bpdu": f.bpdu(),
            "any other kind of frame": f.ethernet(0x88CC, bytes(46)),
            "mpls": f.ethernet(0x8847, bytes(46)),
            "a frame that ends in the address": ip4(OUR4)[:28],
        },
    ),
    *_pair(
        ONLY_IPV4,
        {"ipv4": ip4(OUR4), "arp": f.ethernet(f.ARP, f.arp(OUR4, THEIR4))},
        {"ipv6": ip6(OUR6), "link-local ipv6": ip6(OUR_LINK_LOCAL, f.router_solicitation(), ALL_ROUTERS)},
    ),
    *_pair(Sieve(addresses=(ip_network("2000::/3"),)), {"the link-local address": ip6(OUR_LINK_LOCAL)}, {}),
    *_pair(
        ONLY_IPV6,
        {"ipv6": ip6(OUR6)},
        {
            "ipv4": ip4(OUR4),
            "arp": f.ethernet(f.ARP, f.arp(OUR4, THEIR4)),
            "an arp probe": f.ethernet(f.ARP, f.arp("0.0.0.0", OUR4)),
            "a dhcp client": f.ethernet(f.IPV4, DHCP_DISCOVER),
        },
    ),
    *_pair(
        BPDU,
        {
            "ipv4": ip4(THEIR4),
            "ipv6": ip6(THEIR6),
            "another group of cisco's": ip4(OUR4, destination=bytes.fromhex("01000cccccce")),
            "ipv4 in 802.2": f.llc(f.SNAP, b"\x08\0" + f.ipv4(THEIR4, OUR4)),
            "to a group of ipv4": ip4(OUR4, destination=bytes.fromhex("01005e000001")),
            "a mac that ends like cisco's": ip4(OUR4, destination=bytes.fromhex("52540011cccc")),
            "a mac that ends like the bridges'": ip4(OUR4, destination=bytes.fromhex("525400110000")),
            "other groups of 802.1": ip4(OUR4, destination=bytes.fromhex("0180c2000010")),
            "the last group before mrp": ip4(OUR4, destination=bytes.fromhex("0180c200001f")),
            "the first group after mrp": ip4(OUR4, destination=bytes.fromhex("0180c2000030")),
            "a mac that ends like mrp's": ip4(OUR4, destination=bytes.fromhex("525400110021")),
        },
        {
            "a bpdu": f.bpdu(),
            "a bpdu to anybody": f.llc(b"\x42\x42\x03", bytes(35), destination=OTHER_MAC),
            "a bpdu as an answer": f.llc(b"\x43\x43\x03", bytes(35), destination=OTHER_MAC),
            "a bpdu behind a tag": f.ethernet(0x26, b"\x42\x42\x03" + bytes(35), tags=[(f.DOT1Q, 5)]),
            "lacp": f.ethernet(0x8809, bytes(46), destination=bytes.fromhex("0180c2000002")),
            "lldp": f.ethernet(0x88CC, bytes(46), destination=bytes.fromhex("0180c200000e")),
            "gvrp": f.llc(b"\x42\x42\x03", b"\0\1" + bytes(33), destination=bytes.fromhex("0180c2000021")),
            "mvrp": f.ethernet(0x88F5, bytes(46), destination=bytes.fromhex("0180c2000021")),
            "mmrp": f.ethernet(0x88F6, bytes(46), destination=bytes.fromhex("0180c2000020")),
            "the last group of mrp": f.ethernet(0x88F5, bytes(46), destination=bytes.fromhex("0180c200002f")),
            "spanning tree of cisco's": f.llc(
                b"\xaa\xaa\x03\0\0\x0c\x01\x0b", bytes(35), destination=bytes.fromhex("01000ccccccd")
            ),
            "negotiation of a trunk": f.llc(
                b"\xaa\xaa\x03\0\0\x0c\x20\x04", bytes(35), destination=bytes.fromhex("01000ccccccc")
            ),
        },
    ),
    *_pair(
        DHCP_SERVER,
        {
            "a client": f.ethernet(f.IPV4, DHCP_DISCOVER),
            "a client of dhcpv6": f.ethernet(f.IPV6, DHCP6_SOLICIT),
            "the ports of dhcpv6 in tcp": f.ethernet(
                f.IPV6, f.ipv6(OUR_LINK_LOCAL, ROUTER, f.udp(547, 546, bytes(40)), following=f.TCP)
            ),
            "the ports of dhcp in tcp": f.ethernet(f.IPV4, f.ipv4(OUR4, THEIR4, f.udp(67, 68), protocol=6)),
            "another's address": ip4(THEIR4),
            "a later fragment": f.ethernet(f.IPV4, f.ipv4(OUR4, THEIR4, f.udp(67, 68), fragment=8)),
            "a bpdu": f.bpdu(),
            "a router advertisement": f.ethernet(f.IPV6, RA_PACKET),
            "any other kind of frame": f.ethernet(0x88CC, bytes(46)),
        },
        {
            "an offer": f.ethernet(f.IPV4, DHCP_OFFER),
            "an offer from another port": f.ethernet(f.IPV4, f.ipv4(OUR4, "255.255.255.255", f.udp(4011, 68))),
            "an offer to a relay": f.ethernet(f.IPV4, f.ipv4(OUR4, THEIR4, f.udp(67, 67))),
            "an offer with options of ip": f.ethernet(f.IPV4, f.ipv4(OUR4, OUR4, f.udp(67, 68), options=bytes(40))),
            "the first fragment of an offer": f.ethernet(f.IPV4, f.ipv4(OUR4, OUR4, f.udp(67, 68), more=True)),
            "an offer behind a tag": f.ethernet(f.IPV4, DHCP_OFFER, tags=[(f.DOT1Q, 0)]),
            "an offer behind two tags": f.ethernet(f.IPV4, DHCP_OFFER, tags=[(f.DOT1Q, 0), (f.DOT1Q, 0)]),
            "an offer behind five tags": f.ethernet(f.IPV4, DHCP_OFFER, tags=[(f.DOT1Q, 0)] * 5),
            "an offer in 802.2": f.llc(f.SNAP, b"\x08\0" + DHCP_OFFER),
            "an offer in 802.2 behind a tag": f.ethernet(300, f.SNAP + b"\x08\0" + DHCP_OFFER, tags=[(f.DOT1Q, 0)]),
            "an offer in 802.2 with a wrong length": f.ethernet(5, f.SNAP + b"\x08\0" + DHCP_OFFER),
            "a datagram whose ports are not there": f.ethernet(f.IPV4, f.ipv4(OUR4, OUR4), least=0),
            "an answer of dhcpv6": f.ethernet(f.IPV6, DHCP6_REPLY),
            "an answer of dhcpv6 from another port": f.ethernet(
                f.IPV6, f.ipv6(OUR_LINK_LOCAL, ROUTER, f.udp(999, 546), following=f.UDP)
            ),
            "an answer of dhcpv6 to a relay": f.ethernet(
                f.IPV6, f.ipv6(OUR_LINK_LOCAL, ROUTER, f.udp(547, 547, bytes(40)), following=f.UDP)
            ),
            "an answer of dhcpv6 in a fragment": f.ethernet(
                f.IPV6,
                f.ipv6(
                    *(OUR_LINK_LOCAL, ROUTER, f.udp(547, 547, bytes(40))),
                    following=f.UDP,
                    extensions=[f.fragment(0, more=True)],
                ),
            ),
            "an answer of dhcpv6 behind extensions": f.ethernet(
                f.IPV6,
                f.ipv6(
                    *(OUR_LINK_LOCAL, ROUTER, f.udp(547, 546)),
                    following=f.UDP,
                    extensions=[f.extension(f.DESTINATION, 24), f.fragment(), f.extension(f.DESTINATION)],
                ),
            ),
        },
    ),
    *_pair(
        RA,
        {
            "a router solicitation": ip6(OUR_LINK_LOCAL, f.router_solicitation(), ALL_ROUTERS),
            "a neighbour advertisement": ip6(OUR6, f.neighbour_advertisement(ROUTER), ALL_NODES),
            "an echo request in fragments": ip6(OUR6, f.icmpv6(128, bytes(20)), extensions=[f.fragment(0, more=True)]),
            "behind six headers": ip6(OUR6, extensions=[f.extension(f.DESTINATION)] * 6),
            "a packet of nothing": f.ethernet(f.IPV6, f.ipv6(OUR6, THEIR6, b"", following=59), least=0),
            "the least other kind of frame": f.ethernet(0x600, bytes(46)),
            "the end of a router advertisement alone": _in_two(f.router_advertisement(), first=8)[1],
            "a later fragment that looks like one": ip6(
                OUR6, f.router_advertisement(), ALL_NODES, extensions=[f.fragment(8)]
            ),
            "a listener report in fragments": ip6(
                OUR6, f.icmpv6(143, bytes(20)), LISTENERS, extensions=[f.fragment(0, more=True)]
            ),
            "a datagram whose port begins like one": f.ethernet(
                f.IPV6, f.ipv6(OUR6, THEIR6, f.udp(134 << 8, 53), following=f.UDP)
            ),
            "tcp": f.ethernet(f.IPV6, f.ipv6(OUR6, THEIR6, bytes(20), following=6)),
            "an offer of dhcp": f.ethernet(f.IPV4, DHCP_OFFER),
        },
        {
            "a router advertisement": f.ethernet(f.IPV6, RA_PACKET),
            "a redirect": ip6(OUR_LINK_LOCAL, f.redirect(OUR6, THEIR6)),
            "neighbour discovery in a fragment": ip6(
                OUR6, f.neighbour_advertisement(OUR6), ALL_NODES, extensions=[f.fragment()]
            ),
            "behind a tag": f.ethernet(f.IPV6, RA_PACKET, tags=[(f.DOT1Q, 0)]),
            "behind two tags": f.ethernet(f.IPV6, RA_PACKET, tags=[(f.DOT1AD, 0), (f.DOT1Q, 0)]),
            "behind five tags": f.ethernet(f.IPV6, RA_PACKET, tags=[(f.DOT1Q, 0)] * 5),
            "in 802.2": f.llc(f.SNAP, b"\x86\xdd" + RA_PACKET),
            "an echo request behind seven headers": ip6(OUR6, extensions=[f.extension(f.DESTINATION)] * 7),
            "a first fragment that ends too early": f.ethernet(
                f.IPV6, f.ipv6(OUR6, THEIR6, bytes(7), following=f.UDP, extensions=[f.fragment(0, more=True)])
            ),
            "the longest frame of 802.2": f.ethernet(0x5FF, bytes(46)),
            **{
                f"with much behind it, and before it {name}": ip6(
                    OUR_LINK_LOCAL, f.router_advertisement(bytes(640)), ALL_NODES, extensions=[extension]
                )
                for name, extension in {
                    "a hop-by-hop header": f.extension(f.HOP_BY_HOP, 24),
                    "a routing header": f.extension(43, 24),
                    "a header of mobility": f.extension(135, 24),
                    "a header of hip": f.extension(139, 24),
                    "a header of shim6": f.extension(140, 24),
                    "authentication": (f.AUTHENTICATION, b"\x04" + bytes(22)),
                    "a fragment header": (f.FRAGMENT, b"\x05" + bytes(6)),
                }.items()
            },
            "behind a hop-by-hop header": ip6(
                OUR_LINK_LOCAL, f.router_advertisement(), ALL_NODES, extensions=[f.extension(f.HOP_BY_HOP)]
            ),
            "behind six headers": ip6(
                OUR_LINK_LOCAL, f.router_advertisement(), ALL_NODES, extensions=[f.extension(f.DESTINATION, 16)] * 6
            ),
            "behind seven headers": ip6(
                OUR_LINK_LOCAL, f.router_advertisement(), ALL_NODES, extensions=[f.extension(f.DESTINATION)] * 7
            ),
            "behind authentication": ip6(
                OUR_LINK_LOCAL,
                f.router_advertisement(),
                ALL_NODES,
                extensions=[(f.AUTHENTICATION, b"\x04" + bytes(22))],
            ),
            "in a fragment that is all of it": ip6(
                OUR_LINK_LOCAL, f.router_advertisement(), ALL_NODES, extensions=[f.fragment()]
            ),
            "in a fragment whose header has what nobody looks at": ip6(
                OUR_LINK_LOCAL, f.router_advertisement(), ALL_NODES, extensions=[(f.FRAGMENT, b"\x05" + bytes(6))]
            ),
            "its first fragment": _in_two(f.router_advertisement(), first=8)[0],
            "behind headers that are a fragment of their own": f.ethernet(f.IPV6, _NOTHING_BUT_HEADERS),
            "behind a header that is cut in two": f.ethernet(f.IPV6, _HIDDEN_BEHIND_THE_END),
            "behind a header that ends behind the frame": ip6(
                OUR_LINK_LOCAL, f.router_advertisement(), ALL_NODES, extensions=[(f.DESTINATION, b"\xff" + bytes(6))]
            ),
            "a packet without all of its header": f.ethernet(f.IPV6, RA_PACKET[:7], least=0),
        },
    ),
    *_pair(
        VLAN_TAGS,
        {"no tag": ip4(THEIR4), "a bpdu": f.bpdu()},
        {
            "a tag": ip4(OUR4, tags=[(f.DOT1Q, 5)]),
            "a tag for priority alone": ip4(OUR4, tags=[(f.DOT1Q, 0)]),
            "a tag of 802.1ad": ip4(OUR4, tags=[(f.DOT1AD, 5)]),
            "a tag from before 802.1ad": ip4(OUR4, tags=[(0x9100, 5)]),
            "another tag from before 802.1ad": ip4(OUR4, tags=[(0x9200, 5)]),
            "two tags": ip4(OUR4, tags=[(f.DOT1Q, 5), (f.DOT1Q, 6)]),
        },
    ),
    *_pair(
        Sieve(macs=MACS.macs, guards=DHCP_SERVER.guards),
        {"ipv4": ip4(THEIR4)},
        {"an offer": f.ethernet(f.IPV4, DHCP_OFFER)},
    ),
    *_pair(
        EVERYTHING,
        {
            "ipv4": ip4(OUR4),
            "ipv6": ip6(OUR6),
            "arp": f.ethernet(f.ARP, f.arp(OUR4, THEIR4)),
            "nd": ip6(OUR6, f.neighbour_advertisement(OUR6, f.mac_option(2)), ALL_NODES),
            "nd of the link-local address": ip6(
                OUR_LINK_LOCAL, f.neighbour_advertisement(OUR_LINK_LOCAL, f.mac_option(2)), ALL_NODES
            ),
            "a dhcp client": f.ethernet(f.IPV4, DHCP_DISCOVER),
            "a dhcpv6 client": f.ethernet(f.IPV6, DHCP6_SOLICIT),
        },
        {
            "another's mac": ip4(OUR4, source=OTHER_MAC),
            "another's address": ip4(THEIR4),
            "arp of another's mac": f.ethernet(f.ARP, f.arp(OUR4, OUR4, mac=OTHER_MAC)),
            "arp of another's address": f.ethernet(f.ARP, f.arp(THEIR4, OUR4)),
            "nd of another's mac": ip6(OUR6, f.neighbour_advertisement(OUR6, f.mac_option(2, OTHER_MAC)), ALL_NODES),
            "nd of another's address": ip6(OUR6, f.neighbour_advertisement(ROUTER, f.mac_option(2)), ALL_NODES),
            "a bpdu": f.bpdu(),
            "an offer of dhcp": f.ethernet(f.IPV4, DHCP_OFFER),
            "a router advertisement": f.ethernet(f.IPV6, RA_PACKET),
            "a tag": ip4(OUR4, tags=[(f.DOT1Q, 5)]),
        },
    ),
]

TAGGED_CASES = _pair(
    TRUNK,
    {
        "no tag": ip4(THEIR4),
        "a tag": ip4(THEIR4, tags=[(f.DOT1Q, 5)]),
        "a bpdu": f.bpdu(),
        "any other kind of frame": f.ethernet(0x88CC, bytes(46), tags=[(f.DOT1Q, 5)]),
    },
    {
        "two tags": ip4(OUR4, tags=[(f.DOT1Q, 5), (f.DOT1Q, 6)]),
        "two tags of two kinds": ip4(OUR4, tags=[(f.DOT1Q, 5), (f.DOT1AD, 6)]),
        "a tag of another kind": ip4(OUR4, tags=[(f.DOT1AD, 5)]),
        "a tag from before 802.1ad": ip4(OUR4, tags=[(0x9100, 5)]),
    },
)
"""Those in which it matters that the kernel takes the first tag off; a frame from a socket keeps it."""
