# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor` on whole machines with the packages: all is well, then one thing after another is broken.

Each break is found at its station, and a user gets a port or not as it says; the command that is printed for it, run as
it stands, makes all well again, as the doctor sees it, and for the user, whose frames reach a PC on the wire.  What has
no command is mended by hand.
"""

import os
import select
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ctl.ward import Found, Visit, findings_in
from tests.host import service
from tests.packages import debs
from tests.support import apparmor, caller, frames, full_kernel, trees, wire, world
from tests.support.starters import User

CONTAINERS = pytest.mark.inside("debian13", "debian12", prepare=debs.bring)
VIRTUAL = pytest.mark.inside("debian13-vm", prepare=debs.bring)
"""For what this kernel may lack: AppArmor, and bridges that tell VLANs apart."""

USER = User("alice")
UID = 4001
CTL = "/usr/bin/qbhelperctl"
HELPER = service.PACKAGED_HELPER
QEMUS = "/usr/lib/qemu/qemu-bridge-helper"
SOCKET = "/run/qbhelper/broker.sock"
POLICY = "/etc/qbhelper/policy.toml"
RULES = "/etc/qbhelper/policy.d"
SETTINGS = "/home/alice/.config/libvirt"
NETWORKS = "/etc/systemd/network"
APPARMOR = Path("/sys/module/apparmor")
PROFILE = "/etc/apparmor.d/qbhelper"
ASIDE = "/root/aside"
MAC = "52:54:00:00:00:01"
CHAIN = "{ type filter hook forward priority 0; policy drop; }"

STATIONS = (
    *("device", "helper", "broker", "way", "policy", "verdict", "qemu", "libvirt", "confinement"),
    *("bridge", "STP", "address", "uplink", "VLANs", "firewall", "managers"),
)
"""In the order in which they are visited."""
OF_VLANS = Path(f"{RULES}/vlan.toml")
"""The rule without which there is nothing to say at the station of VLANs."""

SECONDS_TO_COUNT = 20.0
"""Until what is mended counts.  The broker looks but twice a second at what others than root could change; a new port
of a bridge with STP is mute for four seconds."""
QUESTION = frames.ethernet(frames.ARP, frames.arp("10.0.0.77", wire.ADDRESS))
ANSWERS = frames.packed(wire.ADDRESS) + frames.OWN_MAC + frames.packed("10.0.0.77")
"""What the user's guest would ask first of all, and the end of the PC's answer: whose it is, and for whom."""


@dataclass(frozen=True)
class Break:
    """Something that an administrator, an upgrade or another program does to a host, at a station.

    how: the commands that do it; undo: those that make all of it as it was, again is harmless.
    what: how the doctor tells it, in part.
    also: stations that can't be well then, either; on_12: in Debian 12 alone; unknown: those that can't tell then.
    then: those that have a problem when the command has been run, whose commands are run next.
    gives: whether the user gets a port all the same, because what is wrong meets frames, or other ways to ask.
    by_hand: whether no command can mend it; wants: what the kernel must have for that one can.
    """

    name: str
    station: str
    how: str
    undo: str
    what: str
    also: tuple[str, ...] = ()
    on_12: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    gives: bool = False
    by_hand: bool = False
    wants: str = ""

    def __str__(self) -> str:
        """Return the name of its test."""
        return f"{self.station}, {self.name}"

    def has_command(self) -> bool:
        """Whether one is printed for it, on this kernel."""
        return not (self.by_hand or (self.wants and self.wants in full_kernel.lacks()))


VLANS = Break(
    "not told apart",
    "VLANs",
    f"""printf '[[allow]]\\nbridge = "br0"\\nusers = "alice"\\nvlan = 20\\n[end]\\n' >{OF_VLANS}""",
    f"rm -f {OF_VLANS}; ip link set br0 type bridge vlan_filtering 0",
    f"{OF_VLANS}:1 ",
    wants="CONFIG_BRIDGE_VLAN_FILTERING",
)

BREAKS = (
    Break(
        "closed",
        "device",
        "chmod 0600 /dev/net/tun",
        "chmod 0666 /dev/net/tun",
        "the broker can't open /dev/net/tun",
    ),
    Break(
        # As after a boot, when the broker's own /dev is made without it.
        "gone",
        "device",
        "systemctl stop qbhelper.service;"
        " touch /run/tun; mount --bind /dev/net/tun /run/tun; umount /dev/net/tun; rm /dev/net/tun",
        "systemctl stop qbhelper.service;"
        " rm /dev/net/tun; touch /dev/net/tun; mount --bind /run/tun /dev/net/tun; umount /run/tun; rm /run/tun",
        "there is no /dev/net/tun",
    ),
    Break(
        "closed to users",
        "helper",
        f"chmod 0700 {HELPER}",
        f"chmod 0755 {HELPER}",
        f"alice may not start {HELPER}",
    ),
    Break(
        "open to change",
        "helper",
        f"chmod o+w {HELPER}",
        f"chmod 0755 {HELPER}",
        f"{HELPER} is not root's alone",
        gives=True,
    ),
    Break(
        # QEMU's path and libvirt's are links to it; without it nobody can say which way is open.
        "removed",
        "helper",
        f"mv {HELPER} {ASIDE}",
        f"mv {ASIDE} {HELPER}",
        "there is no qbhelper beside qbhelperctl or in /usr/bin: install it again",
        also=("qemu", "libvirt"),
        by_hand=True,
    ),
    Break(
        "stopped",
        "broker",
        "systemctl stop qbhelper.socket qbhelper.service",
        "systemctl start qbhelper.socket",
        f"{SOCKET} is there, but nobody listens on it",
    ),
    Break(
        "closed",
        "broker",
        f"chmod 0600 {SOCKET}",
        f"chmod 0666 {SOCKET}",
        f"{SOCKET} keeps alice from the broker's socket",
    ),
    Break(
        "disabled",
        "way",
        f"systemctl disable --now qbhelper.socket qbhelper.service; rm {SOCKET}",
        "systemctl enable --now qbhelper.socket",
        f"neither way is open: no broker runs, and {HELPER} is not setuid root and has no file capability",
    ),
    Break(
        "misspelt",
        "policy",
        f"cp -a {POLICY} {ASIDE}; sed -i s/^qemu_acl/qemu_alc/ {POLICY}",
        f"mv {ASIDE} {POLICY}",
        "`qemu_alc' is not known; did you mean `qemu_acl'?",
        also=("verdict",),
        by_hand=True,
    ),
    Break(
        "open to change",
        "policy",
        f"chmod o+w {POLICY}",
        f"chmod 0644 {POLICY}",
        f"{POLICY}: others than root can change it, so it counts for nobody",
        also=("verdict",),
    ),
    Break(
        "a deny",
        "verdict",
        f"""printf '[[deny]]\\nbridge = "br0"\\nusers = "alice"\\n[end]\\n' >{RULES}/deny.toml""",
        f"rm {RULES}/deny.toml",
        f"alice may not use br0: {RULES}/deny.toml:1 denies `br0'; if they should, change that line",
        by_hand=True,
    ),
    Break(
        "no rule",
        "verdict",
        f"echo '# nobody' >{world.ACCESS_LIST}",
        f"echo allow br0 >{world.ACCESS_LIST}; rm {RULES}/allow-alice-br0.toml",
        f"alice may not use br0: no line of {POLICY} allows `br0'",
    ),
    Break(
        # Debian 12's libvirt starts what QEMU does.
        "without our package",
        "qemu",
        "apt-get --yes remove qbhelper-qemu",
        "apt-get --yes install qbhelper-qemu",
        f"`-nic bridge' starts {QEMUS}: QEMU's own, without privilege: it fails",
        on_12=("libvirt",),
        gives=True,
    ),
    Break(
        "overwritten",
        "qemu",
        f"cp --remove-destination {QEMUS}.qemu {QEMUS}",
        f"ln -sf {HELPER} {QEMUS}",
        f"`-nic bridge' starts {QEMUS}: QEMU's own, without privilege: it fails",
        on_12=("libvirt",),
        gives=True,
    ),
    Break(
        "told another",
        "libvirt",
        f"setpriv --reuid={UID} --regid={UID} --clear-groups sh -c"
        f""" 'mkdir -p {SETTINGS}; echo "bridge_helper = \\"{QEMUS}.qemu\\"" >{SETTINGS}/qemu.conf'""",
        f"rm -r {SETTINGS}",
        f"libvirt starts {QEMUS}.qemu for alice's own guests ({SETTINGS}/qemu.conf says so): QEMU's own",
        gives=True,
    ),
    Break(
        "down",
        "bridge",
        "ip link set br0 down",
        "ip link set br0 up",
        "br0 is down",
        gives=True,
    ),
    Break(
        # Of a bridge that is not there the stations after it have nothing to say, and the new one is a bare one.
        "gone",
        "bridge",
        "ip link delete br0",
        "ip link delete br0; ip link add br0 type bridge;"
        f" ip link set br0 up address {MAC}; ip link set wire master br0",
        "there is no bridge in this network namespace",
        unknown=("verdict",),
        then=("address", "uplink"),
    ),
    Break(
        "slow",
        "STP",
        "ip link set br0 type bridge stp_state 1 forward_delay 1500",
        "ip link set br0 type bridge stp_state 0 forward_delay 1500",
        "a new port of br0 is mute for 30 seconds",
        gives=True,
    ),
    Break(
        "left to the ports",
        "address",
        "ip link delete br0; ip link add br0 type bridge; ip link set br0 up; ip link set wire master br0",
        f"ip link set br0 address {MAC}",
        "br0 takes its MAC address from its ports",
        gives=True,
    ),
    Break(
        "down",
        "uplink",
        "ip link set wire down",
        "ip link set wire up",
        "br0 leads out by wire, and wire is down",
        gives=True,
    ),
    Break(
        "unplugged",
        "uplink",
        "nsenter --target=$PC --net ip link set eth0 down",
        "nsenter --target=$PC --net ip link set eth0 up",
        "br0 leads out by wire, without a carrier: look at the cable, or the other end",
        by_hand=True,
        gives=True,
    ),
    Break(
        "not in the bridge",
        "uplink",
        "ip link set wire nomaster",
        "ip link set wire master br0",
        "br0 has none and no IP address",
        gives=True,
    ),
    VLANS,
    Break(
        # br_netfilter shows it the frames: this kernel has it built in.
        "for what is routed",
        "firewall",
        f"nft 'add table inet mine; add chain inet mine forward {CHAIN}'",
        "nft delete table inet mine",
        "nftables' chain `inet mine forward' drops IPv4 and IPv6 that is bridged on br0",
        gives=True,
    ),
    Break(
        "networkd",
        "managers",
        f"mkdir -p {NETWORKS}; printf '[Match]\\nKind=tun\\n' >{NETWORKS}/50-all.network;"
        " systemctl start systemd-networkd.service",
        f"rm {NETWORKS}/*.network; systemctl stop systemd-networkd.socket systemd-networkd.service",
        "systemd-networkd takes our ports off their bridge, as interfaces of its own",
        gives=True,
    ),
)

# In a container AppArmor is its host's.  In a virtual machine the packages have put our profiles in force.
OF_OTHER_KERNELS = (
    VLANS,
    Break(
        "not loaded",
        "confinement",
        f"apparmor_parser --remove {PROFILE}",
        f"apparmor_parser --replace {PROFILE}",
        f"AppArmor does not confine {HELPER}: its profile is there, and not loaded",
        gives=True,
    ),
)


@pytest.fixture(scope="module", autouse=True)
def pc() -> Iterator[wire.Pc]:
    """All is well on the machine: our packages, a bridge that a PC is on, a rule, and a user with an account."""
    world.run("useradd", "--uid", str(UID), "--create-home", USER.name)
    if APPARMOR.exists() and world.machine() in trees.SUITES:
        # A container shows that its host has it, and not what that does: then nobody could tell.
        world.run("mount", "-t", "tmpfs", "tmpfs", str(APPARMOR))
    service.install_packages(*debs.NAMES)
    world.write_access_list("allow br0\n")
    with world.bridge("br0"), wire.plugged_into("br0") as pc:
        world.run("ip", "link", "set", "br0", "address", MAC)
        yield pc


@pytest.fixture(scope="module")
def archive() -> None:
    """Apt knows where our packages are."""
    service.offer_packages()


@pytest.fixture
def broken(request: pytest.FixtureRequest, pc: wire.Pc) -> Iterator[Break]:
    """One thing is broken, until the end of the test at the latest."""
    this = request.param
    assert isinstance(this, Break)
    try:
        check(this.how, pc)
        yield this
    finally:
        run(this.undo, pc)


def each(breaks: Sequence[Break]) -> pytest.MarkDecorator:
    """Have a test run once for each."""
    return pytest.mark.parametrize("broken", breaks, ids=str, indirect=True)


# --- What is run ----------------------------------------------------------------------------------


def run(commands: str, pc: wire.Pc) -> "subprocess.CompletedProcess[str]":
    """Run the words of a shell as root, who has a terminal no more; the PC on the wire is the process $PC."""
    command = ["env", f"PC={pc.pid}", "sh", "-c", commands]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)


def check(commands: str, pc: wire.Pc) -> None:
    """Run what must succeed, each part of it."""
    done = run(f"set -e; {commands}", pc)
    assert done.returncode == 0, (commands, done.stderr)


def mend(found: Found, pc: wire.Pc) -> None:
    """Run the command that is printed, as it stands."""
    assert found.remedy is not None, found
    done = run(found.remedy, pc)
    assert done.returncode == 0, (found.remedy, done.stderr)


def doctor(*words: str, by: Sequence[str] = ()) -> Visit:
    """Have the doctor come, called by root or by others."""
    command = [*by, CTL, "doctor", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd="/")
    assert done.stderr == ""
    visit = Visit(done.returncode, findings_in(done.stdout))
    assert visit.status == bool(visit.problems())
    return visit


def check_that_all_is_well(visit: Visit, *, but: tuple[str, ...] = ()) -> None:
    """See that each station is there, and is all right; `but` those that can't be told."""
    assert visit.problems() == []
    assert stations_in(visit.findings) == tuple(name for name in STATIONS if name != VLANS.station or OF_VLANS.exists())
    assert stations_in(visit.unknown()) == but


