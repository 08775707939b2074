# SPDX-License-Identifier: GPL-2.0-or-later
"""The bridge's flags of a port, and its MTU, at packet level."""

from collections.abc import Iterator

import pytest

from qbhelper.errors import UnsupportedError
from qbhelper.policy.port import PortSettings
from tests.support import frames, lan, left, world
from tests.support.frames import OTHER_MAC, OWN_MAC
from tests.support.lan import Lan

ISOLATED = PortSettings(isolated=True)


def say(words: str, *, source: bytes = OWN_MAC, destination: bytes = frames.BROADCAST, size: int = 60) -> bytes:
    """A frame that can be told from others."""
    return frames.ethernet(0x88B5, words.encode().ljust(size - 14, b"\0"), source=source, destination=destination)


@pytest.fixture
def net() -> Iterator[Lan]:
    """A LAN."""
    with lan.lan() as made:
        yield made


def test_isolated_ports_do_not_hear_each_other_and_hear_all_others(net: Lan) -> None:
    """Both ways; the host, the uplink and ports that are not isolated stay in reach, both ways."""
    with lan.port_on(net.bridge, ISOLATED) as one, lan.port_on(net.bridge, ISOLATED) as two:
        assert (left.flags(one.name)["isolated"], left.flags(two.name)["isolated"]) == (True, True)
        one.send(say("one"))
        two.send(say("two", source=OTHER_MAC))
        for place in net.observers:
            place.until(say("one"))
            place.until(say("two", source=OTHER_MAC))
        net.uplink.send(say("uplink", source=OTHER_MAC))
        net.neighbour.send(say("neighbour", source=OTHER_MAC))
        for place in (one, two):
            assert place.until(say("uplink", source=OTHER_MAC))[:-1] == []
            assert place.until(say("neighbour", source=OTHER_MAC))[1:-1] == []


def test_an_isolated_port_is_not_found_by_unicast_either(net: Lan) -> None:
    """What is sent to the very MAC of an isolated port by another one does not come."""
    with lan.port_on(net.bridge, ISOLATED) as one, lan.port_on(net.bridge, ISOLATED) as two:
        one.send(say("here I am"))
        two.send(say("to you", source=OTHER_MAC, destination=OWN_MAC))
        net.uplink.send(say("last", destination=OWN_MAC, source=bytes.fromhex("525400000001")))
        assert one.until(say("last", destination=OWN_MAC, source=bytes.fromhex("525400000001")))[:-1] == []


def test_without_learning_the_bridge_knows_no_mac_of_the_guest(net: Lan) -> None:
    """Nothing of what it sends enters the forwarding database."""
    with lan.port_on(net.bridge, PortSettings(learning=False)) as guest, lan.port_on(net.bridge) as other:
        assert left.flags(guest.name)["learning"] is False
        guest.send(say("guest"))
        other.send(say("other", source=OTHER_MAC))
        net.uplink.until(say("other", source=OTHER_MAC))
        assert left.entries(net.bridge, OWN_MAC) == []
        assert [entry[0] for entry in left.entries(net.bridge, OTHER_MAC)] == [other.name]


def test_without_flood_the_guest_receives_nothing_for_unknown_macs(net: Lan) -> None:
    """What is for everybody comes, and what is for it; others get what the bridge does not know the place of."""
    with lan.port_on(net.bridge, PortSettings(unicast_flood=False)) as guest:
        assert left.flags(guest.name)["flood"] is False
        guest.send(say("here I am"))
        net.uplink.send(say("unknown", destination=OTHER_MAC, source=bytes.fromhex("525400000001")))
        net.uplink.send(say("known", destination=OWN_MAC, source=bytes.fromhex("525400000001")))
        net.uplink.send(say("all", source=bytes.fromhex("525400000001")))
        net.neighbour.until(say("unknown", destination=OTHER_MAC, source=bytes.fromhex("525400000001")))
        assert [
            frame[14:20].rstrip(b"\0") for frame in guest.until(say("all", source=bytes.fromhex("525400000001")))
        ] == [
            b"known",
            b"all",
        ]


def test_a_new_port_has_none_of_the_settings_of_the_one_before(net: Lan) -> None:
    """Of the same name, in the same place: nothing is in force that was not asked for."""
    before = left.everything()
    with lan.port_on(net.bridge, PortSettings(isolated=True, learning=False, rate_to_guest=10**7)) as guest:
        name = guest.name
        assert left.qdiscs(name) == {"tbf"}
    assert left.everything() == before
    with lan.port_on(net.bridge) as guest:
        assert guest.name == name
        flags = left.flags(name)
        assert [flags[flag] for flag in ("isolated", "learning", "flood", "locked")] == [False, True, True, False]
        assert "tbf" not in left.qdiscs(name)


# MTU -----------------------------------------------------------------------------------------------------------------


TOO_LARGE = 1400 + 4 + 1
"""The bridge leaves room for a VLAN tag, also in frames that have none (is_skb_forwardable() in net/core/dev.c)."""


def set_mtu(bridge: str, mtu: int) -> None:
    """Set a bridge's MTU: then it keeps it, whatever its ports have."""
    world.run("ip", "link", "set", bridge, "mtu", str(mtu - 1))
    world.run("ip", "link", "set", bridge, "mtu", str(mtu))


def test_a_port_with_a_smaller_mtu_receives_no_larger_frames(net: Lan) -> None:
    """The bridge keeps its MTU, if it was told what it is."""
    set_mtu(net.bridge, 1500)
    with lan.port_on(net.bridge, PortSettings(mtu=1400)) as guest:
        links = world.links()
        assert (links[guest.name]["mtu"], links[net.bridge]["mtu"]) == (1400, 1500)
        net.uplink.send(say("too large", size=14 + TOO_LARGE))
        net.uplink.send(say("fits", size=14 + 1400))
        assert guest.until(say("fits", size=14 + 1400)) == [say("fits", size=14 + 1400)]
        net.neighbour.until(say("too large", size=14 + TOO_LARGE))


def test_an_mtu_above_the_bridges_is_refused(net: Lan) -> None:
    """Before anything is attached: frames of that size could not leave the bridge."""
    with pytest.raises(UnsupportedError) as refusal, lan.port_on(net.bridge, PortSettings(mtu=1600)):
        pass
    assert str(refusal.value) == (
        "`mtu' 1600 is above that of bridge `br0', which is 1500; "
        "let the rule have less, or the bridge and all that is on it more"
    )


def test_an_mtu_that_the_bridge_would_follow_is_refused(net: Lan) -> None:
    """A bridge has the MTU of its smallest port until it is told another: a guest's would be the host's."""
    with pytest.raises(UnsupportedError) as refusal, lan.port_on(net.bridge, PortSettings(mtu=1400)):
        pass
    assert str(refusal.value) == (
        "`mtu' 1400 would become that of bridge `br0' and the host as well: "
        "until a bridge's MTU is set, it is that of its smallest port; "
        "as root: ip link set br0 mtu 1400 && ip link set br0 mtu 1500"
    )
    assert world.links()[net.bridge]["mtu"] == 1500
    for mtu in ("1400", "1500"):  # what it says to do
        world.run("ip", "link", "set", net.bridge, "mtu", mtu)
    with lan.port_on(net.bridge, PortSettings(mtu=1400)) as guest:
        links = world.links()
        assert (links[guest.name]["mtu"], links[net.bridge]["mtu"]) == (1400, 1500)
