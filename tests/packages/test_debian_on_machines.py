# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian packages where systemd runs: installed, upgraded and removed on a machine of each release."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import debs
from tests.packages.debs import Debs
from tests.support import machines
from tests.support.caller import PLAIN_UID
from tests.support.container import Container

pytestmark = pytest.mark.needs_root

CALL = """
import array, json, os, socket, subprocess, sys
ours, theirs = socket.socketpair()
argv = [sys.argv[1], "--use-vnet", "--br=br0", f"--fd={theirs.fileno()}"]
done = subprocess.run(argv, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=60)
theirs.close()
fds = socket.recv_fds(ours, 1, 1)[1]
print(json.dumps([done.returncode, done.stderr, len(fds), os.listdir("/sys/class/net/br0/brif")]))
"""
"""Asks for a port as QEMU does, and tells how that ended."""

BRIDGE_AT_BOOT = b"""\
[Unit]
Before=sockets.target
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=ip link add br0 type bridge
[Install]
WantedBy=sockets.target
"""
PERSISTENT = f'[[allow]]\nbridge = "br0"\nusers = [{PLAIN_UID}]\nmax_ports = 4\npersistent = true\n[end]\n'.encode()


QEMUS = "/usr/lib/qemu/qemu-bridge-helper"
OF_OTHERS = (
    *("/proc", "/sys", "/dev", "/tmp", "/opt", "/run/systemd"),
    *("/var/cache/apt", "/var/cache/debconf", "/var/lib/apt", "/var/lib/dpkg", "/var/log"),
)
"""Where the machine, and apt, keep what is theirs."""


@pytest.fixture(params=["debian13", "debian12"])
def machine(request: pytest.FixtureRequest) -> Iterator[Container]:
    """A machine with a bridge that everybody may use."""
    if why := machines.why_not(request.param):
        pytest.skip(why)
    with Container(request.param) as booted:
        booted.check("ip", "link", "add", "br0", "type", "bridge")
        booted.write("/etc/qemu/bridge.conf", b"allow br0\n")
        yield booted


def install(machine: Container, *packages: Path) -> None:
    """Install, or upgrade, with apt, as the README says."""
    for package in packages:
        machine.write(f"/tmp/{package.name}", package.read_bytes())
    machine.check("apt-get", "--yes", "install", *(f"/tmp/{package.name}" for package in packages))


def call(machine: Container, helper: str = "/usr/bin/qbhelper") -> tuple[int, str, int, list[str]]:
    """Call the helper as a user without any privilege: its status, what it said, fds that came, ports of the bridge."""
    status, said, fds, ports = json.loads(machine.check("python3", "-c", CALL, helper, uid=PLAIN_UID))
    return status, said, fds, ports


def state(machine: Container, unit: str) -> str:
    """Whether a unit is active."""
    return machine.run("systemctl", "is-active", unit).output.strip()


def show(machine: Container, field: str, unit: str = "qbhelper.service") -> str:
    """What systemd knows of a unit."""
    return machine.check("systemctl", "show", "--value", f"--property={field}", unit).strip()


def test_installed_it_serves_at_once(machine: Container, built: Debs) -> None:
    """Nobody has to enable or start anything: the socket is open, and the first caller starts the broker."""
    install(machine, built["qbhelper"], built["qbhelper-libvirt"])
    assert (state(machine, "qbhelper.socket"), state(machine, "qbhelper.service")) == ("active", "inactive")
    for helper in ("/usr/bin/qbhelper", "/usr/bin/qemu-bridge-helper"):
        status, said, fds, ports = call(machine, helper)
        assert (status, said, fds, len(ports)) == (0, "", 1, 1)
    assert show(machine, "User") == "qbhelper"
    assert machine.check("systemctl", "--failed", "--plain", "--no-legend") == ""
    assert machine.check("qbhelperctl", "explain", "--bridge=br0", uid=PLAIN_UID).startswith(f"uid {PLAIN_UID} may")


def test_an_upgrade_replaces_the_broker_that_runs(machine: Container, built: Debs, tmp_path: Path) -> None:
    """The socket stays open, and who asks next is answered by the new one."""
    install(machine, built["qbhelper"])
    assert call(machine)[0] == 0
    before, old = show(machine, "ActiveEnterTimestampMonotonic", "qbhelper.socket"), show(machine, "MainPID")
    assert old != "0"
    install(machine, debs.newer(built["qbhelper"], tmp_path / "newer.deb"))
    assert show(machine, "ActiveEnterTimestampMonotonic", "qbhelper.socket") == before
    assert show(machine, "MainPID") != old
    assert call(machine)[0] == 0


