# SPDX-License-Identifier: GPL-2.0-or-later
"""AppArmor in force: our packages' profiles around all that they bring, and libvirt's own, as Debian has it.

After each test nothing has been denied that it does not say.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host import service
from tests.packages import debs
from tests.support import apparmor, caller, monitor, processes, starters, world
from tests.support.apparmor import Watch
from tests.support.caller import Outcome
from tests.support.guest import QEMU
from tests.support.starters import User

pytestmark = pytest.mark.inside("debian13-vm", prepare=debs.bring)

OURS = ("qbhelper", "qbhelperctl", "qbhelperd")
CTL = Path("/usr/bin/qbhelperctl")
USER = User("alice")
UID = 4001
TUNSETPERSIST = 0x400454CB

LIBVIRTS = apparmor.PROFILES / "usr.sbin.libvirtd"
LIBVIRTS_LOCAL = apparmor.PROFILES / "local/usr.sbin.libvirtd"
SNIPPET = Path("/usr/share/doc/qbhelper/examples/libvirt-local")
FOUND_FIRST = Path("/usr/bin/qemu-bridge-helper")
QEMUS = Path("/usr/lib/qemu/qemu-bridge-helper")

TO_BE_AUDITED = ("/dev/net/tun rw", "network unix seqpacket", "unix type=seqpacket")
"""Rules of ours of which the kernel is to say each time that they were used: who asks the broker, or is given a TAP."""
TAP_FOR_CTL = 'operation="file_receive" class="file" profile="qbhelperctl" name="/dev/net/tun"'

DOMAIN = """
<domain type='qemu'>
  <name>carol</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <interface type='bridge'><source bridge='{bridge}'/><model type='virtio'/><rom enabled='no'/></interface>
  </devices>
</domain>
"""

# A port for cards to come, by PCIe's own rules: what a guest that stands still has not seen is taken out at once.
MACHINE = (
    "-accel tcg -machine q35 -m 64 -nodefaults -display none -S -daemonize -sandbox on "
    "-device pcie-root-port,id=port1,chassis=1 -global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"
)


@pytest.fixture(scope="module", autouse=True)
def packages() -> Iterator[dict[str, str | None]]:
    """The packages are installed, there is a bridge that everybody may use, and a user with an account.

    Gives how each of our profiles was in force before anything else was done.
    """
    names = ("qbhelper", "qbhelper-libvirt", "qbhelper-qemu")
    # Everything they depend on is there: apt would only take longer.
    world.run("dpkg", "--force-unsafe-io", "--install", *(str(debs.BROUGHT / f"{name}.deb") for name in names))
    modes = {name: apparmor.mode(name) for name in OURS}
    world.run("useradd", "--uid", str(UID), "--create-home", USER.name)
    world.write_access_list("allow br0\n")
    with world.bridge("br0"):
        yield modes


@pytest.fixture(scope="module")
def libvirts() -> Iterator[None]:
    """Libvirt's own profile, whole and unchanged, is in force."""
    apparmor.load(LIBVIRTS)
    assert apparmor.mode("libvirtd") == apparmor.mode("libvirtd//qemu_bridge_helper") == "enforce"
    yield
    world.run("apparmor_parser", "--remove", str(LIBVIRTS))


@pytest.fixture
def snippet(libvirts: None) -> Iterator[None]:
    """What the package has for it is added, as the snippet's head says."""
    script = f"cat {SNIPPET} | tee -a local/{LIBVIRTS.name} && apparmor_parser -r {LIBVIRTS.name}"
    world.run("sh", "-c", f"cd {apparmor.PROFILES} && {script}")
    yield
    LIBVIRTS_LOCAL.write_text("")
    apparmor.load(LIBVIRTS)


@pytest.fixture(autouse=True)
def watch() -> Iterator[Watch]:
    """What is granted is audited; and in the end nothing was denied but what the test has taken out of the list."""
    for name in ("qbhelper", "qbhelperctl"):
        text = (apparmor.PROFILES / name).read_text()
        for rule in TO_BE_AUDITED:
            text = text.replace(f"\n  {rule},", f"\n  audit {rule},")
        apparmor.load_text(text)
    with apparmor.watched() as watch:
        yield watch
        assert watch.hear().denied == []


