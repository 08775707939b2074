# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian packages at work: installed with apt, and then guests of a plain user who are machines of the LAN.

The tests follow one another on a machine that has two guests from the first to the last: what comes and goes
meanwhile leaves them alone.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.broker.test_unit_files import check_exposure
from tests.host import service
from tests.packages import debs
from tests.support import starters, wire, world
from tests.support.crowd import crowd
from tests.support.guest import Guest, Nic
from tests.support.starters import Refused, User

pytestmark = pytest.mark.inside("debian13", "debian12", prepare=debs.bring)

USER = User("alice")
UID = 4001
HOST = "10.0.0.254"
ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")
CAROL = Nic("52:54:00:00:00:03", "10.0.0.3/24")
SANDBOX = ("-sandbox", "on")
BARE = ("-nic", f"bridge,br=br0,model=virtio-net-pci,mac={CAROL.mac}")
"""No helper is named: QEMU takes the one whose path it was built with."""
QEMUS = Path("/usr/lib/qemu/qemu-bridge-helper")
RULE_FOR_CONTAINERS = Path("/etc/qbhelper/policy.d/containers.toml")


@dataclass(frozen=True)
class Lan:
    """A bridge of the machine with two guests of a plain user, and a PC on the wire."""

    alice: Guest
    bob: Guest
    pc: wire.Pc

    def check(self) -> None:
        """See that the guests have the ports that they had, and reach each other."""
        assert len(self.alice.taps()) == len(self.bob.taps()) == 1
        assert self.alice.taps() | self.bob.taps() <= world.ports("br0")
        self.alice.check(f"ping -c 1 -W 10 {BOB.ip}")
        self.bob.check(f"ping -c 1 -W 10 {wire.ADDRESS}")


@pytest.fixture(scope="module", autouse=True)
def br0() -> Iterator[str]:
    """The packages are installed, there is a bridge that everybody may use, and a user with an account."""
    world.run("useradd", "--uid", str(UID), "--create-home", USER.name)
    service.install_packages("qbhelper", "qbhelper-libvirt")
    world.write_access_list("allow br0\n")
    with world.bridge("br0") as name:
        world.run("ip", "address", "add", f"{HOST}/24", "dev", name)
        yield name


@pytest.fixture(scope="module")
def replaced() -> None:
    """QEMU's own helper has made place for ours."""
    service.install_packages("qbhelper-qemu")


@pytest.fixture(scope="module")
def lan(br0: str) -> Iterator[Lan]:
    """Both guests have booted, in QEMU's sandbox."""
    assert service.pid() == 0, "nobody has asked yet, so nothing runs"
    words = {nic: [*SANDBOX, *nic.bridge_words(service.PACKAGED_HELPER)] for nic in (ALICE, BOB)}
    with (
        wire.plugged_into(br0) as pc,
        Guest("alice", [ALICE], words[ALICE], uid=UID) as alice,
        Guest("bob", [BOB], words[BOB], uid=UID) as bob,
    ):
        alice.wait_until_ready()
        bob.wait_until_ready()
        yield Lan(alice, bob, pc)


# --- QEMU that names the helper -------------------------------------------------------------------


def test_guests_host_and_a_pc_on_the_wire_are_one_lan(lan: Lan) -> None:
    """Each gets an answer from each of the others, once the first guest has made systemd start the broker."""
    assert service.pid() != 0
    assert world.ports("br0") == {"wire"} | lan.alice.taps() | lan.bob.taps()
    for guest, other in ((lan.alice, BOB), (lan.bob, ALICE)):
        for address in (other.ip, HOST, wire.ADDRESS):
            guest.check(f"ping -c 2 -i 0.1 -W 10 {address}")
    for nic in (ALICE, BOB):
        lan.pc.run("ping", "-c", "1", "-W", "10", nic.ip)


