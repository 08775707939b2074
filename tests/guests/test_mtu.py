# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames as large as the bridge allows pass whole, be they smaller or larger than Ethernet's usual ones."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import world
from tests.support.guest import Guest, Nic

HEADERS = 28
"""Bytes of IPv4 and ICMP headers in a ping: what is left of the MTU is its payload."""

# Each MTU has a bridge, and on it a card of each model with a network of its own.
CARDS = {
    (1400, "virtio-net-pci"): Nic("52:54:00:00:00:01", "10.0.1.1/24"),
    (1400, "e1000"): Nic("52:54:00:00:00:02", "10.0.2.1/24", mtu=1400),
    (9000, "virtio-net-pci"): Nic("52:54:00:00:00:03", "10.0.3.1/24"),
    (9000, "e1000"): Nic("52:54:00:00:00:04", "10.0.4.1/24", mtu=9000),
}


@pytest.fixture(scope="module")
def guest(helper: Path, uid: int | None) -> Iterator[Guest]:
    """One guest with all four cards; virtio tells it the MTU, e1000 has no way to."""
    world.write_access_list("allow br1400\nallow br9000\n")
    with world.bridge("br1400", mtu=1400), world.bridge("br9000", mtu=9000):
        words: list[str] = []
        for (mtu, model), nic in CARDS.items():
            host = re.sub(r"1/24$", "254/24", nic.address)
            world.run("ip", "address", "add", host, "dev", f"br{mtu}")
            words += nic.bridge_words(helper, model, f"br{mtu}")
            if model == "virtio-net-pci":
                words[-1] += f",host_mtu={mtu}"
        with Guest("alice", list(CARDS.values()), words, uid=uid) as guest:
            guest.wait_until_ready()
            yield guest


def fragments(guest: Guest) -> int:
    """How many fragments the guest has sent or received."""
    names, counts = (line.split()[1:] for line in guest.check("grep ^Ip: /proc/net/snmp").splitlines())
    counters = dict(zip(names, map(int, counts), strict=True))
    return counters["FragCreates"] + counters["ReasmReqds"]


@pytest.mark.parametrize(("mtu", "model"), CARDS)
def test_a_ping_as_large_as_the_mtu_passes_in_one_frame(guest: Guest, mtu: int, model: str) -> None:
    """Request and answer fill the MTU of the bridge to the last byte and need not be cut."""
    host = re.sub(r"\.1$", ".254", CARDS[mtu, model].ip)
    before = fragments(guest)
    assert "2 packets received" in guest.check(f"ping -c 2 -i 0.1 -W 10 -s {mtu - HEADERS} {host}")
    assert fragments(guest) == before
    guest.check(f"ping -c 1 -W 10 -s {mtu - HEADERS + 1} {host}")
    assert fragments(guest) > before, "one byte more must be cut, or this test sees nothing"


@pytest.mark.parametrize("mtu", [1400, 9000])
def test_ports_take_the_mtu_of_the_bridge_and_leave_it_alone(guest: Guest, mtu: int) -> None:
    """A port has the MTU of its bridge from the start, so the bridge is not pulled to 1500."""
    links = world.links()
    ports = world.ports(f"br{mtu}")
    assert len(ports) == 2
    assert ports <= guest.taps()
    assert {links[name]["mtu"] for name in [f"br{mtu}", *ports]} == {mtu}


@pytest.mark.parametrize("mtu", [1400, 9000])
def test_virtio_tells_the_guest_the_mtu(guest: Guest, mtu: int) -> None:
    """With host_mtu= the guest sets its card up by itself."""
    mac = CARDS[mtu, "virtio-net-pci"].mac
    assert guest.check(f"cat $(dirname $(grep -l {mac} /sys/class/net/*/address))/mtu").strip() == str(mtu)
