# SPDX-License-Identifier: GPL-2.0-or-later
"""The program's part for who a guest says that it is in IPv6: source, neighbour discovery, routers (RFC 4861, 4862)."""

from qbhelper.kernel.bpf import Program
from qbhelper.kernel.sieve.rules import (
    ACCEPT,
    DROP,
    END,
    FIRST_FREE,
    ICMPV6,
    IN_FRAGMENTS,
    NEXT_HEADER,
    SOURCE,
    TAGS,
    UPPER,
    Rules,
    if_address_within,
    if_mac_among,
)

# Where these stand in a frame without inner tags, in bytes; then from UPPER on, and in an option from there on.
_FROM, _TO = 22, 38
_MESSAGE, _TARGET = 14, 22
_OPTION, _OPTION_LENGTH, _OPTION_MAC = 14, 15, 16

_ROUTER_SOLICITATION, _ROUTER_ADVERTISEMENT = 133, 134
_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT, _REDIRECT = 135, 136, 137
_LISTENER_MESSAGES = (131, 132, 143)
"""Of multicast listener discovery: report, done, report of version 2."""
_OPTIONS_AT = (
    (_ROUTER_SOLICITATION, 8),
    (_ROUTER_ADVERTISEMENT, 16),
    (_NEIGHBOUR_SOLICITATION, 24),
    (_NEIGHBOUR_ADVERTISEMENT, 24),
)
"""Messages with options that tell a MAC of the sender's, and where in them the options begin."""
_SOURCE_MAC, _TARGET_MAC = 1, 2
_MOST_OPTIONS = 8

_IDENTIFIER_HIGH, _IDENTIFIER_LOW, _MAC_AT = range(FIRST_FREE, FIRST_FREE + 3)
"""Places in memory."""


def judge(rules: Rules, code: Program) -> None:
    """Go on if the packet may pass, and drop it if not.  With the places in memory that are IPv6's set."""
    _judge_message(rules, code)
    if rules.has_addresses:
        _judge_claims(rules, code)
    if rules.macs:
        _judge_options(rules, code)


def _judge_message(rules: Rules, code: Program) -> None:
    """Drop what only routers send, and neighbour discovery in fragments, which could hide anything."""
    if not (rules.ra or rules.macs or rules.has_addresses):
        return
    code.recall_a(NEXT_HEADER)
    code.unless_equal(ICMPV6, "message judged")
    code.recall_x(UPPER)
    code.load_at_x(_MESSAGE, 1)
    if rules.ra:
        code.if_equal(_ROUTER_ADVERTISEMENT, DROP)
        code.if_equal(_REDIRECT, DROP)
    code.if_less(_ROUTER_SOLICITATION, "message judged")
    code.if_less(_REDIRECT + 1, "discovery")
    code.go("message judged")
    code.label("discovery")
    code.recall_a(IN_FRAGMENTS)
    code.unless_equal(0, DROP)
    code.label("message judged")


def _judge_claims(rules: Rules, code: Program) -> None:
    """Drop what claims an address that is not allowed: as the source, or as the target of an advertisement."""
    _prepare_identifier(code)
    code.recall_x(TAGS)
    _if_allowed(rules, code, _FROM, TAGS, "source")

    # The unspecified address is for those who have none yet, to get one and to be told of multicast.
    code.recall_x(TAGS)
    for start in range(0, 16, 4):
        code.load_at_x(_FROM + start)
        code.unless_equal(0, DROP)
    code.load_at_x(_TO, 1)
    code.unless_equal(0xFF, DROP)
    code.recall_a(NEXT_HEADER)
    code.unless_equal(ICMPV6, DROP)
    code.recall_x(UPPER)
    code.load_at_x(_MESSAGE, 1)
    for message in (_ROUTER_SOLICITATION, *_LISTENER_MESSAGES):
        code.if_equal(message, "addresses judged")
    # Asking whether somebody has an address, in order to take it; for one of somebody else's, that takes it from them.
    code.if_equal(_NEIGHBOUR_SOLICITATION, "target")
    code.go(DROP)

    code.label("source")
    code.recall_a(NEXT_HEADER)
    code.unless_equal(ICMPV6, "addresses judged")
    code.recall_x(UPPER)
    code.load_at_x(_MESSAGE, 1)
    code.unless_equal(_NEIGHBOUR_ADVERTISEMENT, "addresses judged")

    code.label("target")
    code.recall_x(UPPER)
    _if_allowed(rules, code, _TARGET, UPPER, "addresses judged")
    code.go(DROP)
    code.label("addresses judged")


