# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 of the broker, and a broker that starts anew: guests go on talking, without one lost packet."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from qbhelper.lease import parse_alias
from tests.support import broker, world
from tests.support.guest import Guest, Nic

pytestmark = pytest.mark.needs_root

ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")
REPLIES = 5
"""How many answers show that the guests still talk."""


@dataclass
class Conversation:
    """Alice asks Bob for an answer 20 times a second, without end, and keeps what she hears in a file."""

    alice: Guest

    def begin(self) -> None:
        """Start to ask."""
        self.alice.check(f"ping -i 0.05 {BOB.ip} >/tmp/heard 2>&1 & echo $! >/tmp/asking")

    def go_on(self) -> None:
        """Wait for some more answers; raises if they do not come."""
        wanted = len(self.heard()) + REPLIES
        self.alice.check(f"until [ $(grep -c ttl= /tmp/heard) -ge {wanted} ]; do usleep 20000; done")

    def heard(self) -> list[int]:
        """The numbers of the answers so far."""
        return [int(number) for number in re.findall(r"seq=(\d+) ttl=", self.alice.check("cat /tmp/heard"))]

    def end(self) -> None:
        """Ask no more."""
        self.alice.check("kill $(cat /tmp/asking)")


@pytest.fixture
def broker_by_hand(br0: str) -> Iterator[broker.Broker]:
    """A broker that root has started; whether it lives when the test ends does not matter."""
    assert br0 == "br0"
    with broker.by_hand() as running:
        yield running
    with suppress(FileNotFoundError):
        broker.SOCKET.unlink()


def leases() -> set[bytes]:
    """The leases that the ports of br0 carry."""
    aliases = (Path("/sys/class/net", port, "ifalias").read_bytes() for port in world.ports("br0"))
    return {lease.alias() for lease in (parse_alias(alias.rstrip(b"\n")) for alias in aliases) if lease}


def test_guests_keep_their_network(broker_by_hand: broker.Broker) -> None:
    """Worker killed, keeper killed, another broker started: every packet arrives, ports and leases are the same."""
    helper = broker.helper()
    with (
        Guest("alice", [ALICE], ["-sandbox", "on", *ALICE.bridge_words(helper)]) as alice,
        Guest("bob", [BOB], ["-sandbox", "on", *BOB.bridge_words(helper)]) as bob,
    ):
        alice.wait_until_ready()
        bob.wait_until_ready()
        ports, granted = world.ports("br0"), leases()
        assert ports == alice.taps() | bob.taps()
        assert len(granted) == 2
        alice.check(f"ping -c 1 -W 10 {BOB.ip}")
        talk = Conversation(alice)
        talk.begin()
        talk.go_on()

        broker_by_hand.kill_worker()
        broker_by_hand.await_worker()
        talk.go_on()

        broker.kill(broker_by_hand.main.pid)
        broker_by_hand.kill_worker()
        talk.go_on()
        with broker.by_hand(readiness=broker_by_hand.readiness):
            talk.go_on()
            assert world.ports("br0") == ports
            assert leases() == granted
            with broker.call() as outcome:
                assert outcome.granted, outcome
                assert world.ports("br0") == ports | {outcome.tap().name}
            talk.go_on()
            talk.end()
            heard = talk.heard()
            assert heard == list(range(len(heard)))
        # No broker is there when the guests end: their ports need none to go.
    assert not world.ports("br0")