def stations_in(findings: Iterable[Found]) -> tuple[str, ...]:
    """Where something was found, in its order."""
    return tuple(dict.fromkeys(found.station for found in findings))


def gets_a_port() -> bool:
    """Whether QEMU of the user's would get one, which is what all of this is about."""
    try:
        with caller.call(HELPER, uid=UID) as outcome:
            return outcome.granted
    except (FileNotFoundError, PermissionError):  # of the helper itself
        return False


def soon_gets_a_port() -> bool:
    """Whether that comes true by itself."""
    deadline = time.monotonic() + SECONDS_TO_COUNT
    while time.monotonic() < deadline:
        if gets_a_port():
            return True
    return False


def soon_is_on_the_lan() -> bool:
    """Whether QEMU of the user's gets a port, and an answer of the PC by it."""
    deadline = time.monotonic() + SECONDS_TO_COUNT
    while time.monotonic() < deadline:
        with caller.call(HELPER, uid=UID, vnet=False) as outcome:
            # A rule for VLANs has it in one that the PC is not in.
            if outcome.granted and (OF_VLANS.exists() or _is_answered(outcome.fds[0], deadline)):
                return True
    return False


def _is_answered(tap: int, deadline: float) -> bool:
    while time.monotonic() < deadline:
        os.write(tap, QUESTION)
        while select.select([tap], [], [], 0.1)[0]:
            if os.read(tap, 2000)[28:42] == ANSWERS:
                return True
    return False