def _prepare_identifier(code: Program) -> None:
    """Remember the second half of the link-local address that is made of the frame's source MAC (RFC 4291, A)."""
    code.load(SOURCE)
    code.mask(0xFFFFFF00)
    code.flip_bits(0x02000000)
    code.set_bits(0x000000FF)
    code.store_a(_IDENTIFIER_HIGH)
    code.load(SOURCE + 2)
    code.mask(0x00FFFFFF)
    code.set_bits(0xFE000000)
    code.store_a(_IDENTIFIER_LOW)


def _if_allowed(rules: Rules, code: Program, offset: int, base: int, label: str) -> None:
    """Go on at `label`, with X changed, if the address at X + `offset` is allowed, X being what `base` remembers.

    Without a link-local address IPv6 does not work, so that of the sender's own MAC is.  Not all: the router has one.
    """
    if_address_within(code, offset, rules.ipv6, label)
    code.load_at_x(offset)
    not_it = code.new_label()
    code.unless_equal(0xFE800000, not_it)
    code.load_at_x(offset + 4)
    code.unless_equal(0, not_it)
    code.load_at_x(offset + 8)
    code.recall_x(_IDENTIFIER_HIGH)
    code.unless_equal_to_x(not_it)
    code.recall_x(base)
    code.load_at_x(offset + 12)
    code.recall_x(_IDENTIFIER_LOW)
    code.if_equal_to_x(label)
    code.label(not_it)


def _judge_options(rules: Rules, code: Program) -> None:
    """Drop neighbour discovery that tells a MAC which is not the guest's, or that can't be read to its end."""
    code.recall_a(NEXT_HEADER)
    code.unless_equal(ICMPV6, ACCEPT)
    code.set_a(0)
    code.store_a(_MAC_AT)
    code.recall_x(UPPER)
    code.load_at_x(_MESSAGE, 1)
    for message, offset in _OPTIONS_AT:
        another = code.new_label()
        code.unless_equal(message, another)
        code.set_a(offset)
        code.go("options")
        code.label(another)
    code.go(ACCEPT)

    code.label("options")
    code.add_x()
    code.a_to_x()
    for number in range(_MOST_OPTIONS):
        _skip_option(code, str(number))
    code.recall_a(END)
    code.unless_equal_to_x(DROP)

    code.label("all options")
    code.recall_a(_MAC_AT)
    code.if_equal(0, ACCEPT)
    code.a_to_x()
    if_mac_among(code, _OPTION_MAC, rules.macs, ACCEPT)
    code.go(DROP)


def _skip_option(code: Program, number: str) -> None:
    """Go on with X behind the option at X; remember where it is if it tells a MAC, which only one may."""
    code.recall_a(END)
    code.if_equal_to_x("all options")
    code.if_less_than_x(DROP)
    code.load_at_x(_OPTION, 1)
    code.if_equal(_SOURCE_MAC, f"mac {number}")
    code.if_equal(_TARGET_MAC, f"mac {number}")
    code.go(f"option {number}")
    code.label(f"mac {number}")
    code.recall_a(_MAC_AT)
    code.unless_equal(0, DROP)
    code.store_x(_MAC_AT)
    code.load_at_x(_OPTION_LENGTH, 1)
    code.unless_equal(1, DROP)
    code.label(f"option {number}")
    code.load_at_x(_OPTION_LENGTH, 1)
    code.if_equal(0, DROP)
    code.shift_left(3)
    code.add_x()
    code.a_to_x()
