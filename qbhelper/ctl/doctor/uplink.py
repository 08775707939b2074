# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a bridge leads: through which of its ports frames leave the host, and what else could be one."""

from collections.abc import Sequence

from qbhelper.ctl.doctor import sysfs
from qbhelper.ctl.doctor.finding import Finding, State, listed, word
from qbhelper.errors import printable
from qbhelper.kernel.addresses import interfaces_with_addresses
from qbhelper.kernel.overview import Seen

STATION = "uplink"
_KINDS = (b"", b"bond", b"team", b"veth", b"vlan")
"""Of interfaces that could lead out: hardware has none, and a veth is what a container has for it."""
_ARPHRD_ETHER = "1"


def of(bridge: Seen, ports: Sequence[Seen], every: Sequence[Seen]) -> Finding:
    """Say whether the bridge has a port that leads out, with a carrier.  every: all interfaces.  Raises KernelError."""
    ways_out = [port for port in ports if port.link.kind != b"tun"]
    if not ways_out:
        return _isolated(bridge, every)
    name, outs = printable(bridge.link.name), _names(ways_out)
    with_carrier = [port for port in ways_out if sysfs.number(port.link, "carrier") == 1]
    if with_carrier:
        return Finding(STATION, State.OK, f"{name} leads out by {_names(with_carrier)}")
    down = next((port for port in ways_out if not port.link.up), None)
    if down is not None:
        what = f"{name} leads out by {outs}, and {printable(down.link.name)} is down"
        return Finding(STATION, State.PROBLEM, what, f"ip link set dev {word(down.link.name)} up")
    return Finding(
        STATION, State.PROBLEM, f"{name} leads out by {outs}, without a carrier: look at the cable, or the other end"
    )


def _isolated(bridge: Seen, every: Sequence[Seen]) -> Finding:
    """Say of a bridge with nothing but guests on it what they reach: for many that is as it should be."""
    name = printable(bridge.link.name)
    addressed = interfaces_with_addresses()
    free = [each for each in every if _could_lead_out(each)]
    wireless = [each for each in free if sysfs.is_wireless(each.link)]
    # It gives each frame the address that it has joined with, so the kernel lets it be no port (IFF_DONT_BRIDGE).
    note = f" ({_names(wireless)} can't be one: it is Wi-Fi)" if wireless else ""
    if bridge.link.index in addressed:
        what = f"{name} has none{note}: guests reach each other and this host, others as far as it routes"
        return Finding(STATION, State.OK, what)
    what = f"{name} has none{note} and no IP address: guests reach each other, and nobody else"
    unused = [each for each in free if each not in wireless and each.link.index not in addressed]
    if len(unused) == 1:
        remedy = f"ip link set dev {word(unused[0].link.name)} up master {word(bridge.link.name)}"
        return Finding(STATION, State.PROBLEM, what, remedy)
    if unused:
        hint = f"make one of {_names(unused)} a port of it (ip link set dev NAME up master {name})"
    else:
        hint = "give it an address (ip address add), and guests reach this host"
        wired = [each for each in free if each not in wireless]
        if wired:
            hint += f"; or make {_names(wired)} a port of it, whose addresses have to be the bridge's then"
    return Finding(STATION, State.PROBLEM, f"{what}; {hint}")


def _could_lead_out(each: Seen) -> bool:
    return each.link.kind in _KINDS and not each.link.master and sysfs.read(each.link, "type") == _ARPHRD_ETHER


def _names(interfaces: Sequence[Seen]) -> str:
    return listed([each.link.name for each in interfaces])
