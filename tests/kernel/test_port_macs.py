# SPDX-License-Identifier: GPL-2.0-or-later
"""`macs`: the bridge knows where these addresses are, and that nothing else comes from there."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from qbhelper.errors import Taken
from qbhelper.policy.port import PortSettings
from tests.kernel.test_port_flags import say
from tests.support import full_kernel, lan, left, world
from tests.support.frames import OTHER_MAC, OWN_MAC
from tests.support.lan import Lan, Port

pytestmark = full_kernel.marks()

SECOND_MAC = bytes.fromhex("525400123451")
MACS = PortSettings(macs=(OWN_MAC, SECOND_MAC))
SILENT = PortSettings(macs=(OWN_MAC,), learning=False, unicast_flood=False)


@pytest.fixture
def net() -> Iterator[Lan]:
    """A LAN."""
    with lan.lan() as made:
        yield made


def holders(bridge: str, mac: bytes) -> set[tuple[str, str, bool]]:
    """Which ports have a MAC, and how: a bridge enters it in VLANs as well, though it does not look there."""
    entries = left.entries(bridge, mac)
    assert 0 in [vlan for _, vlan, _, _ in entries]
    return {(port, state, sticky) for port, _, state, sticky in entries}


def held_by(guest: Port) -> set[tuple[str, str, bool]]:
    """How the bridge has a MAC that a port holds."""
    return {(guest.name, "static", True)}


def test_the_macs_are_held_and_the_port_is_locked(net: Lan) -> None:
    """All of them, until the port ends; nothing of them is left then."""
    before = left.everything()
    with lan.port_on(net.bridge, MACS) as guest:
        assert left.flags(guest.name)["locked"] is True
        for mac in MACS.macs:
            assert holders(net.bridge, mac) == held_by(guest)
    assert left.everything() == before


def test_nobody_takes_a_mac_away_by_sending_from_it(net: Lan) -> None:
    """What is sent to it goes on to its port, whoever else uses it as a source."""
    with lan.port_on(net.bridge, MACS) as guest:
        net.uplink.send(say("mine", source=OWN_MAC))
        net.neighbour.send(say("mine", source=SECOND_MAC))
        net.uplink.until(say("mine", source=SECOND_MAC))
        for mac in MACS.macs:
            assert holders(net.bridge, mac) == held_by(guest)
            net.uplink.send(say("to you", source=OTHER_MAC, destination=mac))
            assert guest.until(say("to you", source=OTHER_MAC, destination=mac))


def test_a_mac_that_was_heard_elsewhere_moves_to_the_port(net: Lan) -> None:
    """As when the guest was behind the uplink before."""
    net.uplink.send(say("here", source=OWN_MAC))
    net.neighbour.until(say("here", source=OWN_MAC))
    assert [entry[0] for entry in left.entries(net.bridge, OWN_MAC)] == ["uplink"]
    with lan.port_on(net.bridge, MACS) as guest:
        assert holders(net.bridge, OWN_MAC) == held_by(guest)


def test_a_guest_is_found_where_nothing_is_learned_and_nothing_flooded(net: Lan) -> None:
    """It need not have said anything, and what is for others does not come."""
    with lan.port_on(net.bridge, SILENT) as guest:
        net.uplink.send(say("to nobody", source=OTHER_MAC, destination=SECOND_MAC))
        net.uplink.send(say("to you", source=OTHER_MAC, destination=OWN_MAC))
        assert guest.until(say("to you", source=OTHER_MAC, destination=OWN_MAC))[:-1] == []


def test_a_mac_that_another_port_holds_is_refused(net: Lan) -> None:
    """By name, and the first keeps it; when it has ended, the next may have it."""
    with lan.port_on(net.bridge, MACS) as guest:
        with pytest.raises(Taken) as refusal, lan.port_on(net.bridge, SILENT):
            pass
        assert str(refusal.value) == (
            f"MAC address 52:54:00:12:34:50 of `macs' is taken by `{guest.name}'; "
            "one port of bridge `br0' at a time can have it"
        )
        assert holders(net.bridge, OWN_MAC) == held_by(guest)
    with lan.port_on(net.bridge, SILENT) as guest:
        assert holders(net.bridge, OWN_MAC) == held_by(guest)


def test_the_hosts_own_mac_is_refused(net: Lan) -> None:
    """What is for the host would go to the guest."""
    mac = bytes.fromhex(str(world.links()[net.bridge]["address"]).replace(":", ""))
    with pytest.raises(Taken, match="is taken by"), lan.port_on(net.bridge, PortSettings(macs=(mac,))):
        pass


def test_of_ports_that_want_a_mac_at_once_one_has_it(net: Lan) -> None:
    """And all others are refused; none believes that it has what another took from it."""

    def attempt(undo: ExitStack) -> Port | None:
        try:
            return undo.enter_context(lan.port_on(net.bridge, SILENT))
        except Taken:
            return None

    with ExitStack() as undo, ThreadPoolExecutor(6) as pool:
        ports = [port for port in pool.map(lambda _: attempt(undo), range(6)) if port]
        assert len(ports) == 1
        assert holders(net.bridge, OWN_MAC) == held_by(ports[0])


def test_where_vlans_are_filtered_a_mac_is_held_in_each_of_the_ports(net: Lan) -> None:
    """The bridge looks for a MAC in the VLAN that a frame is in."""
    world.run("ip", "link", "set", net.bridge, "type", "bridge", "vlan_filtering", "1")
    for settings, vlans in (
        (PortSettings(macs=(OWN_MAC,)), [1]),
        (PortSettings(macs=(OWN_MAC,), vlan=20, trunk=(30, 31)), [20, 30, 31]),
    ):
        with lan.port_on(net.bridge, settings) as guest:
            assert left.entries(net.bridge, OWN_MAC) == [(guest.name, vlan, "static", True) for vlan in vlans]
