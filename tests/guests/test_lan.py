# SPDX-License-Identifier: GPL-2.0-or-later
"""Two guests, the host and a PC on the wire are one LAN."""

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import wire, world
from tests.support.caller import IFF_VNET_HDR, PLAIN_UID
from tests.support.guest import Guest, Nic

HOST = "10.0.0.254"
ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")
IFF_TAP_NO_PI = 0x1002
NOISE = 8 << 20
"""Bytes in a transfer: thousands of frames."""


@dataclass(frozen=True)
class Lan:
    """Alice has virtio-net, Bob has e1000, the PC hangs on the wire."""

    alice: Guest
    bob: Guest
    pc: wire.Pc


@pytest.fixture(scope="module")
def lan(br0: str, helper: Path, uid: int | None) -> Iterator[Lan]:
    """Both guests booted, and each address known to each: e1000 hears nothing in its first second."""
    with (
        wire.plugged_into(br0) as pc,
        Guest("alice", [ALICE], ALICE.bridge_words(helper), uid=uid) as alice,
        Guest("bob", [BOB], BOB.bridge_words(helper, "e1000"), uid=uid) as bob,
    ):
        alice.wait_until_ready()
        bob.wait_until_ready()
        alice.check(f"ping -c 1 -W 10 {BOB.ip}")
        yield Lan(alice=alice, bob=bob, pc=pc)


def test_each_guest_holds_one_port_of_the_bridge(lan: Lan) -> None:
    """The ports of the bridge are the wire and one TAP for each guest."""
    assert len(lan.alice.taps()) == len(lan.bob.taps()) == 1
    assert world.ports("br0") == {"wire"} | lan.alice.taps() | lan.bob.taps()


@pytest.mark.needs_root
def test_qemu_has_neither_another_user_nor_a_capability(lan: Lan) -> None:
    """QEMU runs as the plain user who started it, and gains no capability through the helper."""
    for guest in (lan.alice, lan.bob):
        assert set(guest.status("Uid")) == set(guest.status("Gid")) == {str(PLAIN_UID)}
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(guest.status(kind)[0], 16) == 0


def test_the_ports_are_shaped_as_promised(lan: Lan) -> None:
    """A port is up, has the MTU of the bridge, and a MAC that keeps it from becoming the bridge's."""
    links = world.links()
    for tap in lan.alice.taps() | lan.bob.taps():
        flags = links[tap]["flags"]
        assert isinstance(flags, list)
        assert {"UP", "LOWER_UP"} <= set(flags)
        assert links[tap]["mtu"] == links["br0"]["mtu"]
        assert str(links[tap]["address"]).startswith("fe:")
    assert links["br0"]["address"] == links["wire"]["address"]


def test_frames_carry_the_header_that_virtio_needs(lan: Lan) -> None:
    """QEMU always asks for --use-vnet, so the TAPs have IFF_VNET_HDR and virtio may offload checksums."""
    for tap in lan.alice.taps() | lan.bob.taps():
        flags = int(Path(f"/sys/class/net/{tap}/tun_flags").read_text(), 16)
        assert flags & (IFF_TAP_NO_PI | IFF_VNET_HDR) == IFF_TAP_NO_PI | IFF_VNET_HDR
    features = lan.alice.check("cat /sys/class/net/eth0/device/features")
    assert features[0] == "1", "VIRTIO_NET_F_CSUM: the device takes frames without a checksum"
    assert features[11] == "1", "VIRTIO_NET_F_HOST_TSO4: the device takes what is yet to be cut into frames"


@pytest.mark.parametrize("target", [BOB.ip, HOST, wire.ADDRESS])
def test_alice_reaches(lan: Lan, target: str) -> None:
    """The guest with virtio-net gets an answer from the other guest, the host and the PC."""
    assert "3 packets received" in lan.alice.check(f"ping -c 3 -i 0.1 -W 10 {target}")


@pytest.mark.parametrize("target", [ALICE.ip, HOST, wire.ADDRESS])
def test_bob_reaches(lan: Lan, target: str) -> None:
    """The guest with e1000 gets an answer from the other guest, the host and the PC."""
    assert "3 packets received" in lan.bob.check(f"ping -c 3 -i 0.1 -W 10 {target}")


def test_the_guests_reach_each_other_with_ipv6(lan: Lan) -> None:
    """Multicast passes as well: neighbours find each other by link-local addresses."""
    lan.alice.check("ping6 -c 1 -W 10 fe80::5054:ff:fe00:2%eth0")


def test_the_host_takes_the_guests_for_machines_with_their_own_macs(lan: Lan) -> None:
    """What the host and the PC learn are the MACs of the guests, not those of the TAPs."""
    for guest in (lan.alice, lan.bob):
        guest.check(f"ping -c 1 -W 10 {HOST} && ping -c 1 -W 10 {wire.ADDRESS}")
    for neighbours in (world.run("ip", "neighbour"), lan.pc.run("ip", "neighbour")):
        for nic in (ALICE, BOB):
            assert re.search(rf"^{nic.ip} dev \S+ lladdr {nic.mac}", neighbours, re.MULTILINE)


@pytest.mark.parametrize(("sender", "receiver", "address"), [("alice", "bob", ALICE.ip), ("bob", "alice", BOB.ip)])
def test_a_transfer_between_the_guests_arrives_intact(lan: Lan, sender: str, receiver: str, address: str) -> None:
    """What one guest serves is what the other one gets, byte for byte."""
    source, sink = getattr(lan, sender), getattr(lan, receiver)
    source.check(f"mkdir -p /tmp/www && dd if=/dev/urandom of=/tmp/www/noise bs={NOISE} count=1 && httpd -h /tmp/www")
    sink.check(f"wget -q -O /tmp/noise http://{address}/noise")
    sent = source.check("sha256sum < /tmp/www/noise; rm /tmp/www/noise")
    assert sink.check("sha256sum < /tmp/noise; rm /tmp/noise") == sent


def _send(listener: socket.socket, data: bytes) -> None:
    with listener.accept()[0] as connection:
        connection.settimeout(30)
        connection.sendall(data)


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_transfer_from_the_host_arrives_intact(lan: Lan, name: str) -> None:
    """The host's own TCP sends a guest big segments without checksums; they arrive whole and right."""
    guest: Guest = getattr(lan, name)
    noise = os.urandom(NOISE)
    with socket.create_server((HOST, 8000)) as listener, ThreadPoolExecutor() as pool:
        listener.settimeout(30)
        sent = pool.submit(_send, listener, noise)
        # In the foreground: nc ends when all has come.
        received = guest.check(f"nc {HOST} 8000 | sha256sum").split()[0]
        sent.result()
    assert received == hashlib.sha256(noise).hexdigest()


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_transfer_to_the_host_arrives_intact(lan: Lan, name: str) -> None:
    """A guest's TCP leaves checksums and cutting to the TAP; the host gets what was sent."""
    guest: Guest = getattr(lan, name)
    received = hashlib.sha256()
    with socket.create_server((HOST, 8001)) as listener:
        guest.check(f"dd if=/dev/urandom of=/tmp/noise bs={NOISE} count=1")
        guest.check(f"nc {HOST} 8001 </tmp/noise >/dev/null 2>&1 &")
        listener.settimeout(30)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(30)
            for part in iter(lambda: connection.recv(1 << 16), b""):
                received.update(part)
    assert guest.check("sha256sum < /tmp/noise; rm /tmp/noise").split()[0] == received.hexdigest()
