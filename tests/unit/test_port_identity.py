# SPDX-License-Identifier: GPL-2.0-or-later
"""The 8 digits by which a lease remembers what its port may do: the same for the same, others for anything else."""

from ipaddress import ip_network

import pytest

from qbhelper.policy.port import PLAIN, PortSettings

SETTINGS: dict[str, object] = {
    "mtu": 1400,
    "vlan": 20,
    "trunk": (30, 31),
    "isolated": True,
    "macs": (b"\x52\x54\0\0\0\1",),
    "addresses": (ip_network("10.0.0.0/24"), ip_network("2001:db8::/64")),
    "guards": frozenset(("ra", "bpdu", "dhcp-server")),
    "rate_to_guest": 100,
    "rate_from_guest": 100,
    "learning": False,
    "unicast_flood": False,
}


def test_a_plain_port_has_none() -> None:
    """Nor has one that differs in its name alone: the name is no right."""
    assert PLAIN.identity is None
    assert PortSettings(name=b"vm%d").identity is None


def test_every_setting_counts() -> None:
    """One more, or another one, is another identity; two settings of one value are not taken for each other."""
    found = {PortSettings(**{word: value}).identity for word, value in SETTINGS.items()}  # type: ignore[arg-type]
    found.add(PortSettings(**SETTINGS).identity)  # type: ignore[arg-type]
    assert len(found) == len(SETTINGS) + 1
    assert None not in found
    assert set(SETTINGS) == set(PortSettings.__slots__) - {"name"}


@pytest.mark.parametrize("order", [("ra", "bpdu", "dhcp-server"), ("dhcp-server", "ra", "bpdu")])
def test_it_is_the_same_in_every_process(order: tuple[str, ...]) -> None:
    """Not by the order in which a set happens to be kept; the next broker compares it with an alias."""
    assert PortSettings(guards=frozenset(order)).identity == "4277f703"
