# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU that goes into the background keeps its port, and gives it back at its end."""

from pathlib import Path

from tests.support import world
from tests.support.guest import Guest, Nic


def test_a_daemon_keeps_its_port_as_long_as_it_lives(br0: str, helper: Path, uid: int | None) -> None:
    """With -daemonize the helper runs before QEMU forks; the port lives and ends with the daemon."""
    nic = Nic("52:54:00:00:00:01", "10.0.0.1/24")
    with Guest("alice", [nic], nic.bridge_words(helper), uid=uid, daemonize=True) as guest:
        guest.wait_until_ready()
        assert guest.taps() == world.ports(br0)
        assert len(guest.taps()) == 1
        guest.check("ping -c 1 -W 10 10.0.0.254")
    assert not world.ports(br0)
