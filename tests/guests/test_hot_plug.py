# SPDX-License-Identifier: GPL-2.0-or-later
"""Cards that come and go while the guest runs, by QEMU's monitor protocol (QMP)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from qemu.qmp import EventListener, ExecuteError, QMPClient

from tests.support import world
from tests.support.guest import Guest

CARDS = {"virtio-net-pci": "52:54:00:00:00:01", "e1000": "52:54:00:00:00:02"}
PATIENCE = 60
"""Seconds that QEMU and the guest may take for anything."""


class Machine:
    """A guest and its monitor."""

    def __init__(self, guest: Guest, runner: asyncio.Runner) -> None:
        self.guest = guest
        self._runner = runner
        self._monitor = QMPClient(guest.name)
        self._gone = EventListener(names="DEVICE_DELETED")
        self._monitor.register_listener(self._gone)
        self._runner.run(asyncio.wait_for(self._monitor.connect(guest.qmp), PATIENCE))

    def execute(self, command: str, **arguments: object) -> object:
        """Run a QMP command; its result."""
        return self._runner.run(asyncio.wait_for(self._monitor.execute(command, arguments), PATIENCE))

    def await_gone(self, device: str) -> None:
        """Wait until the guest has let go of a device."""

        async def wait() -> None:
            async for event in self._gone:
                data = event["data"]
                if isinstance(data, dict) and data.get("device") == device:
                    return

        self._runner.run(asyncio.wait_for(wait(), PATIENCE))

    def disconnect(self) -> None:
        """Leave the monitor."""
        self._runner.run(self._monitor.disconnect())


@pytest.fixture(scope="module")
def machine(br0: str, uid: int | None) -> Iterator[Machine]:
    """A guest that starts without any card, beside a bridge that it may use."""
    assert br0 == "br0"
    with asyncio.Runner() as runner, Guest("alice", [], [], uid=uid) as guest:
        machine = Machine(guest, runner)
        guest.wait_until_ready()
        yield machine
        machine.disconnect()


@pytest.mark.parametrize("model", CARDS)
def test_a_card_can_be_plugged_in_and_pulled_out(machine: Machine, helper: Path, model: str) -> None:
    """netdev_add brings a port, device_add a card that works; when both are taken away the port is gone."""
    guest, mac = machine.guest, CARDS[model]
    machine.execute("netdev_add", type="bridge", id="net", br="br0", helper=str(helper))
    assert len(guest.taps()) == 1
    assert guest.taps() == world.ports("br0")
    machine.execute("device_add", driver=model, id="card", netdev="net", mac=mac)
    # The guest finds the card in its own time; it looks every 20 ms, for so long as we wait.
    guest.check(f"until grep -qs {mac} /sys/class/net/*/address; do usleep 20000; done", timeout=PATIENCE)
    name = guest.check(f"basename $(dirname $(grep -l {mac} /sys/class/net/*/address))").strip()
    guest.check(f"ip address add 10.0.0.1/24 dev {name} && ip link set {name} up")
    guest.check("until ping -c 1 -W 1 10.0.0.254; do :; done", timeout=PATIENCE)
    machine.execute("device_del", id="card")
    machine.await_gone("card")
    machine.execute("netdev_del", id="net")
    assert not guest.taps()
    assert not world.ports("br0")


def test_a_refused_card_leaves_the_guest_as_it_was(machine: Machine, helper: Path) -> None:
    """QMP says that the helper failed, QEMU's stderr says why, no fd is kept, and the guest runs on."""
    fds = Path(f"/proc/{machine.guest.pid}/fd")
    before = len(list(fds.iterdir()))
    with world.bridge("br1"):
        with pytest.raises(ExecuteError, match="bridge helper failed"):
            machine.execute("netdev_add", type="bridge", id="net", br="br1", helper=str(helper))
        assert not world.ports("br1")
    assert machine.guest.stderr.splitlines()[-1].startswith("access denied by acl file")
    assert len(list(fds.iterdir())) == before
    machine.guest.check("true")
