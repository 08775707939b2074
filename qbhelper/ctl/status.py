# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl status`: the bridges and their ports; of ours, whose they are, since when, and what goes through them.

The kernel is the database: a lease stands in the alias of its interface, where anyone can read it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from qbhelper import quota, sources
from qbhelper.ctl import people, terms
from qbhelper.ctl.holders import Holder, holders
from qbhelper.ctl.output import EXIT_YES, say, say_json
from qbhelper.errors import PolicyError, printable
from qbhelper.kernel import overview
from qbhelper.kernel.bridge_port import ISOLATED, LEARNING, LOCKED, PVID, UNICAST_FLOOD, UNTAGGED
from qbhelper.kernel.overview import Counted, Seen
from qbhelper.lease import Lease, lease_of
from qbhelper.policy.decision import Place

if TYPE_CHECKING:
    from qbhelper.policy.rules import Policy

LEASE, CLAIM, OTHER = "lease", "claim", "other"
"""What a port is: one that was granted, one that is being made for a rule with a quota, or none of ours."""

_FLAGS = {"isolated": (ISOLATED, False), "locked": (LOCKED, False), "learning": (LEARNING, True)} | {
    "unicast_flood": (UNICAST_FLOOD, True)
}
"""By the word for it, a flag of a port and what it is unless somebody sets it."""


class Port:
    """A port of a bridge, or a TAP of ours that is on none.

    what: LEASE, CLAIM or OTHER; uid: whose it is, None if that is not known; place: where the rule stands that granted
    it, None if that is not known; holders: the processes that have it open, as far as it is ours to know.
    """

    def __init__(self, seen: Seen, places: Mapping[str, Place], found: Mapping[bytes, list[Holder]]) -> None:
        self.seen = seen
        self.name = printable(seen.link.name)
        self.is_tap = seen.link.kind == b"tun"
        is_claim = self.is_tap and seen.link.name.startswith(quota.CLAIM)
        self.lease: Lease | None = lease_of(seen.link.kind, seen.link.alias)
        self.what = CLAIM if is_claim else LEASE if self.lease else OTHER
        self.uid = self.lease.uid if self.lease else quota.uid_of_claim(seen.link.name) if is_claim else None
        self.place = places.get(self.lease.rule or "") if self.lease else None
        self.holders: Sequence[Holder] = found.get(seen.link.name, []) if self.is_tap else []

    def flags(self) -> dict[str, bool]:
        """Return the flags of the port that say what it may do, by their words."""
        found = self.seen.interface.flags
        return {word: bool(found.get(flag, bytes([usual]))[0]) for word, (flag, usual) in _FLAGS.items()}

    def unusual_flags(self) -> list[str]:
        """Return in words what differs from a plain port."""
        flags = self.flags()
        return [word if flags[word] else f"no {word}" for word, (_, usual) in _FLAGS.items() if flags[word] != usual]

    def vlan(self) -> int | None:
        """Return the VLAN of what goes in and out without a tag; None if there is none."""
        vlans = self.seen.vlans or {}
        return next((vlan for vlan, flags in vlans.items() if flags & PVID and flags & UNTAGGED), None)

    def trunk(self) -> list[int]:
        """Return the other VLANs that the port is in."""
        return [vlan for vlan in sorted(self.seen.vlans or ()) if vlan != self.vlan()]


class Bridge:
    """A bridge and its ports, in the order in which they were made."""

    def __init__(self, seen: Seen, ports: Sequence[Port]) -> None:
        self.seen = seen
        self.name = printable(seen.link.name)
        self.ports = ports


class Picture:
    """All there is to show.  elsewhere: TAPs of ours that are on no bridge."""

    def __init__(self, bridges: Sequence[Bridge], elsewhere: Sequence[Port]) -> None:
        self.bridges = bridges
        self.elsewhere = elsewhere

    def ports(self) -> list[Port]:
        """Return all ports that are shown."""
        return [*(port for bridge in self.bridges for port in bridge.ports), *self.elsewhere]


Rates = Mapping[int, tuple[int, int]]
"""Of a port, by the index of its interface: bit/s from it, and to it."""


