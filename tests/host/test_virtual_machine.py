# SPDX-License-Identifier: GPL-2.0-or-later
"""What the virtual machine is there for: a distribution's kernel, with what that of a test machine may lack."""

import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import apparmor, world

pytestmark = pytest.mark.inside("debian13-vm")

PROFILE = """
include <tunables/global>
profile of-a-test {
  include <abstractions/base>
  /usr/bin/cat mr,
  /etc/hosts r,
}
"""


@pytest.fixture
def port() -> Iterator[str]:
    """An interface that frames could come through."""
    world.run("ip", "link", "add", "port", "type", "dummy")
    world.run("tc", "qdisc", "add", "dev", "port", "clsact")
    yield "port"
    world.run("ip", "link", "delete", "port")


def test_it_runs_the_kernel_and_the_systemd_of_its_distribution() -> None:
    """And no unit has failed."""
    assert re.fullmatch(r"6\.12\..*deb13-amd64", platform.release())
    assert world.run("systemctl", "is-system-running", "--wait") == "running\n"


def test_it_has_a_network_of_its_own_and_can_make_taps() -> None:
    """Nothing but its loopback is there at first, and /dev/net/tun is for everybody, as udev would have it."""
    assert world.interfaces() == {"lo"}
    assert Path("/dev/net/tun").stat().st_mode & 0o777 == 0o666


def test_bridges_filter_vlans() -> None:
    """CONFIG_BRIDGE_VLAN_FILTERING."""
    with world.bridge("br0") as name:
        world.run("ip", "link", "set", name, "type", "bridge", "vlan_filtering", "1")
        assert Path(f"/sys/class/net/{name}/bridge/vlan_filtering").read_text() == "1\n"


@pytest.mark.parametrize(
    "words",
    [
        "matchall action police rate 50mbit burst 64k conform-exceed drop",
        "flower src_mac 52:54:00:00:00:01 action pass",
        "flower dst_mac 01:80:c2:00:00:00/ff:ff:ff:ff:ff:f0 action drop",
    ],
)
def test_tc_has(port: str, words: str) -> None:
    """CONFIG_NET_CLS_MATCHALL, CONFIG_NET_CLS_FLOWER, CONFIG_NET_ACT_POLICE."""
    world.run(*f"tc filter add dev {port} ingress protocol all".split(), *words.split())
    assert words.split()[0] in world.run("tc", "filter", "show", "dev", port, "ingress")


def test_apparmor_confines() -> None:
    """A profile that is loaded is enforced: what it does not name is refused."""
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=PROFILE, text=True, check=True)
    confined = ["aa-exec", "--profile=of-a-test", "--", "cat"]
    assert subprocess.run([*confined, "/etc/hosts"], capture_output=True, check=False).returncode == 0
    refused = subprocess.run([*confined, "/etc/passwd"], capture_output=True, text=True, check=False)
    assert "Permission denied" in refused.stderr


def test_apparmor_says_what_it_has_denied() -> None:
    """In the kernel's log, each time: so a log without a denial says that there was none."""
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=PROFILE, text=True, check=True)
    with apparmor.watched() as watch:
        assert watch.hear().denied == []
        for _ in range(12):  # with the kernel's usual limit some would be left out
            subprocess.run(apparmor.within("of-a-test", "cat", "/etc/passwd"), stderr=subprocess.DEVNULL, check=False)
        assert len([line for line in watch.hear().denied if 'name="/etc/passwd"' in line]) == 12
