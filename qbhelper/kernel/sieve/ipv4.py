# SPDX-License-Identifier: GPL-2.0-or-later
"""The program's part for IPv4 and ARP (RFC 791, 826, 2131, 5227)."""

from qbhelper.kernel.bpf import Program
from qbhelper.kernel.sieve.rules import ACCEPT, DROP, TAGS, UDP, UPPER, Rules, if_address_within, if_mac_among

# Where these stand in a frame without inner tags, in bytes.
_FIRST_BYTE, _FRAGMENT, _PROTOCOL, _FROM, _TO = 14, 20, 23, 26, 30
_SOURCE_PORT, _DESTINATION_PORT = 14, 16
"""From UPPER on."""
_ARP_HARDWARE, _ARP_SIZES, _OPERATION, _SENDER_MAC, _SENDER, _TARGET = 14, 18, 20, 22, 28, 38

_LATER_FRAGMENT, _ANY_FRAGMENT = 0x1FFF, 0x3FFF
_ETHERNET_AND_IPV4, _SIX_AND_FOUR = 0x00010800, 0x0604
_REQUEST_REVERSE = 3
_EVERYBODY = 0xFFFFFFFF
_SERVER_PORT, _CLIENT_PORT = 67, 68


def judge(rules: Rules, code: Program) -> None:
    """Add the parts that `ethernet` sends IPv4, ARP and RARP to, with X = TAGS."""
    _judge_ipv4(rules, code)
    _judge_arp(rules, code)
    _judge_reverse_arp(rules, code)


def _judge_ipv4(rules: Rules, code: Program) -> None:
    code.label("ipv4")
    if rules.has_addresses and not rules.ipv4:
        code.go(DROP)
        return
    if not rules.has_addresses and not rules.dhcp_server:
        code.go(ACCEPT)
        return
    code.load_at_x(_FIRST_BYTE, 1)
    code.mask(0xF0)
    code.unless_equal(0x40, DROP)
    code.load_at_x(_FIRST_BYTE, 1)
    code.mask(0x0F)
    code.if_less(5, DROP)
    code.shift_left(2)
    code.add_x()
    code.store_a(UPPER)
    if rules.dhcp_server:
        _drop_answers(code)
    if rules.has_addresses:
        if_address_within(code, _FROM, rules.ipv4, ACCEPT)
        _accept_client_without_address(code)
        code.go(DROP)
    else:
        code.go(ACCEPT)


def _drop_answers(code: Program) -> None:
    """Drop what a DHCP server or relay sends; by where it goes, too, as clients do not look where it comes from."""
    code.load_at_x(_PROTOCOL, 1)
    code.unless_equal(UDP, "no answer")
    code.load_at_x(_FRAGMENT, 2)
    code.if_any_bit(_LATER_FRAGMENT, "no answer")  # of no use without the first, which always has the ports
    code.recall_x(UPPER)
    code.load_at_x(_SOURCE_PORT, 2)
    code.if_equal(_SERVER_PORT, DROP)
    code.load_at_x(_DESTINATION_PORT, 2)
    code.if_equal(_CLIENT_PORT, DROP)
    code.label("no answer")
    code.recall_x(TAGS)


def _accept_client_without_address(code: Program) -> None:
    """Accept what a DHCP client sends before it has an address."""
    code.load_at_x(_FROM)
    code.unless_equal(0, DROP)
    code.load_at_x(_TO)
    code.unless_equal(_EVERYBODY, DROP)
    code.load_at_x(_PROTOCOL, 1)
    code.unless_equal(UDP, DROP)
    code.load_at_x(_FRAGMENT, 2)
    code.if_any_bit(_ANY_FRAGMENT, DROP)
    code.recall_x(UPPER)
    code.load_at_x(_SOURCE_PORT, 2)
    code.unless_equal(_CLIENT_PORT, DROP)
    code.load_at_x(_DESTINATION_PORT, 2)
    code.if_equal(_SERVER_PORT, ACCEPT)


def _judge_arp(rules: Rules, code: Program) -> None:
    code.label("arp")
    _judge_senders_mac(rules, code)
    if not rules.has_addresses:
        code.go(ACCEPT)
        return
    if_address_within(code, _SENDER, rules.ipv4, ACCEPT)
    # A probe asks who has the address that its sender wants; for one of somebody else's, that takes it from them.
    code.load_at_x(_SENDER)
    code.unless_equal(0, DROP)
    if_address_within(code, _TARGET, rules.ipv4, ACCEPT)
    code.go(DROP)


def _judge_reverse_arp(rules: Rules, code: Program) -> None:
    """Let QEMU announce its guest, which it does in this form after a migration; that claims no address."""
    code.label("reverse arp")
    _judge_senders_mac(rules, code)
    if rules.has_addresses:
        code.load_at_x(_OPERATION, 2)
        code.unless_equal(_REQUEST_REVERSE, DROP)
        code.load_at_x(_SENDER)
        code.unless_equal(0, DROP)
        code.load_at_x(_TARGET)
        code.unless_equal(0, DROP)
    code.go(ACCEPT)


def _judge_senders_mac(rules: Rules, code: Program) -> None:
    if not rules.macs and not rules.has_addresses:
        return
    code.load_at_x(_ARP_HARDWARE)
    code.unless_equal(_ETHERNET_AND_IPV4, DROP)
    code.load_at_x(_ARP_SIZES, 2)
    code.unless_equal(_SIX_AND_FOUR, DROP)
    if rules.macs:
        own = code.new_label()
        if_mac_among(code, _SENDER_MAC, rules.macs, own)
        code.go(DROP)
        code.label(own)
