# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames and sieves that hypothesis makes: from few values, so that they often concern each other."""

from ipaddress import ip_network

from hypothesis import strategies as st

from tests.support import frames as f
from tests.support import wiles
from tests.support.may_pass import Sieve

MACS = [f.OWN_MAC, f.OTHER_MAC, bytes.fromhex("525400123451"), bytes.fromhex("025400123450")]
MAC = st.sampled_from(MACS)
DESTINATION = st.sampled_from(
    [
        f.BROADCAST,
        f.OTHER_MAC,
        *map(bytes.fromhex, ("0180c2000000", "0180c200000f", "0180c2000010", "0180c2000021", "0180c2000030")),
        *map(bytes.fromhex, ("01000ccccccc", "52540011cccc")),
    ]
)
IPV4 = st.sampled_from(["10.0.0.5", "10.0.0.200", "10.9.9.9", "0.0.0.0", "255.255.255.255"])
LINK_LOCAL = [f.link_local_of(mac) for mac in MACS]
IPV6 = st.sampled_from(
    ["2001:db8::5", "2001:db8:0:8000::5", "2001:db8:bad::5", "fe80::1", "::", "ff02::1", *LINK_LOCAL]
)
NETWORKS = [
    *("10.0.0.0/24", "10.0.0.128/25", "10.0.0.5/32", "10.9.9.8/29", "0.0.0.0/0", "0.0.0.0/32"),
    *("2001:db8::/64", "2001:db8::/49", "2001:db8::5/128", "2000::/3", "fe80::/64", "::/0", "::/128"),
]
PORT = st.sampled_from([67, 68, 546, 547, 4011])
TAG_TYPE = st.sampled_from([0x8100, 0x88A8, 0x9100, 0x9200])

SIEVES = st.builds(
    Sieve,
    macs=st.lists(MAC, unique=True, max_size=2).map(tuple),
    addresses=st.lists(st.sampled_from(NETWORKS), unique=True, max_size=3).map(
        lambda some: tuple(map(ip_network, some))
    ),
    guards=st.frozensets(st.sampled_from(["bpdu", "dhcp-server", "ra", "vlan-tags"])),
    only_tag=st.sampled_from([None, None, f.DOT1Q, f.DOT1AD]),
)

_UDP = st.builds(f.udp, PORT, PORT, st.binary(max_size=4))
_OPTIONS = st.lists(
    st.one_of(
        st.builds(f.mac_option, st.sampled_from([1, 2]), MAC),
        st.sampled_from([b"\x0e\x01nonce!", b"\x03\x04" + bytes(30), b"\x01\x02" + bytes(14), b"\x0e\0" + bytes(6)]),
    ),
    max_size=10,
).map(b"".join)
_DISCOVERY = st.one_of(
    st.builds(f.router_solicitation, _OPTIONS),
    st.builds(f.router_advertisement, _OPTIONS),
    st.builds(f.neighbour_solicitation, IPV6, _OPTIONS),
    st.builds(f.neighbour_advertisement, IPV6, _OPTIONS),
    st.builds(f.redirect, IPV6, IPV6),
    st.builds(f.icmpv6, st.sampled_from([128, 131, 132, 138, 143])),
)
_EXTENSIONS = st.lists(
    st.one_of(
        st.builds(f.extension, st.sampled_from([0, 43, 60, 135, 139, 140]), st.sampled_from([8, 16, 48])),
        st.builds(f.fragment, st.sampled_from([0, 0, 8]), more=st.booleans()),
        st.sampled_from([(f.AUTHENTICATION, b"\x01" + bytes(10)), (f.AUTHENTICATION, b"\x04" + bytes(22))]),
        st.sampled_from(
            [(f.FRAGMENT, b"\x05" + bytes(6)), (f.DESTINATION, b"\xff" + bytes(6)), (59, bytes(7)), (50, bytes(7))]
        ),
    ),
    max_size=8,
)
_LENGTH = st.one_of(st.none(), st.none(), st.integers(0, 120))

ARP = st.builds(
    f.arp,
    IPV4,
    IPV4,
    mac=MAC,
    operation=st.sampled_from([1, 2, 3, 4]),
    hardware=st.sampled_from([1, 1, 1, 6]),
    sizes=st.sampled_from([(6, 4), (6, 4), (8, 4), (6, 16)]),
)
PACKET4 = st.builds(
    f.ipv4,
    IPV4,
    IPV4,
    _UDP,
    protocol=st.sampled_from([17, 17, 17, 6]),
    options=st.sampled_from([b"", b"", bytes(4), bytes(40)]),
    fragment=st.sampled_from([0, 0, 0, 8, 1480]),
    more=st.booleans(),
    first_byte=st.sampled_from([None, None, None, 0x44, 0x65, 0x4F]),
)
LIKE_DHCP = st.builds(
    f.ipv4,
    st.sampled_from(["0.0.0.0", "0.0.0.0", "0.0.0.5"]),
    st.sampled_from(["255.255.255.255", "255.255.255.255", "10.0.0.1"]),
    st.builds(f.udp, st.sampled_from([68, 68, 67]), st.sampled_from([67, 67, 68])),
    protocol=st.sampled_from([17, 17, 6]),
    more=st.booleans(),
)
PACKET6 = st.one_of(
    st.builds(f.ipv6, IPV6, IPV6, _DISCOVERY, extensions=_EXTENSIONS, length=_LENGTH),
    st.builds(f.ipv6, IPV6, IPV6, _UDP, following=st.just(f.UDP), extensions=_EXTENSIONS, length=_LENGTH),
    st.builds(f.ipv6, IPV6, IPV6, _UDP, following=st.integers(0, 255), first_byte=st.sampled_from([0x60, 0x40])),
)
CONTENT = st.one_of(
    st.tuples(st.just(f.ARP), ARP),
    st.tuples(st.just(f.REVERSE_ARP), ARP),
    st.tuples(st.just(f.IPV4), PACKET4),
    st.tuples(st.just(f.IPV4), LIKE_DHCP),
    st.tuples(st.just(f.IPV6), PACKET6),
    st.tuples(st.just(f.IPV6), PACKET6),
    st.tuples(
        st.integers(0, 0x700), st.sampled_from([b"\x42\x42\x03", b"\x43\x42\x03", f.SNAP + b"\x08\0", b"\xfe\xfe"])
    ),
    st.tuples(st.sampled_from([0x88CC, 0x8847, 0x5FF, 0x600]), st.binary(max_size=8)),
)
WELL_FORMED = st.builds(
    lambda content, tags, **words: f.ethernet(*content, tags=tags, **words),
    CONTENT,
    st.one_of(st.just([]), st.lists(st.tuples(TAG_TYPE, st.sampled_from([0, 5])), max_size=5)),
    source=MAC,
    destination=DESTINATION,
    least=st.sampled_from([0, 60]),
)


def _changed(frame: bytes, place: int, byte: int) -> bytes:
    place %= len(frame)
    return frame[:place] + bytes([byte]) + frame[place + 1 :]


FRAMES = st.one_of(
    WELL_FORMED,
    WELL_FORMED,
    st.builds(lambda frame, size: frame[: max(1, size % (len(frame) + 1))], WELL_FORMED, st.integers(0, 300)),
    st.builds(_changed, WELL_FORMED, st.integers(0, 300), st.integers(0, 255)),
    st.sampled_from([case.frame for case in wiles.CASES]),
    st.binary(min_size=1, max_size=80),
)
"""Whatever a guest may think of; at least one byte, as a socket takes no empty message for one."""
