# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor` on whole machines: what systemd-networkd does to a port, and that the command ends it."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qbhelper.ctl.doctor import managers
from tests.ctl.doctor import is_well, mend, the_problem
from tests.support import world

pytestmark = pytest.mark.inside("debian13", "debian12")

ALL = Path("/etc/systemd/network/50-all.network")


@pytest.fixture
def port() -> Iterator[str]:
    """A TAP on br0, as ours are, with networkd running."""
    world.run("systemctl", "start", "systemd-networkd.service")
    with world.bridge("br0"):
        world.run("ip", "tuntap", "add", "dev", "tap0", "mode", "tap")
        world.run("ip", "link", "set", "tap0", "master", "br0", "up")
        yield "tap0"
        world.run("ip", "link", "delete", "tap0")
    subprocess.run(["systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service"], check=False)


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it does within the time that a busy machine may need."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def setup(name: str) -> str:
    """Return what networkd says of an interface: unmanaged, configured, ..."""
    return world.run("networkctl", "list", "--no-legend", "--no-pager", name).split()[-1]


def test_networkd_takes_a_port_off_its_bridge(port: str) -> None:
    """With a file that matches each interface; the printed command has it leave ports alone from then on."""
    assert is_well(managers.look)
    ALL.parent.mkdir(exist_ok=True)
    ALL.write_text("[Match]\nType=ether\nKind=!bridge\n")
    world.run("networkctl", "reload")
    assert comes_true(lambda: world.ports("br0") == frozenset()), setup(port)
    problem = the_problem(managers.look)
    assert str(ALL) in problem.what
    mend(problem)
    assert comes_true(lambda: setup(port) == "unmanaged")
    world.run("ip", "link", "set", port, "master", "br0", "up")
    assert is_well(managers.look)
    world.run("networkctl", "reload")
    assert setup(port) == "unmanaged"
    assert world.ports("br0") == {port}
