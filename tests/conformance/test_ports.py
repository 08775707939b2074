# SPDX-License-Identifier: GPL-2.0-or-later
"""The port that ours makes is the port that the original makes, to the last flag that the kernel shows."""

import itertools

import pytest

from tests.conformance.comparison import PLAIN, ROOT, Case
from tests.conformance.differences import compare
from tests.conformance.model import Caller
from tests.conformance.trees import Tree
from tests.support import world
from tests.support.install import Privilege

pytestmark = [pytest.mark.conformance, pytest.mark.needs_root]

ALLOWED = Tree.of("allow br0\n")
WAYS = [
    pytest.param(Privilege.SETUID, PLAIN, id="setuid"),
    pytest.param(Privilege.FILE_CAPABILITY, PLAIN, id="file capability"),
    pytest.param(Privilege.SETUID, Caller(4294967294, 4294967294, (61300,)), id="setuid, largest uid"),
    pytest.param(Privilege.FILE_CAPABILITY, Caller(61236, 0, (0,)), id="file capability, group root"),
    pytest.param(Privilege.NONE, ROOT, id="root"),
    pytest.param(Privilege.SETUID, ROOT, id="setuid, by root"),
    pytest.param(Privilege.FILE_CAPABILITY, ROOT, id="file capability, by root"),
]


@pytest.mark.parametrize("vnet", [True, False], ids=["virtio header", "no virtio header"])
@pytest.mark.parametrize(("privilege", "caller"), WAYS)
def test_each_way_to_privilege_makes_the_same_port(privilege: Privilege, caller: Caller, vnet: bool) -> None:
    """Flags, MTU, fe: in the MAC, state, bridge, persistence: all alike, however privilege was come by."""
    with world.bridge():
        pair = compare(Case(ALLOWED, vnet=vnet, privilege=privilege, caller=caller))
    assert pair.ours.granted
    assert (pair.ours.port["first byte of the MAC"], pair.ours.port["bridge"]) == ("fe", "br0")


@pytest.mark.parametrize(("mtu", "up"), list(itertools.product([68, 1280, 1400, 1500, 9000, 65521], [True, False])))
def test_each_bridge_gets_the_same_port(mtu: int, up: bool) -> None:
    """The port has the bridge's MTU, and the bridge keeps it; a bridge that is down is no obstacle."""
    with world.bridge(mtu=mtu, up=up):
        pair = compare(Case(ALLOWED))
    assert pair.ours.granted
    assert pair.ours.port["mtu"] == pair.ours.port["MTU of the bridge"] == str(mtu)


def test_a_bridge_whose_mtu_no_tap_can_have_is_refused_by_both() -> None:
    """Above 65521 bytes the kernel gives a TAP no such MTU, and both say so."""
    with world.bridge(mtu=65535):
        pair = compare(Case(ALLOWED))
    assert pair.ours.stderr.startswith(b"failed to set mtu of device `tap0' to 65535: Invalid argument")


@pytest.mark.parametrize("options", ["vlan_filtering 1", "stp_state 1", "mcast_snooping 0", "group_fwd_mask 8"])
def test_a_bridge_with_options_gets_the_same_port(options: str) -> None:
    """What the bridge does with its ports is the administrator's; ours leaves it as the original does."""
    with world.bridge():
        try:
            world.run("ip", "link", "set", "br0", "type", "bridge", *options.split())
        except RuntimeError as error:
            # A kernel without the option has no such bridge to attach to.
            assert "not supported" in str(error)  # noqa: PT017
        assert compare(Case(ALLOWED)).ours.granted


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "not pinned"])
def test_the_mac_of_the_bridge_is_kept_or_lost_alike(pinned: bool) -> None:
    """With another port on the bridge, its MAC stays what it was while both TAPs come and go."""
    with world.bridge():
        if pinned:
            world.run("ip", "link", "set", "br0", "address", "02:00:00:00:00:b0")
        world.run("ip", "link", "add", "outside", "type", "veth", "peer", "name", "wire")
        try:
            world.run("ip", "link", "set", "outside", "master", "br0")
            before = world.links()["br0"]["address"]
            pair = compare(Case(ALLOWED))
            assert pair.ours.port["address of the bridge"] == pair.theirs.port["address of the bridge"] == before
        finally:
            world.run("ip", "link", "del", "outside")


def test_the_next_free_name_is_taken_by_both() -> None:
    """The kernel names the TAP: the lowest number that is free."""
    with world.bridge():
        for number in (0, 1, 3):
            world.run("ip", "tuntap", "add", f"tap{number}", "mode", "tap")
        try:
            assert compare(Case(ALLOWED)).ours.port["name"] == "tap2"
        finally:
            for number in (0, 1, 3):
                world.run("ip", "link", "del", f"tap{number}")
