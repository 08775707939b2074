# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole machines themselves: they boot, obey, run our tests, and go without a trace."""

import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import machines, world
from tests.support.caller import PLAIN_UID
from tests.support.container import Container
from tests.support.machine import MachineFailed

pytestmark = pytest.mark.needs_root


@pytest.fixture
def container() -> Iterator[Container]:
    """A machine to talk to from outside."""
    if why := machines.why_not("debian13"):
        pytest.skip(why)
    with Container("debian13") as machine:
        yield machine


def systemctl(*words: str) -> str:
    """Run systemctl in the machine that we are in; what it says, whatever its status."""
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False).stdout.strip()


@pytest.mark.inside("debian13", "debian12")
def test_a_machine_runs_its_own_distribution_and_its_systemd(machine_name: str) -> None:
    """Tests inside see the release that was asked for, and no unit that failed."""
    assert "debian" + platform.freedesktop_os_release()["VERSION_ID"] == machine_name
    assert Path("/proc/1/comm").read_text() == "systemd\n"
    assert systemctl("is-system-running", "--wait") == "running", systemctl("--failed")


@pytest.mark.inside("debian13", "debian12")
def test_a_machine_has_a_network_of_its_own_and_can_make_taps() -> None:
    """Nothing but its loopback is there at first, and /dev/net/tun is for everybody, as udev would have it."""
    assert world.interfaces() == {"lo"}
    assert Path("/dev/net/tun").stat().st_mode & 0o777 == 0o666
    with world.bridge("br0"):
        assert world.ports("br0") == frozenset()


def test_a_command_gives_its_output_and_its_status(container: Container) -> None:
    """As in a shell; by default as root, else as any uid, without other groups or capabilities."""
    assert container.run("sh", "-c", "echo out; echo err >&2; exit 3").output == "out\nerr\n"
    assert container.run("sh", "-c", "exit 3").status == 3
    assert container.run("sh", "-c", "kill -9 $$").status == 128 + 9
    assert container.run("cat", stdin=b"in").output == "in"
    assert container.check("id", uid=PLAIN_UID).split() == [
        f"uid={PLAIN_UID}",
        f"gid={PLAIN_UID}",
        f"groups={PLAIN_UID}",
    ]
    assert "CapEff:\t0000000000000000" in container.check("cat", "/proc/self/status", uid=PLAIN_UID)


def test_what_a_command_leaves_running_is_not_waited_for(container: Container) -> None:
    """Nor need it close its output."""
    assert container.run("sh", "-c", "sleep 1000 & echo started").output == "started\n"


def test_units_may_be_reloaded_as_often_as_one_likes(container: Container) -> None:
    """Each time systemd tells outside of it, where nobody listens once it has booted."""
    container.check("sh", "-ec", "for time in $(seq 12); do systemctl daemon-reload; done", patience=30)


def test_a_failure_tells_what_is_known(container: Container) -> None:
    """The command, its status, its output, and the machine's journal."""
    container.check("systemd-cat", "echo", "worth knowing")
    container.check("journalctl", "--sync")
    told = r"(?s)debian13: `ls /nowhere` ended with 2:.*No such file.*worth knowing"
    with pytest.raises(MachineFailed, match=told):
        container.check("ls", "/nowhere")


def test_a_command_that_is_stuck_is_ended(container: Container) -> None:
    """After the time that it may be silent."""
    with pytest.raises(MachineFailed, match=r"no word for 0\.1 s from: sleep 1000"):
        container.run("sleep", "1000", patience=0.1)


def test_a_machine_can_be_rebooted(container: Container) -> None:
    """It comes back with what is on its disk, and without the rest."""
    container.write("/etc/kept", b"content", mode=0o600)
    container.write("/run/lost", b"")
    before = container.check("cat", "/proc/1/stat").split()[21]
    container.reboot()
    assert container.check("stat", "--format=%a", "/etc/kept") == "600\n"
    assert container.run("test", "-e", "/run/lost").status == 1
    assert container.check("cat", "/proc/1/stat").split()[21] != before, "process 1 was started at the same moment"


def test_nothing_is_left_of_a_machine(container: Container) -> None:
    """No mount, no control group; tests/conftest.py looks for processes, interfaces and fds."""
    container.check("touch", "/etc/written")
    group = container.cgroup
    assert group.is_dir()
    container.end()
    assert "machines" not in Path("/proc/self/mounts").read_text()
    assert not group.exists()
    with Container("debian13") as another:
        assert another.run("test", "-e", "/etc/written").status == 1
    assert os.listdir(world.WORLD / "machines") == []
