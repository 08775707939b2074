# SPDX-License-Identifier: GPL-2.0-or-later
"""The bridge itself: whether it is one, is up, forwards from the start, keeps its address, and has room."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from qbhelper.ctl import terms
from qbhelper.ctl.card import any_mac
from qbhelper.ctl.doctor import sysfs, uplink
from qbhelper.ctl.doctor.bridges import all_bridges, verdicts, wanted
from qbhelper.ctl.doctor.finding import Finding, State, Subject, listed, word
from qbhelper.ctl.output import counted
from qbhelper.errors import QbError, printable
from qbhelper.kernel import overview
from qbhelper.kernel.overview import Seen

STATION = "bridge"
PORTS_MAX = 1023
"""BR_MAX_PORTS in the kernel's net/bridge/br_private.h, of which number 0 is not given out."""
NET_ADDR_SET = 3
"""addr_assign_type of an interface whose MAC address somebody has set (linux/netdevice.h)."""
NO_STP, KERNEL_STP = 0, 1
"""stp_state of a bridge; 2 is a program's (linux/if_bridge.h, BR_*_STP)."""
LEAST_DELAY = 200
"""Hundredths of a second: the kernel takes no shorter forward_delay with STP (BR_MIN_FORWARD_DELAY)."""


def look(subject: Subject) -> Iterator[Finding]:
    """Say how things are with each bridge that guests of the person go to.  Raises QbError and OSError."""
    names = wanted(subject)
    if not names:
        remedy = "ip link add br0 type bridge && ip link set dev br0 up"
        yield Finding(STATION, State.PROBLEM, "there is no bridge in this network namespace", remedy)
    every = overview.look()
    for name in names:
        seen = next((each for each in every if each.link.name == name), None)
        if seen is None or seen.link.kind != b"bridge":
            yield _no_bridge(name, seen)
            continue
        ports = [each for each in every if each.link.master == seen.link.index]
        yield _itself(seen, ports)
        yield _delay(seen)
        yield _address(seen, ports)
        yield uplink.of(seen, ports, every)
        yield from _vlans(seen, subject)


def _no_bridge(name: bytes, seen: Seen | None) -> Finding:
    if seen is None:
        remedy = f"ip link add dev {word(name)} type bridge && ip link set dev {word(name)} up"
        what = f"there is no interface {printable(name)}"
        return Finding(STATION, State.PROBLEM, _with_others(what), remedy)
    kind = f"of kind {printable(seen.link.kind)}" if seen.link.kind else "a device of its own"
    return Finding(STATION, State.PROBLEM, _with_others(f"{printable(name)} is no Linux bridge, but {kind}"))


def _with_others(what: str) -> str:
    others = all_bridges()
    return f"{what}; the bridges here are: {listed(others)}" if others else what


def _itself(bridge: Seen, ports: Sequence[Seen]) -> Finding:
    name = printable(bridge.link.name)
    if not bridge.link.up:
        return Finding(STATION, State.PROBLEM, f"{name} is down", f"ip link set dev {word(bridge.link.name)} up")
    if len(ports) >= PORTS_MAX:
        what = f"all {PORTS_MAX} ports of {name} are taken: end some (qbhelperctl status), or use another bridge"
        return Finding(STATION, State.PROBLEM, what)
    room = PORTS_MAX - len(ports)
    what = f"{name} is a bridge, is up, and has room for {counted(room, 'more port')}"
    return Finding(STATION, State.OK, what)


def _delay(bridge: Seen) -> Finding:
    """Say how long a new port is mute: with STP it listens, and then learns, before it forwards (802.1D)."""
    name = printable(bridge.link.name)
    state, delay = (sysfs.number(bridge.link, f"bridge/{word}") for word in ("stp_state", "forward_delay"))
    if state is None or delay is None:
        return Finding("STP", State.UNKNOWN, f"{name} does not say whether it does STP")
    if state not in (NO_STP, KERNEL_STP):
        return Finding("STP", State.UNKNOWN, f"a program does STP for {name}, and says when a new port forwards")
    if state == NO_STP:
        return Finding("STP", State.OK, f"{name} does no STP: a new port forwards at once")
    mute = f"a new port of {name} is mute for {delay * 2 / 100:g} seconds"
    if delay <= LEAST_DELAY:
        return Finding("STP", State.OK, f"{mute}, as short as STP can be")
    what = f"{mute} (STP's forward delay, twice): a guest may give up its DHCP before"
    remedy = f"ip link set dev {word(bridge.link.name)} type bridge forward_delay {LEAST_DELAY}"
    return Finding("STP", State.PROBLEM, what, remedy)


def _address(bridge: Seen, ports: Sequence[Seen]) -> Finding:
    """Say whether a guest can change the MAC address of the host: an unset one is the lowest of the ports'."""
    name, mac = printable(bridge.link.name), terms.mac(bridge.link.address)
    how = sysfs.number(bridge.link, "addr_assign_type")
    if how is None:
        return Finding("address", State.UNKNOWN, f"the kernel does not say whether {name} keeps its MAC address")
    if how == NET_ADDR_SET:
        return Finding("address", State.OK, f"{name} keeps its MAC address, {mac}")
    what = f"{name} takes its MAC address from its ports: a guest that changes its TAP's can change the host's"
    # What a guest's TAP has, its holder has chosen, and what is left without any port is zero.
    is_to_be_kept = any(bridge.link.address) and not any(
        port.link.kind == b"tun" and port.link.address == bridge.link.address for port in ports
    )
    new = mac if is_to_be_kept else any_mac()
    return Finding("address", State.PROBLEM, what, f"ip link set dev {word(bridge.link.name)} address {new}")


def _vlans(bridge: Seen, subject: Subject) -> Iterator[Finding]:
    """Say whether the bridge tells VLANs apart, if the rule of this person's ports takes that."""
    with suppress(QbError):  # what the station of the verdict says
        for answer in verdicts(subject):
            port = answer.decision.terms.port
            is_this = answer.bridge is not None and answer.bridge.index == bridge.link.index
            if not (is_this and answer.decision.allowed and (port.vlan is not None or port.trunk)):
                continue
            name = printable(bridge.link.name)
            if bridge.interface.filters_vlans:
                yield Finding("VLANs", State.OK, f"{name} tells VLANs apart, as {answer.decision.place} needs it")
            elif not bridge.interface.vlan_protocol:
                what = f"{answer.decision.place} needs VLANs, of which this kernel's bridges know nothing"
                yield Finding("VLANs", State.PROBLEM, f"{what}: it lacks CONFIG_BRIDGE_VLAN_FILTERING")
            else:
                what = f"{answer.decision.place} puts ports into VLANs, which {name} does not tell apart"
                remedy = f"ip link set dev {word(bridge.link.name)} type bridge vlan_filtering 1"
                yield Finding("VLANs", State.PROBLEM, what, remedy)
