# SPDX-License-Identifier: GPL-2.0-or-later
"""The settings of a policy: the one table from which the parser, the reference and the completions come."""

from qbhelper.policy import values
from qbhelper.policy.values import Kind
from qbhelper.policy.who import parse_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TOP, ALLOW, DENY = "top", "allow", "deny"
"""Where a setting may stand: at the top of policy.toml, in an [[allow]], in a [[deny]]."""

GUARDS = ("bpdu", "dhcp-server", "ra", "vlan-tags")
"""What the guest is kept from sending."""
QUEUES_MAX = 253
"""SCM_MAX_FD in include/net/scm.h: the fds come in one message.  A TAP could have three more (drivers/net/tun.c)."""
MTU_MIN, MTU_MAX = 68, 65521
"""ETH_MIN_MTU, and the most that a TAP takes (65535 less an Ethernet header)."""
PORTS_MAX = 65535
"""More than all the bridges of a host have room for: a bridge has 1023 ports."""


class Setting:
    """One word of the language.

    kind: what its value is; unit: of a number, or empty; default: what counts where it is not written, and absent: the
    same in words; scopes: where it may stand; example: a value as it is written; help: sentences for the reference.
    """

    __slots__ = ("absent", "default", "example", "help", "kind", "name", "scopes", "unit")

    def __init__(
        self,
        name: str,
        kind: Kind,
        default: object,
        absent: str,
        example: str,
        help: str,  # noqa: A002  it is what the table calls it
        *,
        unit: str = "",
        scopes: tuple[str, ...] = (ALLOW,),
    ) -> None:
        self.name: Final = name
        self.kind: Final = kind
        self.default: Final = default
        self.absent: Final = absent
        self.example: Final = example
        self.help: Final = help
        self.unit: Final = unit
        self.scopes: Final = scopes


_BOOLEAN = Kind("true or false", values.boolean)
_ACCOUNTS = Kind("name, number or range; or a list of them", parse_ids)
_COUNT = Kind(f"number, 1 to {PORTS_MAX}", values.integer(1, PORTS_MAX))
_RATE = Kind("rate: a number and bit, kbit, mbit, gbit or tbit", values.rate)