def call(*command: str | Path, bridge: str = "br0") -> Outcome:
    """Have a helper ask for a port as a user without any privilege; the command may say by whom it is started."""
    program, *words = map(str, command)
    own = ["--use-vnet", f"--br={bridge}"]
    return caller.call(Path(program), argv=lambda fd: [*words, *own, f"--fd={fd}"])


def askers(watch: Watch) -> list[tuple[str, str]]:
    """Who was about to ask the broker: each time by which name it was started, and its profile."""
    wanted = re.compile(r'operation="create" .*profile="([^"]*)" .*comm="([^"]*)" .*sock_type="seqpacket"')
    found = [match for line in watch.hear().audited if (match := wanted.search(line))]
    return [(match[2], match[1]) for match in found]


def ctl(*words: str | Path, uid: int = caller.PLAIN_UID, status: int = 0) -> str:
    """What the installed qbhelperctl prints for a user; it has to end with this status."""
    done = subprocess.run(
        [CTL, *words], user=uid, group=uid, extra_groups=[], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_what_the_packages_bring_is_confined(packages: dict[str, str | None]) -> None:
    """From the installation on, and the broker from its first request on, under its own name."""
    assert packages == dict.fromkeys(OURS, "enforce")
    with call(service.PACKAGED_HELPER) as outcome:
        assert outcome.granted, outcome
    assert apparmor.confinement(service.pid()) == "qbhelperd (enforce)"


def test_grants_are_logged_and_shown() -> None:
    """Standalone and through the broker: nothing that the log takes, to write it or to read it, is denied."""
    lines = []
    try:
        for mode in (0o755, 0o4755):
            service.PACKAGED_HELPER.chmod(mode)
            with call(service.PACKAGED_HELPER) as outcome:
                assert outcome.granted, outcome
                lines.append(f"{caller.PLAIN_UID}  granted  {outcome.tap().name} on br0 by /etc/qemu/bridge.conf:1")
    finally:
        service.PACKAGED_HELPER.chmod(0o755)
    world.run("journalctl", "--sync")
    assert [line[21:] for line in world.run(str(CTL), "log").splitlines()][-2:] == lines


def test_ports_are_got_and_ended_in_each_way() -> None:
    """Granted, refused, revoked, with several queues and vhost to a command, by name; asked about, and reconciled."""
    world.run("modprobe", "vhost_net")
    Path("/dev/vhost-net").chmod(0o666)
    with world.rule("queues = 2", "vhost = true", "persistent = true", "max_ports = 3"):
        assert call(service.PACKAGED_HELPER, bridge="br1").refused
        with call(service.PACKAGED_HELPER) as outcome:
            assert outcome.granted, outcome
            tap = outcome.tap().name
            assert f" {tap} " in ctl("status")
            [lease] = re.findall(rf" {tap} .*lease ([0-9a-f]{{16}})", ctl("status"))
            assert ctl("revoke", "--detach", lease, uid=0).startswith(f"detached {tap} ")
            assert world.ports("br0") == frozenset()
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
        ctl("import")
        ctl("doctor", uid=0, status=1)  # the bridge leads nowhere
        # Root's looks into each process, also into those that are confined themselves.
        with subprocess.Popen(apparmor.within("qbhelper", "python3", "-c", "input()"), stdin=subprocess.PIPE):
            ctl("status", uid=0)


def test_the_broker_ends_what_is_kept_against_the_rules() -> None:
    """A TAP that its holder has made persistent is deleted at once."""
    with call(service.PACKAGED_HELPER) as outcome:
        assert outcome.granted, outcome
        tap = outcome.tap().name
        fcntl.ioctl(outcome.fds[0], TUNSETPERSIST, 1)
        deadline = time.monotonic() + apparmor.PATIENCE
        while tap in world.interfaces():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_watch_ends_itself_by_the_signal_that_ended_it() -> None:
    """Who sent it sees that; the kernel asks the profile whether it may."""
    words = [str(CTL), "status", "--watch", "--json"]
    uid = caller.PLAIN_UID
    with subprocess.Popen(words, user=uid, group=uid, extra_groups=[], stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())
        watcher.terminate()
        assert watcher.wait() == -signal.SIGTERM


# QEMU that runs: attach and detach --------------------------------------------------------------------------


@pytest.fixture
def module() -> Iterator[None]:
    """qemu.qmp is installed, as pip does it."""
    [ours] = [Path(path) for path in map("{}/qemu/qmp".format, sys.path) if Path(path).is_dir()]
    script = "import sys; print(*sys.version_info[:2], sep='.')"
    version = world.run("/usr/bin/python3", "-c", script).strip()
    packages = Path(f"/usr/local/lib/python{version}/dist-packages/qemu")
    shutil.copytree(ours, packages / "qmp")
    world.run("/usr/bin/python3", "-m", "compileall", "-q", str(packages))
    yield
    shutil.rmtree(packages)


@contextmanager
def qemu(path: Path) -> Iterator[int]:
    """A QEMU of a plain user, in its sandbox, that has a monitor there and runs no guest; its pid."""
    pid_file = path.with_suffix(".pid")
    words = [QEMU, *MACHINE.split(), "-pidfile", str(pid_file), *monitor.words(path)]
    uid = caller.PLAIN_UID
    done = subprocess.run(words, user=uid, group=uid, extra_groups=[], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pid = int(pid_file.read_text())
    try:
        yield pid
    finally:
        processes.end(pid, monitor.PATIENCE)


@pytest.mark.usefixtures("module")
def test_a_card_is_attached_to_qemu_and_detached(watch: Watch) -> None:
    """The TAP comes from the broker, and goes to a QEMU of the user's by its monitor."""
    path = Path("/tmp/qmp-of-a-test")
    with qemu(path) as pid:
        before = monitor.state(pid, path)
        assert ctl("attach", "--qmp", path, "--bridge", "br0").startswith("attached qb0: ")
        assert len(world.ports("br0")) == 1
        assert ctl("detach", "--qmp", path, "qb0") == "detached qb0\n"
        assert world.ports("br0") == frozenset()
        assert monitor.state(pid, path) == before
    assert any(TAP_FOR_CTL in line for line in watch.hear().audited)


MONITORS = {
    "/home/bob/vm/qmp-sock": True,
    "/home/bob/.cache/libvirt/qemu/lib/domain-1-vm/monitor.sock": True,
    "/home/bob/vm.qmp": True,
    "/home/bob/.profile": False,
    "/tmp/vm1": True,
    "/run/user/4001/vm1": True,
    "/tmp/of-root": False,
}
"""Where users have their monitors; and what no rule for them may open."""


def test_monitors_may_be_connected_to_where_users_have_them(watch: Watch) -> None:
    """For a kernel that asks the rules for files when somebody connects; this one asks when somebody opens one."""
    for path in map(Path, MONITORS):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)
        owner = 0 if path.name == "of-root" else UID
        os.chown(path, owner, owner)
    script = "import sys\nfor path in sys.argv[1:]:\n try: open(path, 'r+'); print(True)\n except OSError: print(False)"
    command = apparmor.within("qbhelperctl", "/usr/bin/python3", "-c", script, *MONITORS)
    opened = subprocess.run(command, user=UID, group=UID, extra_groups=[], capture_output=True, text=True, check=True)
    assert dict(zip(MONITORS, opened.stdout.split(), strict=True)) == {path: str(may) for path, may in MONITORS.items()}
    watch.hear()
    for name in [name for name, may in MONITORS.items() if not may]:
        [line] = [line for line in watch.denied if f'name="{name}"' in line]
        watch.denied.remove(line)


# libvirt's own profile around ours ----------------------------------------------------------------------------


@pytest.mark.usefixtures("libvirts")
@pytest.mark.parametrize("path", [service.PACKAGED_HELPER, FOUND_FIRST, QEMUS], ids=str)
def test_libvirt_may_start_it_by_each_path(watch: Watch, path: Path) -> None:
    """The one that libvirt 11 finds, QEMU's for those before, and its own: each grants and refuses, in our profile."""
    command = apparmor.as_child_of("libvirtd", path)
    with call(*command) as outcome:
        assert outcome.granted, outcome
        assert outcome.tap().name in world.ports("br0")
    refused = call(*command, bridge="br1")
    assert refused.refused
    assert "no line of /etc/qemu/bridge.conf allows `br1'" in refused.stderr
    # The kernel cuts the name of a program.
    assert askers(watch) == [(path.name[:15], "qbhelper")] * 2


@pytest.mark.usefixtures("libvirts")
def test_a_copy_in_the_place_of_qemus_would_be_caged(watch: Watch) -> None:
    """Which is why the package has a link there: libvirt's profile for QEMU's helper lets no broker's TAP in."""
    link = QEMUS.readlink()
    QEMUS.unlink()
    try:
        shutil.copy(service.PACKAGED_HELPER, QEMUS)
        assert call(*apparmor.as_child_of("libvirtd", QEMUS)).refused
        [denied] = watch.hear().denied
        assert 'profile="libvirtd//qemu_bridge_helper" name="dev/net/tun"' in denied
        watch.denied.clear()
    finally:
        QEMUS.unlink()
        QEMUS.symlink_to(link)


def confinements() -> list[tuple[str, str]]:
    """What the doctor says of AppArmor: the state of each finding, and its words."""
    done = subprocess.run([CTL, "doctor", "--json"], capture_output=True, text=True, check=False)
    findings = json.loads(done.stdout)["findings"]
    return [(one["state"], one["what"]) for one in findings if one["station"] == "confinement"]


def libvirt_may_end_it() -> bool:
    """Whether a program with libvirt's profile may end one that has ours."""
    command = apparmor.within("qbhelper", "python3", "-c", "print(flush=True); input()")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as ours:
        assert ours.stdout is not None
        ours.stdout.readline()
        kill = apparmor.within("libvirtd", "kill", "-TERM", str(ours.pid))
        return subprocess.run(kill, capture_output=True, check=False).returncode == 0


@pytest.mark.usefixtures("libvirts")
def test_the_doctor_names_what_libvirt_may_not_do(watch: Watch, request: pytest.FixtureRequest) -> None:
    """That is to end the helper when it has refused, which nothing depends on; it may by what the package brings."""
    assert not libvirt_may_end_it()
    [denied] = watch.hear().denied
    assert re.search(r'operation="signal" .*profile="libvirtd" .*signal=term peer="qbhelper"', denied)
    watch.denied.clear()
    lets = "AppArmor lets libvirtd start /usr/bin/qbhelper and talk to it"
    assert confinements() == [
        ("ok", "AppArmor confines /usr/bin/qbhelper by a profile of its own (enforce mode)"),
        ("ok", f"{lets}, not end it: the kernel may log refused ports as `DENIED', too"),
    ]
    request.getfixturevalue("snippet")
    assert confinements()[1] == ("ok", lets)
    assert libvirt_may_end_it()


@pytest.mark.usefixtures("snippet")
def test_a_session_of_libvirt_gets_ports_and_reads_refusals(watch: Watch, tmp_path: Path) -> None:
    """In the daemon that virsh starts for a user, confined: its helper ends in our profile, and nothing is denied."""
    assert libvirt_may_end_it()
    domain = tmp_path / "domain.xml"
    for directory in (tmp_path, *tmp_path.parents[:-1]):
        directory.chmod(0o755)
    domain.write_text(DOMAIN.format(bridge="br1"))
    refused = starters.virsh(USER, "create", "--paused", str(domain))
    assert f"{FOUND_FIRST} --use-vnet --br=br1" in refused.stderr
    assert "no line of /etc/qemu/bridge.conf allows `br1'" in refused.stderr
    domain.write_text(DOMAIN.format(bridge="br0"))
    done = starters.virsh(USER, "create", "--paused", str(domain))
    assert done.returncode == 0, done.stderr
    try:
        tap = starters.virsh(USER, "domiflist", "carol").stdout.split()[0]
        assert tap in world.ports("br0")
        [libvirt] = processes.running("/usr/sbin/libvirtd")
        assert apparmor.confinement(libvirt) == "libvirtd (enforce)"
        assert askers(watch) == [(FOUND_FIRST.name[:15], "qbhelper")] * 2
    finally:
        starters.virsh(USER, "destroy", "carol")
