# SPDX-License-Identifier: GPL-2.0-or-later
"""What an allow gives: the settings of a port, and the terms on which it is given.

The defaults are those of an access list, so `PLAIN` is a port as QEMU's helper makes it.
"""

from qbhelper.request import IFNAMSIZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from typing import Final

    Network = IPv4Network | IPv6Network

UID_IN_NAME = b"{uid}"
NUMBER_IN_NAME = b"%d"


class PortSettings:
    """What one port may do.  Each attribute is the setting of the same name in policy/settings.py.

    name: a template for the interface's name (see `interface_name`), None for the default; mtu in bytes, None for
    the bridge's; vlan and trunk: VLAN ids 1 to 4094, trunk in ascending order and without vlan; macs: six bytes
    each, unicast, in the order of the file, none for any; addresses: networks of `ipaddress`, none for any; guards:
    of "bpdu", "dhcp-server", "ra", "vlan-tags"; rates in bit/s, None for no limit.
    """

    __slots__ = (
        "addresses",
        "guards",
        "isolated",
        "learning",
        "macs",
        "mtu",
        "name",
        "rate_from_guest",
        "rate_to_guest",
        "trunk",
        "unicast_flood",
        "vlan",
    )

    def __init__(
        self,
        *,
        name: bytes | None = None,
        mtu: int | None = None,
        vlan: int | None = None,
        trunk: tuple[int, ...] = (),
        isolated: bool = False,
        macs: tuple[bytes, ...] = (),
        addresses: "tuple[Network, ...]" = (),
        guards: frozenset[str] = frozenset(),
        rate_to_guest: int | None = None,
        rate_from_guest: int | None = None,
        learning: bool = True,
        unicast_flood: bool = True,
    ) -> None:
        self.name: Final = name
        self.mtu: Final = mtu
        self.vlan: Final = vlan
        self.trunk: Final = trunk
        self.isolated: Final = isolated
        self.macs: Final = macs
        self.addresses: Final = addresses
        self.guards: Final = guards
        self.rate_to_guest: Final = rate_to_guest
        self.rate_from_guest: Final = rate_from_guest
        self.learning: Final = learning
        self.unicast_flood: Final = unicast_flood

    @property
    def is_plain(self) -> bool:
        """Whether the port is as an access list gives it, but for its name."""
        return self is PLAIN or all(
            getattr(self, setting) == getattr(PLAIN, setting) for setting in self.__slots__ if setting != "name"
        )

    @property
    def is_filtered(self) -> bool:
        """Whether the guest's frames are looked at, or counted, before they are let through."""
        return bool(
            self.macs or self.addresses or self.guards or self.trunk or self.vlan is not None or self.rate_from_guest
        )

    @property
    def identity(self) -> str | None:
        """8 hexadecimal digits for what the port may do, whatever its name is; None for a plain one.

        A lease keeps them, so that it can be seen when the policy has come to say something else.
        """
        if self.is_plain:
            return None
        from zlib import crc32  # here, because few ports need it

        values = [getattr(self, setting) for setting in self.__slots__ if setting != "name"]
        text = repr([sorted(value) if isinstance(value, frozenset) else value for value in values])
        return f"{crc32(text.encode()):08x}"

    def interface_name(self, uid: int) -> bytes | None:
        """Return the name to ask the kernel for, in which a free number takes the place of `%d`; None: the default.

        Raises ValueError if no name with this uid has room in an interface's name.
        """
        if self.name is None:
            return None
        name = self.name.replace(UID_IN_NAME, b"%d" % uid)
        if len(name.replace(NUMBER_IN_NAME, b"0")) >= IFNAMSIZ:
            raise ValueError(f"too long for uid {uid}")
        return name


PLAIN = PortSettings()
"""That of all rules without settings: nothing need be compared to know it."""


class Terms:
    """On which terms an allow gives a port.

    rule: 8 hexadecimal digits that are the same as long as the rule's bridges, users and groups are, and its alone;
    None for a line of an access list.  queues: the most that one port may have.  max_ports: of one uid at a time,
    over all that this rule has granted; max_ports_total: of all uids together; None for no limit.
    other_network_namespaces: whether callers in another network namespace than the broker's count.
    vhost: whether fds of /dev/vhost-net come with a port; persistent: whether one may outlive its processes.
    """

    __slots__ = (
        "max_ports",
        "max_ports_total",
        "other_network_namespaces",
        "persistent",
        "port",
        "queues",
        "rule",
        "vhost",
    )

    def __init__(
        self,
        rule: str | None = None,
        port: PortSettings = PLAIN,
        *,
        queues: int = 1,
        max_ports: int | None = None,
        max_ports_total: int | None = None,
        other_network_namespaces: bool = False,
        vhost: bool = False,
        persistent: bool = False,
    ) -> None:
        self.rule: Final = rule
        self.port: Final = port
        self.queues: Final = queues
        self.max_ports: Final = max_ports
        self.max_ports_total: Final = max_ports_total
        self.other_network_namespaces: Final = other_network_namespaces
        self.vhost: Final = vhost
        self.persistent: Final = persistent

    @property
    def is_counted(self) -> bool:
        """Whether the rule gives so many ports and no more."""
        return self.max_ports is not None or self.max_ports_total is not None


PLAIN_TERMS = Terms()
"""Those of an access list: one queue, no quota, nothing special about the port."""
