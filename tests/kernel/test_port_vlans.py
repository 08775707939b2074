# SPDX-License-Identifier: GPL-2.0-or-later
"""`vlan` and `trunk`: which VLANs a guest is in, at packet level."""

from collections.abc import Iterator

import pytest

from qbhelper.errors import UnsupportedError
from qbhelper.policy.port import PortSettings
from tests.kernel.test_port_flags import say
from tests.support import frames, full_kernel, lan, left, world
from tests.support.frames import DOT1AD, DOT1Q, OTHER_MAC, OWN_MAC, Tag
from tests.support.lan import Lan

pytestmark = full_kernel.marks()

ACCESS = PortSettings(vlan=20)
BOTH = PortSettings(vlan=20, trunk=(30, 31, 32, 40))
TRUNK = PortSettings(trunk=(30, 40))
UNTAGGED = {"PVID", "Egress Untagged"}


@pytest.fixture
def net() -> Iterator[Lan]:
    """A LAN with VLANs: all with tags at the uplink, but 1, the bridge's own, and 50 there without."""
    with lan.lan(filters_vlans=True, uplink=["vid 20-40", "vid 50 untagged"]) as made:
        yield made


def tagged(words: str, *tags: Tag, source: bytes = OWN_MAC) -> bytes:
    """A frame with these tags."""
    return frames.ethernet(0x88B5, words.encode().ljust(46, b"\0"), source=source, tags=tags)


def of(vlan: int) -> Tag:
    """The tag of a VLAN."""
    return DOT1Q, vlan


def test_a_port_is_in_its_vlans_and_in_no_other(net: Lan) -> None:
    """Not in that which the bridge puts every port in, either."""
    before = left.everything()
    for settings, vlans in (
        (ACCESS, {20: UNTAGGED}),
        (BOTH, {20: UNTAGGED, 30: set(), 31: set(), 32: set(), 40: set()}),
        (TRUNK, {30: set(), 40: set()}),
        (PortSettings(vlan=1), {1: UNTAGGED}),
        (PortSettings(vlan=4094, trunk=tuple(range(1, 4094))), {4094: UNTAGGED, **{n: set() for n in range(1, 4094)}}),
    ):
        with lan.port_on(net.bridge, settings) as guest:
            assert left.vlans(guest.name) == vlans
        assert left.everything() == before


def test_an_access_port_speaks_without_tags(net: Lan) -> None:
    """At the uplink its frames have the tag of the VLAN; other VLANs are not heard, and can't be spoken to."""
    with lan.port_on(net.bridge, ACCESS) as guest:
        for tags in ([of(30)], [of(20), of(30)], [(DOT1AD, 30)], [(DOT1AD, 20), of(30)], [(0x9100, 30)]):
            guest.send(tagged("wrong", *tags))
        guest.send(say("right"))
        assert net.uplink.until(tagged("right", of(20)))[:-1] == []
        net.uplink.send(tagged("other", of(30), source=OTHER_MAC))
        net.uplink.send(say("without", source=OTHER_MAC))
        net.uplink.send(tagged("ours", of(20), source=OTHER_MAC))
        assert guest.until(say("ours", source=OTHER_MAC))[:-1] == []


def test_a_trunk_speaks_with_the_tags_of_its_vlans(net: Lan) -> None:
    """Each VLAN comes and goes with its tag; without a tag there is none to be in."""
    with lan.port_on(net.bridge, TRUNK) as guest:
        for words, tags in (
            ("not in it", [of(31)]),
            ("no tag", []),
            ("no vlan", [of(0)]),
            ("of another kind", [(DOT1AD, 30)]),
            ("two", [of(30), of(31)]),
            ("two of two kinds", [of(30), (DOT1AD, 31)]),
        ):
            guest.send(tagged(words, *tags))
        guest.send(tagged("right", of(40)))
        assert net.uplink.until(tagged("right", of(40)))[:-1] == []
        net.uplink.send(tagged("other", of(31), source=OTHER_MAC))
        net.uplink.send(tagged("ours", of(30), source=OTHER_MAC))
        assert guest.until(tagged("ours", of(30), source=OTHER_MAC))[:-1] == []


def test_a_tag_within_a_tag_does_not_hop(net: Lan) -> None:
    """Where the outer VLAN leaves without its tag, the inner one would be the one that counts."""
    with lan.port_on(net.bridge, PortSettings(vlan=20, trunk=(50,))) as guest:
        guest.send(tagged("hop", of(50), of(30)))
        guest.send(tagged("last", of(50)))
        assert net.uplink.until(tagged("last"))[:-1] == []


def test_a_port_without_tags_beside_a_trunk(net: Lan) -> None:
    """`vlan` and `trunk` together: without a tag it is the one, with a tag the others."""
    with lan.port_on(net.bridge, BOTH) as guest:
        guest.send(say("plain"))
        guest.send(tagged("thirty", of(30)))
        net.uplink.until(tagged("thirty", of(30)))
        assert len(net.uplink.seen) == 2
        net.uplink.send(tagged("twenty", of(20), source=OTHER_MAC))
        net.uplink.send(tagged("forty", of(40), source=OTHER_MAC))
        seen = guest.until(tagged("forty", of(40), source=OTHER_MAC))
        assert [frame[12:14] for frame in seen] == [b"\x88\xb5", b"\x81\x00"]


def test_guests_of_different_vlans_do_not_hear_each_other(net: Lan) -> None:
    """Even if one sends to the other's MAC."""
    with lan.port_on(net.bridge, ACCESS) as one, lan.port_on(net.bridge, PortSettings(vlan=30)) as two:
        two.send(say("I am here", source=OTHER_MAC))
        one.send(say("to you", destination=OTHER_MAC))
        one.send(say("to all"))
        net.uplink.send(tagged("last", of(30), source=bytes.fromhex("525400000001")))
        assert two.until(tagged("last", source=bytes.fromhex("525400000001")))[:-1] == []


@pytest.mark.parametrize(("settings", "setting"), [(ACCESS, "vlan"), (BOTH, "vlan"), (TRUNK, "trunk")])
def test_a_bridge_without_filtering_is_refused(settings: PortSettings, setting: str) -> None:
    """It would pass all VLANs on, so the port would not be what the rule says."""
    with lan.lan() as net:
        with pytest.raises(UnsupportedError) as refusal, lan.port_on(net.bridge, settings):
            pass
        assert str(refusal.value) == (
            f"`{setting}' needs a bridge that filters VLANs, and `br0' does not; "
            "as root: ip link set br0 type bridge vlan_filtering 1"
        )
        world.run(*["ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1"])
        with lan.port_on(net.bridge, settings):
            pass