def test_qemu_gained_no_privilege_and_none_was_there_to_gain(lan: Lan) -> None:
    """It is the user's own, in its sandbox, and no file of the package lends a privilege."""
    for guest in (lan.alice, lan.bob):
        assert set(guest.status("Uid")) == set(guest.status("Gid")) == {str(UID)}
        assert {int(guest.status(kind)[0], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
        assert (guest.status("NoNewPrivs"), guest.status("Seccomp")) == (["1"], ["2"])
    files = world.run("dpkg", "--listfiles", "qbhelper", "qbhelper-libvirt").split()
    programs = [path for path in map(Path, files) if path.is_file()]
    assert service.PACKAGED_HELPER in programs
    assert not [path for path in programs if path.stat().st_mode & 0o6000]
    assert world.run("getcap", *map(str, programs)) == ""


def test_the_unit_of_the_package_is_as_closed_as_was_promised() -> None:
    """As systemd of each release counts it, with all that it has loaded for the broker that serves."""
    check_exposure(world.run("systemd-analyze", "security", "--no-pager", service.SERVICE))


# --- QEMU that names none -------------------------------------------------------------------------


def test_a_bare_nic_is_served_by_the_package_for_qemu(lan: Lan, request: pytest.FixtureRequest) -> None:
    """QEMU's own helper, which has no privilege in Debian, is refused a TAP; ours in its place gives a port."""
    with Guest("carol", [CAROL], BARE, uid=UID) as carol:
        assert "failed to create tun device: Operation not permitted" in carol.wait_until_refused()
    request.getfixturevalue("replaced")
    with Guest("carol", [CAROL], [*SANDBOX, *BARE], uid=UID) as carol:
        carol.wait_until_ready()
        assert carol.taps() <= world.ports("br0")
        carol.check(f"ping -c 1 -W 10 {ALICE.ip}")
    lan.check()


# --- QEMU that somebody else starts ---------------------------------------------------------------


@pytest.mark.usefixtures("lan", "replaced")
def test_a_guest_of_libvirts_session_is_on_the_lan() -> None:
    """With nothing configured in libvirt, whose sandbox for QEMU is stricter: QEMU could start no helper there."""
    with starters.libvirt(USER, "carol", CAROL, "br0") as carol:
        carol.wait_until_ready()
        assert (carol.status("Uid").split()[0], carol.status("CapEff"), carol.status("Seccomp")) == (
            str(UID),
            "0" * 16,
            "2",
        )
        tap = starters.virsh(USER, "domiflist", "carol").stdout.split()[0]
        assert tap in world.ports("br0")
        assert f"uid={UID} " in Path("/sys/class/net", tap, "ifalias").read_text()
        carol.check(f"ping -c 1 -W 10 {ALICE.ip}")
        carol.check(f"ping -c 1 -W 10 {wire.ADDRESS}")


@pytest.mark.usefixtures("replaced")
def test_whom_libvirt_can_give_no_guest_reads_why() -> None:
    """What virsh shows is our message, and the helper that it asked: from 11 on the one that it finds in its PATH."""
    before = world.interfaces()
    version = int(world.run("virsh", "--version").split(".")[0])
    helper = "/usr/bin/qemu-bridge-helper" if version >= 11 else str(QEMUS)
    for _ in range(8):
        with pytest.raises(Refused) as refusal, starters.libvirt(USER, "carol", CAROL, "br7"):
            pass
        said = str(refusal.value)
        assert "no line of /etc/qbhelper/policy.toml allows `br7'; ask the administrator of this host" in said
        assert f"(your uid is {UID})" in said
        assert f"error: {helper} --use-vnet --br=br7" in said
    assert world.interfaces() == before


@pytest.mark.usefixtures("lan")
def test_a_container_in_the_network_of_the_host_gets_a_port() -> None:
    """Podman's, with the socket and neither the TUN device nor a capability, and with no rule for it."""
    before = world.interfaces()
    words = [*SANDBOX, *CAROL.bridge_words(service.PACKAGED_HELPER)]
    with starters.podman(USER, CAROL, words, network="host") as carol:
        carol.wait_until_ready()
        check_container(carol)
        [tap] = world.interfaces() - before
        assert f"uid={UID} " in Path("/sys/class/net", tap, "ifalias").read_text()
        carol.check(f"ping -c 1 -W 10 {ALICE.ip}")


def check_container(guest: starters.Started) -> None:
    """See that QEMU runs where nothing could be had without the broker."""
    assert guest.status("Uid").split()[0] == str(UID)
    assert {int(guest.status(kind), 16) for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert not Path("/proc", str(guest.pid), "root/dev/net/tun").exists()


def test_a_container_with_a_network_of_its_own_gets_a_port_by_a_rule_alone(lan: Lan) -> None:
    """It has the broker's socket, and neither the TUN device nor the bridge.  Without the rule it is told why not."""
    words = [*SANDBOX, *CAROL.bridge_words(service.PACKAGED_HELPER)]
    before = world.interfaces()
    with starters.podman(USER, CAROL, words) as carol, pytest.raises(Refused, match="another network namespace"):
        carol.wait_until_ready()
    assert world.interfaces() == before
    rule = f'[[allow]]\nusers = [{UID}]\nbridge = "br0"\nother_network_namespaces = true\n[end]\n'
    world.write_access_list(rule, RULE_FOR_CONTAINERS)
    try:
        with starters.podman(USER, CAROL, words) as carol:
            carol.wait_until_ready()
            check_container(carol)
            assert Path("/proc", str(carol.pid), "net/dev").read_text().count(":") == 1, "its loopback alone"
            assert len(world.interfaces() - before) == 1
            carol.check(f"ping -c 1 -W 10 {ALICE.ip}")
            lan.pc.run("ping", "-c", "1", "-W", "10", CAROL.ip)
    finally:
        RULE_FOR_CONTAINERS.unlink()


# --- What becomes of guests -----------------------------------------------------------------------


def test_an_upgrade_under_load_loses_no_request_and_no_guest(lan: Lan) -> None:
    """While apt installs the next version, callers ask without a pause and guests ping: all of them are answered."""
    before, taps = service.pid(), lan.alice.taps() | lan.bob.taps()
    command = service.apt("install", str(debs.BROUGHT / "newer.deb"))
    with crowd(service.PACKAGED_HELPER, 4) as callers:
        callers.go_on(until=lambda: callers.seen.total() >= 8)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as upgrade:
            callers.go_on(until=lambda: upgrade.poll() is not None, also=lan.check)
            assert upgrade.returncode == 0, upgrade.communicate()[0]
        meanwhile = callers.seen.total() - 8
        callers.go_on(until=lambda: callers.seen.total() >= meanwhile + 16)
    assert meanwhile > 8
    assert set(callers.seen) == {"granted"}, callers.seen
    assert world.run("dpkg-query", "--show", "--showformat=${Version}", "qbhelper").endswith("~2")
    assert service.pid() not in (0, before)
    assert lan.alice.taps() | lan.bob.taps() == taps


@pytest.mark.usefixtures("replaced")
def test_what_is_purged_leaves_the_guests_their_network(lan: Lan) -> None:
    """Nothing of the packages runs or is configured any more, QEMU has its own helper back, and the guests live on."""
    world.run(*service.apt("purge", "qbhelper", "qbhelper-libvirt", "qbhelper-qemu"))
    lan.check()
    assert world.ports("br0") == {"wire"} | lan.alice.taps() | lan.bob.taps()
    assert not [path for path in ("/etc/qbhelper", "/run/qbhelper", "/usr/share/qbhelper") if Path(path).exists()]
    assert world.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "qbhelper*") == ""
    assert QEMUS.is_file()
    assert not QEMUS.is_symlink()
