# SPDX-License-Identifier: GPL-2.0-or-later
"""All the words by which QEMU can be told to ask a helper for a port lead to one that works."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import install, world
from tests.support.guest import Guest, Nic


@dataclass(frozen=True)
class Way:
    """A way to ask, and the bridge on which it must end."""

    words: str
    bridge: str = "br0"
    model: str = "virtio-net-pci"


WAYS = {
    "-netdev bridge": Way("-netdev bridge,id={id},br=br1,helper={helper} -device {model},netdev={id},mac={mac}", "br1"),
    "-netdev bridge without br=": Way("-netdev bridge,id={id},helper={helper} -device {model},netdev={id},mac={mac}"),
    "-netdev tap": Way("-netdev tap,id={id},br=br1,helper={helper} -device {model},netdev={id},mac={mac}", "br1"),
    "-nic bridge": Way("-nic bridge,br=br1,helper={helper},model={model},mac={mac}", "br1", "e1000"),
    # QEMU gives a helper with a space in it to the shell, and adds the words itself.
    "through the shell": Way("-nic bridge,br=br1,helper=exec${{IFS}}{helper}\t,model={model},mac={mac}", "br1"),
    # With --br= in it, QEMU leaves its own out.
    "the helper's own --br=": Way("-nic bridge,br=br0,helper={helper}\t--br=br1,model={model},mac={mac}", "br1"),
}


def nic_of(number: int) -> Nic:
    """The card of a way: each has a network of its own, in which the host is .254."""
    return Nic(f"52:54:00:00:01:{number:02x}", f"10.0.{number}.1/24")


@pytest.fixture(scope="module")
def guest(br0: str, helper: Path, uid: int | None) -> Iterator[Guest]:
    """One guest that has a card by each of the ways."""
    world.write_access_list("allow br0\nallow br1\n")
    with world.bridge("br1") as br1:
        words: list[str] = []
        nics = []
        for number, way in enumerate(WAYS.values(), start=1):
            assert way.bridge in (br0, br1)
            world.run("ip", "address", "add", f"10.0.{number}.254/24", "dev", way.bridge)
            nic = nic_of(number)
            nics.append(nic)
            filled = way.words.format(id=nic.identity, mac=nic.mac, model=way.model, helper=helper)
            words += filled.split(" ")
        with Guest("alice", nics, words, uid=uid) as guest:
            guest.wait_until_ready()
            yield guest


@pytest.mark.parametrize("way", WAYS)
def test_a_port_can_be_had_with(guest: Guest, way: str) -> None:
    """The card that was asked for in this way reaches the host on the bridge that was named."""
    number = list(WAYS).index(way) + 1
    assert "2 packets received" in guest.check(f"ping -c 2 -i 0.1 -W 10 10.0.{number}.254")
    neighbours = world.run("ip", "neighbour", "show", "dev", WAYS[way].bridge)
    assert f"10.0.{number}.1 lladdr {nic_of(number).mac}" in neighbours


def test_every_card_has_a_port_of_its_own(guest: Guest) -> None:
    """One guest may hold several ports, on several bridges; each call of the helper made one."""
    assert len(guest.taps()) == len(WAYS)
    assert world.ports("br0") | world.ports("br1") == guest.taps()
    assert len(world.ports("br1")) == sum(way.bridge == "br1" for way in WAYS.values())


@pytest.mark.needs_root
def test_a_helper_with_a_file_capability_serves_as_well(br0: str, uid: int | None) -> None:
    """Instead of the setuid bit, cap_net_admin on the helper's file is enough."""
    nic = Nic("52:54:00:00:02:01", "10.0.0.9/24")
    helper = install.ours(install.Privilege.FILE_CAPABILITY)
    with Guest("bob", [nic], nic.bridge_words(helper), uid=uid) as guest:
        guest.wait_until_ready()
        assert guest.taps() <= world.ports(br0)
        guest.check("ping -c 1 -W 10 10.0.0.254")
