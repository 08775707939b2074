# SPDX-License-Identifier: GPL-2.0-or-later
"""What the parts of the program share: what is looked for, where, and how addresses are compared."""

from qbhelper.kernel.bpf import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from typing import Final

ACCEPT, DROP = "accept", "drop"
"""The labels at which a program ends."""

SOURCE, ETHER_TYPE, PAYLOAD = 6, 12, 14
"""Where these stand in a frame without inner tags, in bytes."""

TAGS, UPPER, NEXT_HEADER, IN_FRAGMENTS, END, FIRST_FREE = range(6)
"""Places in memory.

TAGS: the size of the inner VLAN tags.  UPPER: that and the headers of IP, up to what the packet carries.  Both are less
by PAYLOAD than the offset of what comes then, as an offset is always X plus a constant.  And of IPv6: NEXT_HEADER: what
comes at UPPER; IN_FRAGMENTS: whether that is a part of something; END: where the packet ends, counted like UPPER.
"""

UDP, ICMPV6 = 17, 58


class Rules:
    """What is looked for: the settings of a port that have these names, networks apart by their family.

    has_addresses: whether there is a network of any family; a family without one is closed then.
    """

    __slots__ = ("bpdu", "dhcp_server", "has_addresses", "ipv4", "ipv6", "macs", "ra", "vlan_tags")

    def __init__(
        self,
        macs: tuple[bytes, ...] = (),
        addresses: "tuple[IPv4Network | IPv6Network, ...]" = (),
        guards: frozenset[str] = frozenset(),
    ) -> None:
        self.macs: Final = macs
        self.has_addresses: Final = bool(addresses)
        self.ipv4: Final = tuple(network for network in addresses if network.version == 4)
        self.ipv6: Final = tuple(network for network in addresses if network.version == 6)
        self.bpdu: Final = "bpdu" in guards
        self.dhcp_server: Final = "dhcp-server" in guards
        self.ra: Final = "ra" in guards
        self.vlan_tags: Final = "vlan-tags" in guards

    @property
    def reach_into_frames(self) -> bool:
        """Whether it matters what a frame carries, and not only from where it comes and where it goes."""
        return bool(self.macs or self.has_addresses or self.dhcp_server or self.ra)


def if_mac_among(code: Program, offset: int, macs: tuple[bytes, ...], label: str) -> None:
    """Go on at `label` if one of these MAC addresses stands at X + `offset`.  Changes A."""
    for mac in macs:
        next_one = code.new_label()
        code.load_at_x(offset)
        code.unless_equal(int.from_bytes(mac[:4]), next_one)
        code.load_at_x(offset + 4, 2)
        code.if_equal(int.from_bytes(mac[4:]), label)
        code.label(next_one)


def if_address_within(
    code: Program, offset: int, networks: "tuple[IPv4Network | IPv6Network, ...]", label: str
) -> None:
    """Go on at `label` if an address of one of these networks stands at X + `offset`.  Changes A."""
    for network in networks:
        next_one = code.new_label()
        address, mask = network.network_address.packed, network.netmask.packed
        code.load_at_x(offset + len(mask) - 4)  # it has to be there, also where its bits do not count
        for start in range(0, len(mask), 4):
            wanted_bits = int.from_bytes(mask[start : start + 4])
            if wanted_bits:
                code.load_at_x(offset + start)
                code.mask(wanted_bits)
                code.unless_equal(int.from_bytes(address[start : start + 4]), next_one)
        code.go(label)
        code.label(next_one)