def test_an_upgrade_keeps_what_the_administrator_has_changed(machine: Container, built: Debs, tmp_path: Path) -> None:
    """With apt, which asks nobody: the policy, a mode of dpkg-statoverride's, and that the socket is to be closed."""
    install(machine, built["qbhelper"])
    machine.write("/etc/qbhelper/policy.toml", b"# mine\n[end]\n")
    machine.check("dpkg-statoverride", "--update", "--add", "root", "root", "0750", "/usr/bin/qbhelper")
    machine.check("systemctl", "--quiet", "disable", "--now", "qbhelper.socket")
    install(machine, debs.newer(built["qbhelper"], tmp_path / "newer.deb"))
    assert machine.check("dpkg-query", "--show", "--showformat=${Version}", "qbhelper").endswith("~2")
    assert machine.check("cat", "/etc/qbhelper/policy.toml") == "# mine\n[end]\n"
    assert machine.check("stat", "--format=%a", "/usr/bin/qbhelper") == "750\n"
    assert machine.run("systemctl", "is-enabled", "qbhelper.socket").output == "disabled\n"


def test_after_a_reboot_it_is_as_after_the_installation(machine: Container, built: Debs) -> None:
    """The socket is open, the first caller starts the broker by the policy that was there, no TAP of before is."""
    install(machine, built["qbhelper"])
    machine.write("/etc/systemd/system/br0.service", BRIDGE_AT_BOOT)
    machine.write("/etc/qbhelper/policy.d/persistent.toml", PERSISTENT)
    machine.check("systemctl", "--quiet", "enable", "br0.service")
    machine.check("mkdir", "--parents", "/var/log/journal")
    machine.check("journalctl", "--flush")
    stays = machine.check("qbhelperctl", "tap", "create", "--bridge=br0", uid=PLAIN_UID).strip()
    status, said, fds, ports = call(machine)
    assert (status, said, fds, len(ports)) == (0, "", 1, 2)
    assert stays in ports

    machine.reboot()
    assert (state(machine, "qbhelper.socket"), state(machine, "qbhelper.service")) == ("active", "inactive")
    assert machine.check("ls", "/run/qbhelper").split() == ["broker.sock"]
    assert set(machine.check("ls", "/sys/class/net").split()) == {"br0", "lo"}
    status, said, fds, ports = call(machine)
    assert (status, said, fds, len(ports)) == (0, "", 1, 1)
    assert json.loads(machine.check("qbhelperctl", "tap", "list", "--json", uid=PLAIN_UID)) == {"taps": []}
    assert machine.check("systemctl", "--failed", "--plain", "--no-legend") == ""
    before = machine.check("journalctl", "--boot=-1", "--unit=qbhelper.service", "--output=cat")
    assert before.endswith("Stopped qbhelper.service - Broker of the QEMU bridge helper.\n"), before
    assert "Failed" not in before


def test_removed_nothing_of_it_runs(machine: Container, built: Debs) -> None:
    """Neither the socket nor the broker is left, and the policy is there until it is purged."""
    install(machine, built["qbhelper"])
    assert call(machine)[0] == 0
    assert machine.run("pgrep", "--count", "qbhelperd").output == "1\n"
    machine.check("dpkg", "--remove", "qbhelper")
    assert {state(machine, unit) for unit in ("qbhelper.socket", "qbhelper.service")} == {"inactive"}
    assert machine.run("pgrep", "--count", "qbhelperd").output == "0\n"
    assert machine.check("ls", "/etc/qbhelper").split() == ["policy.toml"]
    machine.check("dpkg", "--purge", "qbhelper")
    assert machine.run("ls", "-d", "/etc/qbhelper", "/run/qbhelper").status == 2


def paths(machine: Container) -> set[str]:
    """All that lies on the machine's disk and in its /run, but for OF_OTHERS."""
    words = ["find", "/", "/run", "-xdev", *(f"( -path {place} -prune ) -o" for place in OF_OTHERS), "-print"]
    return set(machine.check(*" ".join(words).split()).splitlines())


def test_purged_it_leaves_nothing_but_its_account(machine: Container, built: Debs) -> None:
    """All three, after they have served, with QEMU's own helper aside meanwhile."""
    before = paths(machine)
    install(machine, *built.all())
    assert call(machine, QEMUS)[0] == 0
    assert paths(machine) - before > {"/etc/qbhelper/policy.toml", "/run/qbhelper/broker.sock", f"{QEMUS}.qemu"}
    machine.check("apt-get", "--yes", "purge", *debs.NAMES)
    # Directories that were empty may be gone: debhelper's scripts take them for ours.
    assert paths(machine) - before == set()
    assert machine.run("getent", "passwd", "qbhelper").status == 0