# --- What is found --------------------------------------------------------------------------------


@CONTAINERS
def test_all_is_well_after_the_packages_are_installed() -> None:
    """As root sees it, in JSON and in words, and as the user does, but for what is for root alone."""
    check_that_all_is_well(doctor("--user=alice"))
    # What nftables drops the kernel tells who has CAP_NET_ADMIN, and nobody else.
    check_that_all_is_well(doctor(by=USER.words()), but=("firewall",))
    *lines, last = world.run(CTL, "doctor", "--user=alice").splitlines()
    assert {line.split()[1] for line in lines if not line.startswith(" ")} == {"ok"}
    assert last == "no problem found"
    assert soon_is_on_the_lan()


@CONTAINERS
@pytest.mark.usefixtures("archive")
@each(BREAKS)
def test_what_is_broken_is_found_and_mended(broken: Break, pc: wire.Pc) -> None:
    """Alone, or with what can't be well then, either; afterwards all is, and the user gets a port."""
    check_course(broken, pc)


@VIRTUAL
@each(OF_OTHER_KERNELS)
def test_what_a_distributions_kernel_has_is_found_and_mended(broken: Break, pc: wire.Pc) -> None:
    """The same, with our profiles in force, which deny nothing.  With a rule for VLANs each station has its say."""
    with apparmor.watched() as watch:
        check_course(broken, pc)
        assert watch.hear().denied == []


def check_course(broken: Break, pc: wire.Pc) -> None:
    """See what a break does to the user, what the doctor says of it, and what comes of that."""
    # First, so that the doctor meets a broker that has started: for a busy virtual machine that is a matter of seconds.
    assert soon_gets_a_port() if broken.gives else not gets_a_port()
    visit = doctor("--user=alice")
    [found] = [problem for problem in visit.problems() if problem.station == broken.station]
    assert broken.what in found.what
    also = broken.also + (broken.on_12 if world.machine() == "debian12" else ())
    assert {*stations_in(visit.problems())} == {broken.station, *also}
    assert stations_in(visit.unknown()) == broken.unknown
    if broken.has_command():
        mend(found, pc)
        for number, station in enumerate(broken.then):
            problems = doctor("--user=alice").problems()
            assert stations_in(problems) == broken.then[number:]
            assert problems[0].station == station
            mend(problems[0], pc)
    else:
        assert found.remedy is None
        run(broken.undo, pc)
    check_that_all_is_well(doctor("--user=alice"))
    assert soon_is_on_the_lan()
