# SPDX-License-Identifier: GPL-2.0-or-later
"""All settings of a port at once: each holds beside the others."""

from collections.abc import Iterator

import pytest

from qbhelper.policy.port import PortSettings
from tests.kernel.test_port_flags import say, set_mtu
from tests.kernel.test_port_rates import TOLERANCE, measure
from tests.support import frames, full_kernel, lan, left, wiles, world
from tests.support.frames import DOT1Q, OTHER_MAC, OWN_MAC
from tests.support.lan import Lan, Port

pytestmark = full_kernel.marks()

RATE = 4_000_000
ALL = PortSettings(
    mtu=1400,
    vlan=20,
    isolated=True,
    macs=(OWN_MAC,),
    addresses=wiles.ADDRESSES.addresses,
    guards=frozenset({"bpdu", "dhcp-server", "ra", "vlan-tags"}),
    rate_to_guest=RATE,
    rate_from_guest=RATE,
    learning=False,
    unicast_flood=False,
)


@pytest.fixture
def net() -> Iterator[Lan]:
    """A LAN with VLANs, all with tags at the uplink."""
    with lan.lan(filters_vlans=True, uplink=["vid 20-30"]) as made:
        set_mtu(made.bridge, 1500)
        yield made


@pytest.fixture
def guest(net: Lan) -> Iterator[Port]:
    """A port with all settings."""
    with lan.port_on(net.bridge, ALL) as made:
        yield made


def at_uplink(frame: bytes) -> bytes:
    """A frame of the guest's as it leaves the bridge."""
    return frame[:12] + DOT1Q.to_bytes(2) + (20).to_bytes(2) + frame[12:]


def test_all_is_there_and_nothing_is_left(net: Lan) -> None:
    """As iproute2 shows it."""
    before = left.everything()
    with lan.port_on(net.bridge, ALL) as guest:
        flags = left.flags(guest.name)
        assert [flags[name] for name in ("isolated", "locked", "learning", "flood")] == [True, True, False, False]
        assert left.vlans(guest.name) == {20: {"PVID", "Egress Untagged"}}
        assert left.entries(net.bridge, OWN_MAC) == [(guest.name, 20, "static", True)]
        assert left.qdiscs(guest.name) == {"tbf", "ingress"}
        assert sorted(left.filters(guest.name)) == [1, 2, 3]
        assert sorted(left.actions()) == ["gact", "police"]
        assert world.links()[guest.name]["mtu"] == 1400
    assert left.everything() == before


def test_what_is_honest_is_seen_and_what_is_not_is_seen_nowhere(net: Lan, guest: Port) -> None:
    """Each wile fails as it does under its own setting."""
    cases = sorted((case for case in wiles.CASES if case.sieve == wiles.EVERYTHING), key=lambda case: case.passes)
    for case in cases:
        guest.send(case.frame)
    seen = net.uplink.until(at_uplink(cases[-1].frame))
    assert seen == [at_uplink(case.frame) for case in cases if case.passes]


def test_it_is_isolated_and_in_its_vlan(net: Lan, guest: Port) -> None:
    """Another isolated port of the same VLAN does not hear it, one that is not isolated does."""
    with (
        lan.port_on(net.bridge, PortSettings(vlan=20, isolated=True)) as isolated,
        lan.port_on(net.bridge, PortSettings(vlan=20)) as open_,
        lan.port_on(net.bridge, PortSettings(vlan=21)) as elsewhere,
    ):
        guest.send(wiles.ip4(wiles.OUR4))
        open_.until(wiles.ip4(wiles.OUR4))
        for vlan, words in ((20, "twenty"), (21, "twenty-one")):
            frame = say(words, source=OTHER_MAC)
            net.uplink.send(frame[:12] + DOT1Q.to_bytes(2) + vlan.to_bytes(2) + frame[12:])
        assert isolated.until(say("twenty", source=OTHER_MAC))[:-1] == []
        assert elsewhere.until(say("twenty-one", source=OTHER_MAC))[:-1] == []
        assert guest.until(say("twenty", source=OTHER_MAC))[:-1] == []


def test_it_receives_and_sends_at_its_rate(net: Lan, guest: Port) -> None:
    """What is dropped for another reason does not come through, whatever the rate."""
    receives = frames.ethernet(frames.IPV4, frames.ipv4("10.0.0.9", "10.0.0.5", bytes(1300)), source=OTHER_MAC)
    assert measure(net.uplink, guest, at_uplink(OWN_MAC + receives[6:])) == pytest.approx(RATE, rel=TOLERANCE)
    sends = frames.ethernet(frames.IPV4, frames.ipv4(wiles.OUR4, "10.0.0.9", bytes(1300)))
    assert measure(guest, net.uplink, sends) == pytest.approx(RATE, rel=TOLERANCE)
