# SPDX-License-Identifier: GPL-2.0-or-later
"""What the virtual machine is there for: a distribution's kernel, with what that of a test machine may lack."""

import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import service
from tests.support import caller, install, world

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


@pytest.fixture
def confined() -> Iterator[None]:
    """Qbhelper is installed, and each of its programs confined by its profile; in the end nothing was denied."""
    service.install_from_source()
    for profile in sorted((install.TREE / "packaging/apparmor").iterdir()):
        world.run("apparmor_parser", "--replace", "--skip-cache", str(profile))
    yield
    assert service.denied() == []


@pytest.mark.usefixtures("confined")
def test_under_our_profiles_grants_are_logged_and_shown() -> None:
    """Standalone and through the broker, enforced: nothing that the log takes, to write it or to read it, is denied."""
    world.write_access_list("allow br0\n")
    lines = []
    with world.bridge("br0"):
        for mode in (0o755, 0o4755):
            service.HELPER.chmod(mode)
            with service.call() as outcome:
                assert outcome.granted, outcome
                lines.append(f"{caller.PLAIN_UID}  granted  {outcome.tap().name} on br0 by /etc/qemu/bridge.conf:1")
    world.run("journalctl", "--sync")
    shown = world.run(str(service.PREFIX / "bin/qbhelperctl"), "log").splitlines()
    assert [line[21:] for line in shown] == lines


def ctl(*words: str, uid: int = caller.PLAIN_UID, status: int = 0) -> str:
    """What the installed qbhelperctl prints for a user; it has to end with this status."""
    done = subprocess.run(
        [str(service.HELPER.with_name("qbhelperctl")), *words],
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done
    return done.stdout


@pytest.mark.usefixtures("confined")
def test_under_our_profiles_ports_are_got_and_ended_in_each_way() -> None:
    """Granted, refused, revoked, with several queues and vhost to a command, by name; asked about, and reconciled."""
    service.HELPER.chmod(0o755)
    world.run("modprobe", "vhost_net")
    Path("/dev/vhost-net").chmod(0o666)
    with world.bridge("br0"), world.rule("queues = 2", "vhost = true", "persistent = true", "max_ports = 3"):
        assert service.call("br1").refused
        with service.call() as outcome:
            assert outcome.granted, outcome
            tap = outcome.tap().name
            assert f" {tap} " in ctl("status")
            [lease] = re.findall(rf" {tap} .*lease ([0-9a-f]{{16}})", ctl("status"))
            assert ctl("revoke", lease).startswith(f"revoked {tap} ")
            assert not world.is_up(tap)
        words = ["run", "--bridge", "br0", "--queues", "2", "--vhost", "--"]
        script = "for fd in $(echo {fds}:{vhostfds} | tr : ' '); do readlink /proc/$$/fd/$fd; done"
        said = ctl(*words, "sh", "-c", script)
        assert [path.rpartition("/")[2] for path in said.splitlines()] == ["tun", "tun", "vhost-net", "vhost-net"]
        name = ctl("tap", "create", "--bridge", "br0").strip()
        assert name in ctl("tap", "list")
        assert ctl("reconcile", uid=0) == "every lease is as the policy has it\n"
        ctl("tap", "delete", name)
        ctl("explain", "--bridge", "br0")
        ctl("check")
        ctl("show")
        ctl("doctor", "--user", str(caller.PLAIN_UID), uid=0, status=1)  # QEMU's own helper is not ours here
