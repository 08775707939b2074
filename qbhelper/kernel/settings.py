# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's part has to know of a port's settings: policy's PortSettings is such a thing.

For the type checker: kernel does not import policy, and nobody imports this when the program runs.
"""

from ipaddress import IPv4Network, IPv6Network
from typing import Protocol


class Settings(Protocol):
    """The settings of a port.  Each is the one of that name in the policy."""

    @property
    def mtu(self) -> int | None:
        """Bytes; None: the bridge's."""

    @property
    def vlan(self) -> int | None:
        """The VLAN of frames without a tag; None: as the bridge has it, or none if there is a trunk."""

    @property
    def trunk(self) -> tuple[int, ...]:
        """The VLANs of frames with a tag, ascending."""

    @property
    def isolated(self) -> bool:
        """Whether it hears no other isolated port."""

    @property
    def macs(self) -> tuple[bytes, ...]:
        """The only MACs to send from, six bytes each; none: any."""

    @property
    def addresses(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The only addresses to send from; none: any."""

    @property
    def guards(self) -> frozenset[str]:
        """What it can't send: of "bpdu", "dhcp-server", "ra", "vlan-tags"."""

    @property
    def rate_to_guest(self) -> int | None:
        """Bit/s that it receives at most."""

    @property
    def rate_from_guest(self) -> int | None:
        """Bit/s that it sends at most."""

    @property
    def learning(self) -> bool:
        """Whether the bridge learns its MACs."""

    @property
    def unicast_flood(self) -> bool:
        """Whether it receives frames for MACs that the bridge does not know."""
