# SPDX-License-Identifier: GPL-2.0-or-later
"""A bridge that filters VLANs, which takes a kernel with CONFIG_BRIDGE_VLAN_FILTERING."""

import json

import pytest

from tests.kernel.ways import Way
from tests.support import world

pytestmark = pytest.mark.inside("debian13-vm")


@pytest.fixture
def vlan_aware(br0: str) -> str:
    """The bridge that the access list allows, now with filtering on."""
    world.run("ip", "link", "set", br0, "type", "bridge", "vlan_filtering", "1")
    return br0


def test_a_plain_grant_is_a_port_of_the_default_vlan(setuid: Way, vlan_aware: str) -> None:
    """As a port of QEMU's own helper is: the bridge's default VLAN, untagged, and no other."""
    with setuid.call() as outcome:
        assert outcome.granted, outcome
        (port,) = json.loads(world.run("bridge", "-j", "vlan", "show", "dev", outcome.tap().name))
    assert port["vlans"] == [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}]
