# SPDX-License-Identifier: GPL-2.0-or-later
"""The settings of a rule, all that this kernel has at once, on the ports of real guests, through the broker."""

import hashlib
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import pytest

from tests.support import broker, full_kernel, guest, world
from tests.support.caller import PLAIN_UID
from tests.support.guest import Guest, Nic
from tests.support.lan import Wire

pytestmark = pytest.mark.needs_root

HOST = "10.0.0.254"
ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")
SPOOFED_IP, SPOOFED_MAC = "10.0.0.99", "52:54:00:00:00:99"
NOISE = 2 << 20
"""Bytes in a transfer: far more than may come at once."""

ANYWHERE = ["isolated = true", "unicast_flood = false", 'rate_to_guest = "20mbit"', "max_ports = 1"]
"""What every kernel has on which we run tests."""


def rule_for(nic: Nic, uid: int, *, filters: bool) -> str:
    """A rule with all settings, for a guest of this user."""
    lines = ["[[allow]]", 'bridge = "br0"', f"users = [{uid}]", *ANYWHERE]
    if filters:
        lines += [
            f'macs = ["{nic.mac}"]',
            f'addresses = ["{nic.ip}"]',
            'guards = ["bpdu", "dhcp-server", "ra", "vlan-tags"]',
            'rate_from_guest = "20mbit"',
            "learning = false",
        ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Lan:
    """Two guests whose ports are isolated, and whether they are filtered."""

    alice: Guest
    bob: Guest
    filtered: bool


@pytest.fixture(scope="module")
def lan(br0: str) -> Iterator[Lan]:
    """Both guests booted, each under a rule of its own."""
    filters = not full_kernel.lacks()
    helper = broker.helper()
    rules = rule_for(ALICE, PLAIN_UID, filters=filters) + rule_for(BOB, PLAIN_UID + 1, filters=filters)
    world.write_access_list(rules + "[end]\n", world.POLICY)
    guest.image_in_world()
    try:
        with (
            broker.by_hand(),
            Guest("alice", [ALICE], ALICE.bridge_words(helper)) as alice,
            Guest("bob", [BOB], BOB.bridge_words(helper), uid=PLAIN_UID + 1) as bob,
        ):
            alice.wait_until_ready()
            bob.wait_until_ready()
            yield Lan(alice, bob, filters)
    finally:
        world.POLICY.unlink()


def send(listener: socket.socket, data: bytes) -> None:
    """Send all of it to who connects."""
    with listener.accept()[0] as connection:
        connection.settimeout(30)
        connection.sendall(data)


def receive(listener: socket.socket) -> bytes:
    """All that comes from who connects."""
    with listener.accept()[0] as connection, connection.makefile("rb") as stream:
        connection.settimeout(30)
        return stream.read()


def test_what_is_honest_passes_through_all_settings_at_once(lan: Lan) -> None:
    """Both guests reach the host, and TCP through the limits of rate arrives intact, both ways."""
    noise = os.urandom(NOISE)
    for machine in (lan.alice, lan.bob):
        machine.check(f"ping -c 1 -W 10 {HOST}")
        with socket.create_server((HOST, 8000)) as listener, ThreadPoolExecutor() as pool:
            listener.settimeout(30)
            pool.submit(send, listener, noise)
            received = machine.check(f"nc {HOST} 8000 | tee /tmp/noise | sha256sum").split()[0]
            assert received == hashlib.sha256(noise).hexdigest()
            sent = pool.submit(receive, listener)
            machine.check(f"nc {HOST} 8000 </tmp/noise")
            assert sent.result() == noise


def test_guests_on_isolated_ports_do_not_reach_each_other(lan: Lan) -> None:
    """Not by an address that was asked for, nor by one that is known; the host they reach as before."""
    for machine, other in ((lan.alice, BOB), (lan.bob, ALICE)):
        machine.check(f"! ping -c 1 -W 1 {other.ip}")
        machine.check(f"ip neigh replace {other.ip} lladdr {other.mac} dev eth0; ! ping -c 1 -W 1 {other.ip}")
        machine.check(f"ping -c 1 -W 10 {HOST}")


def test_a_guest_that_passes_itself_off_as_another_is_seen_nowhere(lan: Lan) -> None:
    """Neither with another address nor with another MAC; on a kernel that can't filter it would be seen."""
    with closing(Wire("br0")) as host:
        lan.alice.check(f"ip address add {SPOOFED_IP}/24 dev eth0; ping -c 1 -W 1 -I {SPOOFED_IP} {HOST}; true")
        lan.alice.check(f"ip address del {SPOOFED_IP}/24 dev eth0; ip link set eth0 down")
        lan.alice.check(f"ip link set eth0 address {SPOOFED_MAC} && ip link set eth0 up; ping -c 1 -W 1 {HOST}; true")
        lan.alice.check(f"ip link set eth0 down; ip link set eth0 address {ALICE.mac} && ip link set eth0 up")
        lan.alice.check(f"ping -c 1 -W 10 {HOST}")
        seen = b"".join(host.all_there())
    assert bytes.fromhex(ALICE.mac.replace(":", "")) in seen
    assert (socket.inet_aton(SPOOFED_IP) in seen) is not lan.filtered
    assert (bytes.fromhex(SPOOFED_MAC.replace(":", "")) in seen) is not lan.filtered