SETTINGS = (
    Setting(
        "qemu_acl",
        _BOOLEAN,
        False,
        "false",
        "true",
        "QEMU's access list (`/etc/qemu/bridge.conf`) counts as well: a deny in either refuses, an allow of the policy "
        "comes before one of the list, and what only the list allows is a plain port without a limit of their number. "
        "Only in `policy.toml`, above the first rule.",
        scopes=(TOP,),
    ),
    Setting(
        "bridge",
        Kind("name, or a list of names", values.bridges),
        None,
        "(has to be there)",
        '["br0", "br1"]',
        'The bridges that the rule speaks of; `"*"` for every bridge. An allow counts for the name that '
        "`ip link` prints; a deny also for the alternative name that was asked for.",
        scopes=(ALLOW, DENY),
    ),
    Setting(
        "users",
        _ACCOUNTS,
        None,
        "everyone",
        '["alice", 1000, "2000-2999"]',
        "The users that the rule speaks of. With `groups`, whoever is among the users or in one of the groups.",
        scopes=(ALLOW, DENY),
    ),
    Setting(
        "groups",
        _ACCOUNTS,
        None,
        "everyone",
        '["students", 100]',
        "The groups whose members the rule speaks of: those that the process that asks is in, "
        "as `id` prints them. Who was added to a group has to log in anew.",
        scopes=(ALLOW, DENY),
    ),
    Setting(
        "expires",
        Kind("date", values.day),
        None,
        "never",
        "2027-01-31",
        "The last day on which the rule counts, in the host's local time.",
    ),
    Setting(
        "max_ports",
        _COUNT,
        None,
        "no limit",
        "4",
        "How many ports that this rule has granted one user may have at a time, on all its bridges together.",
        unit="ports",
    ),
    Setting(
        "max_ports_total",
        _COUNT,
        None,
        "no limit",
        "100",
        "How many ports that this rule has granted may be there at a time, of all users together.",
        unit="ports",
    ),
    Setting(
        "queues",
        Kind(f"number, 1 to {QUEUES_MAX}", values.integer(1, QUEUES_MAX)),
        1,
        "1",
        "4",
        "The most queues that one port may have.",
        unit="queues",
    ),
    Setting(
        "name",
        Kind("name with `%d` or `{uid}`", values.template),
        None,
        "`tap%d`",
        '"vm%d"',
        "The interface's name: `%d` becomes a free number, `{uid}` the caller's uid. Without `%d` the rule "
        "must not give more than one port of that name: `max_ports_total = 1`, or `{uid}` and `max_ports = 1`.",
    ),
    Setting(
        "mtu",
        Kind(f"number, {MTU_MIN} to {MTU_MAX}", values.integer(MTU_MIN, MTU_MAX)),
        None,
        "the bridge's",
        "1400",
        "The port's MTU; not above the bridge's.",
        unit="bytes",
    ),
    Setting(
        "vlan",
        Kind("VLAN id, 1 to 4094", values.integer(values.VLAN_MIN, values.VLAN_MAX)),
        None,
        "as the bridge has it",
        "20",
        "What the guest sends untagged is in this VLAN, and what it receives of it has no tag. "
        "The bridge has to filter VLANs.",
    ),
    Setting(
        "trunk",
        Kind("VLAN id or range; or a list of them", values.vlan_ids),
        (),
        "none",
        '[30, "40-49"]',
        "The VLANs that the guest may use with a tag. Without `vlan` beside it, frames without a tag are dropped. "
        "The bridge has to filter VLANs.",
    ),
    Setting(
        "isolated",
        _BOOLEAN,
        False,
        "false",
        "true",
        "No traffic to other isolated ports of the bridge; the host and the uplink stay in reach.",
    ),
    Setting(
        "macs",
        Kind("MAC address, or a list of them", values.macs),
        (),
        "any",
        '["52:54:00:12:34:50"]',
        "The only source MAC addresses that are let through. None may begin with fe: those of a bridge's ports do.",
    ),
    Setting(
        "addresses",
        Kind("address or network; or a list of them", values.networks),
        (),
        "any",
        '["10.0.0.0/24", "2001:db8::/64"]',
        "The only source addresses that are let through: in IPv4 and ARP, in IPv6 and its neighbour discovery. "
        "A family that has no entry is closed.",
    ),
    Setting(
        "guards",
        Kind(f"word of {', '.join(GUARDS)}; or a list of them", values.words(*GUARDS)),
        frozenset(),
        "none",
        '["bpdu", "ra"]',
        "What the guest can't send: `bpdu`, what switches listen to (spanning tree, LACP, LLDP, MVRP); "
        "`dhcp-server`, answers of a DHCP or DHCPv6 server; "
        "`ra`, what only IPv6 routers send; `vlan-tags`, frames with a VLAN tag.",
    ),
    Setting(
        "rate_to_guest",
        _RATE,
        None,
        "no limit",
        '"100mbit"',
        "The most that the guest receives.",
        unit="bit/s",
    ),
    Setting(
        "rate_from_guest",
        _RATE,
        None,
        "no limit",
        '"12.5mbit"',
        "The most that the guest sends.",
        unit="bit/s",
    ),
    Setting(
        "learning",
        _BOOLEAN,
        True,
        "true",
        "false",
        "The bridge learns the guest's MAC addresses from what it sends.",
    ),
    Setting(
        "unicast_flood",
        _BOOLEAN,
        True,
        "true",
        "false",
        "The guest receives frames for MAC addresses that the bridge does not know.",
    ),
    Setting(
        "other_network_namespaces",
        _BOOLEAN,
        False,
        "false",
        "true",
        "Callers in another network namespace than the broker's may use the bridges of the broker's.",
    ),
    Setting(
        "vhost",
        _BOOLEAN,
        False,
        "false",
        "true",
        "Fds of `/dev/vhost-net` come with a port, if they are asked for (`qbhelperctl run --vhost`): the host's "
        "kernel moves the frames, not QEMU. Not with settings that look at frames: they could be got round.",
    ),
    Setting(
        "persistent",
        _BOOLEAN,
        False,
        "false",
        "true",
        "Users may have TAPs that stay when no program has them open (`qbhelperctl tap create`), for programs that "
        "open one by its name. With `max_ports`, and not with settings that look at frames: they could be got round.",
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


def names_in(scope: str) -> tuple[str, ...]:
    """Return the names of the settings that may stand in `scope`, in the order of the table."""
    return tuple(setting.name for setting in SETTINGS if scope in setting.scopes)
