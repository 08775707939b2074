# SPDX-License-Identifier: GPL-2.0-or-later
"""The program from the frame's first byte to what it carries: MAC addresses, BPDUs, VLAN tags, 802.2."""

from qbhelper.kernel.bpf import VLAN_PROTOCOL, VLAN_TAG_PRESENT, Program
from qbhelper.kernel.sieve import ipv4, ipv6
from qbhelper.kernel.sieve.rules import ACCEPT, DROP, ETHER_TYPE, PAYLOAD, SOURCE, TAGS, Rules, if_mac_among

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

TAG_TYPES = (0x8100, 0x88A8, 0x9100, 0x9200)
"""EtherTypes of 802.1Q and 802.1ad, and those that stacked tags had before there was a standard."""
TAG_SIZE = 4
INNER_TAGS = 2
"""How many tags are looked behind, besides the outermost, which the kernel takes off before it asks us."""

IPV4, ARP, REVERSE_ARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
LEAST_TYPE = 0x0600
"""What is less is a length, and the frame one of 802.2."""
SPANNING_TREE, WITHOUT_DIRECTION = 0x4242, 0xFEFE
"""Both addresses of 802.2 that spanning tree uses, and their bits less those for group and for answer."""


def program(
    *,
    macs: tuple[bytes, ...] = (),
    addresses: "tuple[IPv4Network | IPv6Network, ...]" = (),
    guards: frozenset[str] = frozenset(),
    only_tag: int | None = None,
) -> bytes:
    """Return the program (struct sock_filter) that matches the frames that may pass.

    macs, addresses, guards: as the settings of a port have them.  only_tag: the EtherType of the tag that frames may
    have one of, for a port that is in VLANs by choice; None if the bridge knows of none, and tags go through it.
    """
    rules, code = Rules(macs, addresses, guards), Program()
    _judge_addresses(rules, code)
    _judge_tags(rules, code, only_tag)
    if rules.reach_into_frames or rules.bpdu:
        _judge_content(rules, code)
        ipv4.judge(rules, code)
        ipv6.judge(rules, code)
    code.label(ACCEPT)
    code.match()
    code.label(DROP)
    code.no_match()
    return code.packed()


def _judge_addresses(rules: Rules, code: Program) -> None:
    """Drop what comes from another MAC, or goes where only switches listen."""
    code.set_x(0)
    if rules.macs:
        if_mac_among(code, SOURCE, rules.macs, "own")
        code.go(DROP)
        code.label("own")
    if rules.bpdu:
        code.load(0)
        code.unless_equal(0x0180C200, "not of 802.1")
        code.load(4, 2)
        code.mask(0xFFF0)
        code.if_equal(0, DROP)
        code.if_equal(0x0020, DROP)  # the applications of GARP and MRP, by which a switch is told to open VLANs
        code.label("not of 802.1")
        code.load(0)
        code.unless_equal(0x01000CCC, "not of Cisco")
        code.load(4, 2)
        code.mask(0xFFFE)
        code.if_equal(0xCCCC, DROP)  # with cccd, its spanning trees; with cccc, what makes a switch open a trunk
        code.label("not of Cisco")


def _judge_tags(rules: Rules, code: Program, only_tag: int | None) -> None:
    """Go on with X = the size of the tags that the frame still has in it, and A = the EtherType behind them."""
    inner = INNER_TAGS
    if rules.vlan_tags:
        code.load(VLAN_TAG_PRESENT)
        code.unless_equal(0, DROP)
        inner = 0
    elif only_tag is not None:
        code.load(VLAN_TAG_PRESENT)
        code.if_equal(0, "tag judged")
        # The bridge takes another kind of tag for content.  It would come out again where VLANs are told apart by it,
        # as a second tag would when the first is taken off.
        code.load(VLAN_PROTOCOL)
        code.unless_equal(only_tag, DROP)
        code.label("tag judged")
        inner = 0
    for number in range(inner + 1):
        code.set_x(number * TAG_SIZE)
        code.load_at_x(ETHER_TYPE, 2)
        for kind in TAG_TYPES:
            code.if_equal(kind, f"tag {number}" if number < inner else DROP)
        code.go("content")
        code.label(f"tag {number}")
    code.label("content")


def _judge_content(rules: Rules, code: Program) -> None:
    """Send each EtherType where it is judged."""
    code.store_x(TAGS)
    code.if_less(LEAST_TYPE, "802.2")
    code.if_equal(IPV4, "ipv4")
    code.if_equal(ARP, "arp")
    code.if_equal(REVERSE_ARP, "reverse arp")
    code.if_equal(IPV6, "ipv6")
    code.go(DROP if rules.has_addresses else ACCEPT)

    code.label("802.2")
    code.load_at_x(PAYLOAD, 2)
    code.mask(WITHOUT_DIRECTION)
    code.if_equal(SPANNING_TREE, DROP if rules.bpdu or rules.has_addresses else ACCEPT)
    code.go(DROP if rules.reach_into_frames else ACCEPT)  # a receiver may find an IP packet in there