def run(*, as_json: bool, watching: bool) -> int:
    """Print how things are, or keep showing it.  Raises KernelError where the kernel does not tell."""
    if watching:
        from qbhelper.ctl import watch

        return watch.run(as_json=as_json)
    if as_json:
        say_json(as_json_has_it(take(places_of_host())))
        return EXIT_YES
    from qbhelper.ctl import drawing

    for line in drawing.drawn(take(places_of_host())):
        say(line)
    return EXIT_YES


def places_of_host() -> dict[str, Place]:
    """Return where the rules of this host's policy stand, by the identity that leases have of them, if we may."""
    policy: Policy | None = None
    with suppress(PolicyError):  # closed to us, or wrong: `check' says more, and the ports are there all the same
        policy = sources.read_policy()
    found: dict[str, Place] = {}
    for rule in policy.rules if policy else ():
        if rule.allow and rule.terms.rule is not None:
            found.setdefault(rule.terms.rule, rule.place)
    return found


def take(places: Mapping[str, Place]) -> Picture:
    """Look at the network, and at the processes.  Raises KernelError."""
    seen = overview.look()
    found = holders() if any(each.link.kind == b"tun" for each in seen) else {}
    bridges = {each.link.index: each for each in seen if each.link.kind == b"bridge"}
    ports = [Port(each, places, found) for each in seen if each.link.index not in bridges or each.link.master]
    return Picture(
        [
            Bridge(bridge, [port for port in ports if port.seen.link.master == index])
            for index, bridge in sorted(bridges.items(), key=lambda pair: pair[1].link.name)
        ],
        [port for port in ports if port.seen.link.master not in bridges and port.what != OTHER],
    )


# For programs: docs/qbhelperctl.md says what it means -------------------------------------------------------------


def as_json_has_it(picture: Picture, rates: Rates | None = None, *, with_traffic: bool = True) -> dict[str, object]:
    """Return all of it for a program; without traffic two of these differ only if something has changed."""
    rates = (rates or {}) if with_traffic else None
    return {
        "bridges": [
            {
                "name": bridge.name,
                "up": bridge.seen.link.up,
                "mtu": bridge.seen.link.mtu,
                "mac": terms.mac(bridge.seen.link.address),
                "filters_vlans": bridge.seen.interface.filters_vlans,
                "ports": [_port_as_json(port, rates) for port in bridge.ports],
            }
            for bridge in picture.bridges
        ],
        "elsewhere": [_port_as_json(port, rates) for port in picture.elsewhere],
    }


def _port_as_json(port: Port, rates: Rates | None) -> dict[str, object]:
    link = port.seen.link
    traffic: dict[str, object] = {}
    if rates is not None:
        rate = rates.get(link.index, (None, None))
        traffic["from_port"] = _counted_as_json(port.seen.from_port, rate[0])
        traffic["to_port"] = _counted_as_json(port.seen.to_port, rate[1])
    return {
        "name": port.name,
        "what": port.what,
        "kind": printable(link.kind) or None,
        "up": link.up,
        "mtu": link.mtu,
        "mac": terms.mac(link.address),
        "user": None if port.uid is None else {"uid": port.uid, "name": people.name_of(port.uid)},
        "lease": _lease_as_json(port, port.lease) if port.lease else None,
        "open": port.seen.is_open if port.is_tap else None,
        "processes": [
            {
                "pid": holder.pid,
                "program": holder.program,
                "machine": holder.machine,
                "other_network_namespace": holder.is_elsewhere,
            }
            for holder in port.holders
        ],
        "queues": link.queues if port.is_tap else None,
        "vlan": port.vlan(),
        "trunk": port.trunk(),
        **port.flags(),
        "rate_to_guest": port.seen.limits.to_guest,
        "rate_from_guest": port.seen.limits.from_guest,
        "frames_filtered": port.seen.limits.has_sieve,
        **traffic,
    }


def _lease_as_json(port: Port, lease: Lease) -> dict[str, object]:
    return {
        "id": lease.identity,
        "since": lease.since,
        "asked_by": lease.pid,
        "persistent": lease.persistent,
        "vhost": lease.vhost,
        "revoked": lease.revoked,
        "rule": lease.rule,
        "file": port.place.path if port.place else None,
        "line": port.place.line if port.place else None,
    }


def _counted_as_json(counted: Counted, rate: int | None) -> dict[str, object]:
    return {"bytes": counted.bytes, "packets": counted.packets, "dropped": counted.dropped, "rate": rate}
