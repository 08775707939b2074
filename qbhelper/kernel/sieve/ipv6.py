# SPDX-License-Identifier: GPL-2.0-or-later
"""The program's part for IPv6: what a packet carries, behind however many headers (RFC 8200), and DHCPv6 (RFC 8415)."""

from qbhelper.kernel.bpf import Program
from qbhelper.kernel.sieve import discovery
from qbhelper.kernel.sieve.rules import ACCEPT, DROP, END, IN_FRAGMENTS, NEXT_HEADER, UDP, UPPER, Rules

# Where these stand in a frame without inner tags, in bytes; then from UPPER on, in a header and in UDP.
_FIRST_BYTE, _LENGTH, _NEXT = 14, 18, 20
_NEXT_HERE, _LENGTH_HERE, _FRAGMENT = 14, 15, 16
_SOURCE_PORT, _DESTINATION_PORT = 14, 16

_HEADER_SIZE, _LEAST_UPPER = 40, 8

_HOP_BY_HOP, _ROUTING, _FRAGMENTATION, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_EXTENSIONS = (_HOP_BY_HOP, _ROUTING, _DESTINATION, 135, 139, 140)
"""Headers that say their length in 8 bytes; the last are those of mobility, HIP and Shim6."""
_MOST_EXTENSIONS = 6
"""More than that is nothing but hiding what comes then."""
_NOTHING_TO_JUDGE = 0x100
"""For the next header, which is a byte: what comes is not the beginning of anything."""

_SERVER_PORT, _CLIENT_PORT = 547, 546


def judge(rules: Rules, code: Program) -> None:
    """Add the part that `ethernet` sends IPv6 to, with X = TAGS."""
    code.label("ipv6")
    if rules.has_addresses and not rules.ipv6:
        code.go(DROP)
        return
    if not rules.reach_into_frames:
        code.go(ACCEPT)
        return
    code.load_at_x(_FIRST_BYTE, 1)
    code.mask(0xF0)
    code.unless_equal(0x60, DROP)
    _find_upper(code)
    if rules.dhcp_server:
        _drop_dhcp_answers(code)
    discovery.judge(rules, code)
    code.go(ACCEPT)


def _find_upper(code: Program) -> None:
    """Go on with UPPER at what the packet carries behind all its headers, and NEXT_HEADER telling what that is."""
    code.set_a(0)
    code.store_a(IN_FRAGMENTS)
    code.load_at_x(_NEXT, 1)
    code.store_a(NEXT_HEADER)
    code.load_at_x(_LENGTH, 2)
    code.add(_HEADER_SIZE)
    code.add_x()
    code.store_a(END)
    code.x_to_a()
    code.add(_HEADER_SIZE)
    code.store_a(UPPER)
    for number in range(_MOST_EXTENSIONS):
        _skip_extension(code, str(number))
    code.recall_a(NEXT_HEADER)
    for kind in (*_EXTENSIONS, _FRAGMENTATION, _AUTHENTICATION):
        code.if_equal(kind, DROP)

    code.label("first of fragments")
    code.recall_a(IN_FRAGMENTS)
    code.if_equal(0, "upper")
    # What stands behind the packet's end is not what the receiver puts together in the end.
    code.recall_a(UPPER)
    code.add(_LEAST_UPPER)
    code.a_to_x()
    code.recall_a(END)
    code.if_less_than_x(DROP)
    code.label("upper")


def _skip_extension(code: Program, number: str) -> None:
    code.recall_x(UPPER)
    code.recall_a(NEXT_HEADER)
    for kind in _EXTENSIONS:
        code.if_equal(kind, f"extension {number}")
    code.if_equal(_AUTHENTICATION, f"authentication {number}")
    code.if_equal(_FRAGMENTATION, f"fragment {number}")
    code.go("first of fragments")

    code.label(f"fragment {number}")
    code.set_a(1)
    code.store_a(IN_FRAGMENTS)
    code.load_at_x(_FRAGMENT, 2)
    code.mask(0xFFF8)
    code.if_equal(0, f"first fragment {number}")
    # Of no use without the first, which is judged by all its headers, or dropped because it has not got them all.
    code.set_a(_NOTHING_TO_JUDGE)
    code.store_a(NEXT_HEADER)
    code.go("upper")
    code.label(f"first fragment {number}")
    code.set_a(8)
    code.go(f"skip {number}")

    code.label(f"authentication {number}")
    code.load_at_x(_LENGTH_HERE, 1)
    code.add(2)
    code.shift_left(2)
    code.go(f"skip {number}")

    code.label(f"extension {number}")
    code.load_at_x(_LENGTH_HERE, 1)
    code.add(1)
    code.shift_left(3)

    code.label(f"skip {number}")
    code.add_x()
    code.store_a(UPPER)
    code.load_at_x(_NEXT_HERE, 1)
    code.store_a(NEXT_HEADER)


def _drop_dhcp_answers(code: Program) -> None:
    """Drop what a DHCPv6 server or relay sends; by where it goes, too, as clients do not look where it comes from."""
    code.recall_a(NEXT_HEADER)
    code.unless_equal(UDP, "no answer of DHCPv6")
    code.recall_x(UPPER)
    code.load_at_x(_SOURCE_PORT, 2)
    code.if_equal(_SERVER_PORT, DROP)
    code.load_at_x(_DESTINATION_PORT, 2)
    code.if_equal(_CLIENT_PORT, DROP)
    code.label("no answer of DHCPv6")
