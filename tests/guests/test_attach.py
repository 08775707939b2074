# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl attach` and `detach`: cards for a QEMU that runs; and of what fails on the way nothing is left."""

import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
import qemu.qmp

from tests.support import broker, full_kernel, guest, install, monitor, processes, world
from tests.support.caller import PLAIN_UID
from tests.support.guest import Guest

pytestmark = pytest.mark.needs_root

SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
Q35 = ("-machine", "q35")
PORTS = [word for number in (1, 2) for word in ("-device", f"pcie-root-port,id=port{number},chassis={number}")]
MAC = "52:54:00:00:00:01"
PATIENCE = 60
"""Seconds that the guest may take for anything."""


@cache
def program() -> Path:
    """The installed qbhelperctl, which finds qemu.qmp: a copy of it where a plain uid can look."""
    directory = world.WORLD / "attach"
    shutil.copytree(Path(qemu.qmp.__file__).parent, directory / "modules/qemu/qmp")
    found = install.installed().with_name("qbhelperctl").read_text()
    begin = "import sys\n"
    assert begin in found
    path = directory / "qbhelperctl"
    path.write_text(found.replace(begin, f"{begin}sys.path.append({str(directory / 'modules')!r})\n"))
    path.chmod(0o755)
    return path


def start(*words: str | Path, uid: int = PLAIN_UID, with_module: bool = True) -> "subprocess.Popen[str]":
    """Start qbhelperctl as a plain user."""
    path = program() if with_module else install.installed().with_name("qbhelperctl")
    return subprocess.Popen(
        [path, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath},
    )


def ctl(*words: str | Path, uid: int = PLAIN_UID, with_module: bool = True) -> tuple[int, str, str]:
    """Run qbhelperctl as a plain user: its exit status, and what it printed and said."""
    process = start(*words, uid=uid, with_module=with_module)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def lan() -> Iterator[None]:
    """A bridge by a rule that gives queues, one that is refused, and a broker."""
    guest.image_in_world()
    with world.rule("queues = 2"), world.bridge("br0"), world.bridge("br1"), broker.by_hand():
        world.run("ip", "address", "add", "10.0.0.254/24", "dev", "br0")
        yield


class Machine:
    """A guest in a strict sandbox, which starts without any card, and its monitor at a path."""

    def __init__(self, stack: ExitStack, name: str, *words: str) -> None:
        directory = world.WORLD / f"monitor-{name}"
        directory.mkdir()
        os.chown(directory, PLAIN_UID, PLAIN_UID)
        stack.callback(shutil.rmtree, directory)
        self.path = directory / "qmp"
        self.guest = stack.enter_context(Guest(name, [], [*SANDBOX, *words, *monitor.words(self.path)]))
        # Its other monitor greets us once all sockets are there.
        assert select.select([self.guest.qmp], [], [], PATIENCE)[0]

    def attach(self, *words: str | Path, path: Path | None = None) -> tuple[int, str, str]:
        """Run `qbhelperctl attach` for br0, with further words."""
        return ctl("attach", "--qmp", path or self.path, "--bridge", "br0", *words)

    def detach(self, name: str) -> tuple[int, str, str]:
        """Run `qbhelperctl detach`."""
        return ctl("detach", "--qmp", self.path, name)

    def state(self) -> dict[str, object]:
        """What QEMU has of cards."""
        return monitor.state(self.guest.pid, self.path)

    def ping_by(self, mac: str) -> str:
        """Have the guest find the card with this MAC address, and ping the host by it; the card's name there."""
        # The guest finds the card in its own time; it looks every 20 ms, for so long as we wait.
        self.guest.check(f"until grep -qs {mac} /sys/class/net/*/address; do usleep 20000; done", timeout=PATIENCE)
        name = self.guest.check(f"basename $(dirname $(grep -l {mac} /sys/class/net/*/address))").strip()
        self.guest.check(f"ip address add 10.0.0.1/24 dev {name} && ip link set {name} up")
        self.guest.check("until ping -c 1 -W 1 10.0.0.254; do :; done", timeout=PATIENCE)
        return name


@pytest.fixture(scope="module")
def machine(lan: None) -> Iterator[Machine]:
    """A guest that has booted."""
    with ExitStack() as stack:
        found = Machine(stack, "alice", "-smp", "2")
        found.guest.wait_until_ready()
        yield found


@pytest.fixture(scope="module")
def q35(lan: None) -> Iterator[Machine]:
    """A guest on a PCIe machine with two ports for cards to come."""
    with ExitStack() as stack:
        found = Machine(stack, "carol", *Q35, *PORTS)
        found.guest.wait_until_ready()
        yield found


# What works -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queues", [1, 2])
def test_a_card_can_be_attached_and_detached(machine: Machine, queues: int) -> None:
    """The guest pings the host by it, with all its queues; when it is detached QEMU and the bridge are as before."""
    before = machine.state()
    status, out, err = machine.attach("--mac", MAC, "--queues", str(queues))
    [tap] = world.ports("br0")
    assert (status, out, err) == (0, f"attached qb0: {tap} on br0, MAC address {MAC}\n", "")
    assert machine.guest.taps() == {tap}
    name = machine.ping_by(MAC)
    assert len(machine.guest.check(f"ls -d /sys/class/net/{name}/queues/tx-*").split()) == queues
    assert machine.detach("qb0") == (0, "detached qb0\n", "")
    assert not world.ports("br0")
    assert machine.state() == before


def test_cards_are_numbered_and_detached_in_any_order(machine: Machine) -> None:
    """Each gets the first free id of qb0, qb1 and so on, or the one that is said, and a MAC address of its own."""
    before = machine.state()
    said = [machine.attach(*words) for words in ((), (), ("--id", "lan.7"))]
    assert [status for status, _, _ in said] == [0, 0, 0]
    assert [out.split()[1] for _, out, _ in said] == ["qb0:", "qb1:", "lan.7:"]
    assert len({out.split()[-1] for _, out, _ in said}) == 3
    assert machine.detach("qb0")[0] == 0
    assert machine.attach()[1].startswith("attached qb0: ")
    for name in ("qb1", "lan.7", "qb0"):
        assert machine.detach(name) == (0, f"detached {name}\n", "")
    assert not world.ports("br0")
    assert machine.state() == before


def test_other_models_can_be_attached(machine: Machine) -> None:
    """Any card that this QEMU knows; one that is not virtio knows nothing of its words for queues."""
    assert machine.attach("--model", "e1000", "--mac", MAC)[::2] == (0, "")
    machine.ping_by(MAC)
    assert machine.detach("qb0")[::2] == (0, "")
    assert machine.attach("--model", "e1000", "--queues", "2")[::2] == (0, "")
    assert machine.detach("qb0")[::2] == (0, "")
    assert not world.ports("br0")


def test_a_pcie_machine_has_room_for_as_many_cards_as_free_ports(q35: Machine) -> None:
    """Each card goes to a free port, works, and can be detached; the next is refused, with what to do."""
    before = q35.state()
    assert q35.attach("--mac", MAC)[::2] == (0, "")
    q35.ping_by(MAC)
    assert q35.attach()[::2] == (0, "")
    taps, devices = q35.guest.taps(), q35.state()["devices"]
    status, out, err = q35.attach()
    assert (status, out) == (1, "")
    assert err.startswith("qbhelperctl: QEMU refused device_add: Bus 'pcie.0' does not support hotplugging; ")
    assert "-device pcie-root-port," in err
    assert (q35.guest.taps(), q35.state()["devices"]) == (taps, devices)
    assert broker.await_links(lambda: world.ports("br0") == taps)
    for name in ("qb0", "qb1"):
        assert q35.detach(name)[::2] == (0, "")
    assert not world.ports("br0")
    assert q35.state() == before


VHOST = Path("/dev/vhost-net")
RULED = "52:54:00:00:00:42"


@contextmanager
def still_machine(path: Path) -> Iterator[int]:
    """A QEMU that runs no guest, for where there is none to boot; its pid."""
    pid_file = path.with_name("pid")
    words = [guest.QEMU, "-sandbox", "on", *guest.MACHINE.split(), "-S", "-daemonize", "-pidfile", str(pid_file)]
    done = subprocess.run(
        [*words, *monitor.words(path)],
        user=PLAIN_UID,
        group=PLAIN_UID,
        extra_groups=[],
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    pid = int(pid_file.read_text())
    try:
        yield pid
    finally:
        processes.end(pid, PATIENCE)


@pytest.mark.inside(full_kernel.MACHINE)
def test_the_rule_may_give_the_mac_address_or_have_the_kernel_move_the_packets() -> None:
    """A MAC address is one that is let through; with --vhost QEMU has an fd of /dev/vhost-net for each queue."""
    path = world.WORLD / "still" / "qmp"
    path.parent.mkdir()
    os.chown(path.parent, PLAIN_UID, PLAIN_UID)
    world.run("modprobe", "vhost_net")
    # The broker that is started by hand has no group of its own, that the device could be of.
    mode = VHOST.stat().st_mode
    VHOST.chmod(0o666)
    words = ["attach", "--qmp", str(path), "--bridge", "br0"]
    with world.bridge("br0"), broker.by_hand(), still_machine(path) as pid:
        before = monitor.state(pid, path)
        with world.rule(f'macs = ["{RULED}"]'):
            status, out, err = ctl(*words, "--mac", MAC)
            assert (status, out) == (1, "")
            assert err.startswith(f"qbhelperctl: a guest with MAC address {MAC} would not be heard on br0; the rule ")
            assert monitor.state(pid, path) == before
            status, out, err = ctl(*words)
            assert (err, status) == ("", 0)
            assert out.endswith(f" on br0, MAC address {RULED}\n")
        before = monitor.state(pid, path)
        with world.rule("queues = 2", "vhost = true"):
            assert "device_add" in ctl(*words, "--vhost", "--queues", "2", "--model", "ne9999")[2]
            assert monitor.state(pid, path) == before
            status, out, err = ctl(*words, "--vhost", "--queues", "2")
            assert (err, status) == ("", 0)
            assert monitor.fds(pid)[str(VHOST)] == 2
    VHOST.chmod(mode)
    assert broker.no_tap_is_left()


# What is refused, and then nothing is left -------------------------------------------------------------------


REFUSALS = {
    "unknown model": (["--model", "ne9999"], "QEMU refused device_add: 'ne9999' is not a valid device model name"),
    "no network card": (
        ["--model", "virtio-rng-pci"],
        "QEMU refused device_add: Property 'virtio-rng-pci.netdev' not found",
    ),
    "an id that exists": (
        ["--id", "other"],
        "that QEMU has a device other already; leave --id out, and a free one is taken",
    ),
    "a bridge that is not allowed": (["--bridge", "br1"], "access denied"),
    "too many queues": (["--queues", "3"], "failed to make 3 queues"),
    "vhost that is not allowed": (["--vhost"], "failed to make a port with `vhost'"),
}


@pytest.fixture(scope="module")
def other(lan: None) -> Iterator[Machine]:
    """A guest that never boots, with a device that is not ours."""
    with ExitStack() as stack:
        yield Machine(stack, "dave", "-S", "-device", "virtio-rng-pci,id=other")


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_refused_leaves_nothing(other: Machine, case: str) -> None:
    """Exit status 1, one line in the words of who refused, and no fd, netdev, device or interface is left."""
    words, why = REFUSALS[case]
    before, interfaces = other.state(), world.interfaces()
    status, out, err = other.attach(*words)
    assert (status, out) == (1, "")
    assert err.startswith(f"qbhelperctl: {why}")
    assert err.count("\n") == 1
    assert other.state() == before
    assert broker.await_links(lambda: world.interfaces() == interfaces)


def test_a_bus_that_is_full_takes_no_card(lan: None) -> None:
    """QEMU says so in its words, and nothing is left."""
    with ExitStack() as stack:
        full = Machine(stack, "erin", "-S", *["-device", "pci-testdev"] * 30)
        before = full.state()
        status, out, err = full.attach()
        assert (status, out) == (1, "")
        assert err.startswith(
            "qbhelperctl: QEMU refused device_add: PCI: no slot/function available for virtio-net-pci"
        )
        assert full.state() == before
        assert broker.no_tap_is_left()


# What fails in the middle ---------------------------------------------------------------------------------------

STEPS = ["getfd", "netdev_add", "device_add"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("step", STEPS)
def test_who_is_stopped_in_the_middle_undoes_all(machine: Machine, step: str, number: signal.Signals) -> None:
    """On Ctrl-C or SIGTERM: QEMU and the bridge are as before, also if the guest has seen the card already."""
    before = machine.state()
    running: list[subprocess.Popen[str]] = []
    with monitor.in_between(machine.path, step, lambda _: running[0].send_signal(number)) as path:
        running.append(start("attach", "--qmp", path, "--bridge", "br0", "--queues", "2"))
        out, err = running[0].communicate(timeout=PATIENCE)
    assert (running[0].returncode, out, err) == (-number, "", "")
    assert machine.state() == before
    assert broker.no_tap_is_left()


@pytest.mark.parametrize("step", STEPS)
def test_of_a_qemu_that_is_killed_in_the_middle_nothing_is_left(lan: None, step: str) -> None:
    """The message says that it is gone, in one line, and the port is gone as well."""
    with ExitStack() as stack:
        victim = Machine(stack, "mallory", "-S")
        with monitor.in_between(victim.path, step, lambda _: processes.end(victim.guest.pid, PATIENCE)) as path:
            status, out, err = victim.attach(path=path)
        assert (status, out) == (2, "")
        assert err == f"qbhelperctl: QEMU at `{path}' has closed the connection; has it ended?\n"
        assert broker.no_tap_is_left()


def test_a_port_that_is_deleted_in_the_middle_is_no_netdev(other: Machine) -> None:
    """QEMU refuses the netdev, and closes what it has been given of it."""
    before = other.state()
    with monitor.in_between(other.path, "netdev_add", lambda _: delete_ports("br0")) as path:
        status, out, err = other.attach(path=path)
    assert (status, out) == (1, "")
    assert err.startswith("qbhelperctl: QEMU refused netdev_add: ")
    assert other.state() == before
    assert broker.no_tap_is_left()


def delete_ports(bridge: str) -> None:
    """Delete what is on a bridge."""
    for port in world.ports(bridge):
        world.run("ip", "link", "delete", port)


def test_a_port_that_qemu_does_not_give_back_is_ended(lan: None) -> None:
    """Of a netdev with two queues QEMU keeps the first if it can't have the second: so the broker ends the lease."""
    close = b'{"execute": "closefd", "arguments": {"fdname": "qbhelper.qb0.1"}}'
    with ExitStack() as stack:
        keeper = Machine(stack, "grace", "-S")
        with monitor.in_between(keeper.path, "netdev_add", lambda qemu: qemu.sendall(close)) as path:
            status, out, err = keeper.attach("--queues", "2", path=path)
        assert (status, out) == (1, "")
        assert (
            err == "qbhelperctl: QEMU refused netdev_add: File descriptor named 'qbhelper.qb0.1' has not been found\n"
        )
        assert not any(map(world.is_up, world.ports("br0")))
    assert broker.no_tap_is_left()


def test_of_a_qemu_that_is_stopped_in_the_middle_the_port_is_ended(lan: None) -> None:
    """It leaves a command unanswered: the message says so, the lease is ended; what QEMU has goes with the next try."""
    with ExitStack() as stack:
        sleeper = Machine(stack, "heidi", "-S")
        before = sleeper.state()
        stop = signal.SIGSTOP
        with monitor.in_between(sleeper.path, "netdev_add", lambda _: os.kill(sleeper.guest.pid, stop)) as path:
            status, out, err = sleeper.attach(path=path)
        assert (status, out) == (2, "")
        assert err == f"qbhelperctl: QEMU at `{path}' does not answer; is it stopped, or busy with its disk?\n"
        assert not any(map(world.is_up, world.ports("br0")))
        os.kill(sleeper.guest.pid, signal.SIGCONT)
        assert sleeper.attach("--model", "ne9999")[0] == 1
        assert sleeper.state() == before
    assert broker.no_tap_is_left()


# Who is at the socket ------------------------------------------------------------------------------------------


def test_a_socket_that_is_none_is_told(tmp_path_factory: pytest.TempPathFactory, lan: None) -> None:
    """What is not there, not ours or no socket: the reason, and how QEMU makes one; no port is asked for."""
    directory = world.WORLD / "sockets"
    directory.mkdir(mode=0o755)
    (directory / "file").touch()
    with socket.socket(socket.AF_UNIX) as mine:
        mine.bind(str(directory / "mine"))
        mine.listen()
        (directory / "mine").chmod(0o600)
        for name, why in {
            "nothing": "No such file or directory",
            "file": "Connection refused",
            "mine": "Permission denied",
            "long" * 40: "AF_UNIX path too long",
        }.items():
            (directory / "file").chmod(0o666)
            status, out, err = ctl("attach", "--qmp", directory / name, "--bridge", "br0")
            assert (status, out) == (2, "")
            assert err == (
                f"qbhelperctl: failed to connect to QEMU's monitor at `{directory / name}': {why}; "
                "start QEMU with -qmp unix:SOCKET,server=on,wait=off\n"
            )
    shutil.rmtree(directory)


def test_a_socket_that_is_silent_is_given_up(other: Machine) -> None:
    """QEMU greets who it talks to: so a second program is told what may be, after a few seconds."""
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(str(other.path))
        assert first.recv(9) == b'{"QMP": {'
        status, out, err = other.attach()
    assert (status, out) == (2, "")
    assert err == (
        f"qbhelperctl: no greeting from QEMU at `{other.path}'; "
        "QEMU talks to one program at a time, and another may be connected; or it is stopped\n"
    )
    assert not world.ports("br0")


def test_a_monitor_for_people_is_told_from_one_for_programs(lan: None) -> None:
    """-monitor speaks another language than -qmp."""
    with ExitStack() as stack:
        path = world.WORLD / "monitor-ivan" / "hmp"
        machine = Machine(stack, "ivan", "-S", "-monitor", f"unix:{path},server=on,wait=off")
        status, out, err = machine.attach(path=path)
    assert (status, out) == (2, "")
    assert err.startswith(
        f"qbhelperctl: what answers at `{path}' does not speak QMP; start QEMU with -qmp unix:SOCKET,"
    )


def test_without_the_module_the_message_names_it(other: Machine) -> None:
    """qemu.qmp is not everywhere installed."""
    status, out, err = ctl("attach", "--qmp", other.path, "--bridge", "br0", with_module=False)
    if status == 0:
        pytest.skip("this host has qemu.qmp for the Python of the installed program")
    assert (status, out) == (2, "")
    assert err.startswith("qbhelperctl: to talk to QEMU the Python module qemu.qmp is needed, and not installed here; ")


# Taking out ----------------------------------------------------------------------------------------------------


def test_only_what_was_attached_is_detached(other: Machine) -> None:
    """Cards and devices that somebody else has put there are left alone."""
    before = other.state()
    refusals = {
        "other": "other was not attached by qbhelperctl, which leaves it alone",
        "qb7": "that QEMU has no card qb7",
    }
    for name, why in refusals.items():
        assert other.detach(name) == (1, "", f"qbhelperctl: {why}\n")
    monitor.execute(
        other.path,
        ("netdev_add", {"type": "user", "id": "theirs"}),
        ("device_add", {"driver": "e1000", "netdev": "theirs", "id": "qb7"}),
    )
    assert other.detach("qb7") == (1, "", "qbhelperctl: qb7 was not attached by qbhelperctl, which leaves it alone\n")
    assert before != other.state()


def test_a_guest_that_does_not_let_go_is_told_and_asked_again(machine: Machine) -> None:
    """One that stands still: exit 1 after a while, the card and its port stay; once it runs, detach works."""
    before = machine.state()
    assert machine.attach("--mac", MAC)[0] == 0
    machine.ping_by(MAC)
    monitor.execute(machine.path, ("stop", {}))
    status, out, err = machine.detach("qb0")
    assert (status, out) == (1, "")
    assert err == (
        "qbhelperctl: the guest has not let go of qb0 within 20 s, and may yet do so, "
        "at the latest at its next reset; then detach it again\n"
    )
    assert machine.guest.taps() == world.ports("br0") != frozenset()
    monitor.execute(machine.path, ("cont", {}))
    assert machine.detach("qb0") == (0, "detached qb0\n", "")
    assert not world.ports("br0")
    assert machine.state() == before


def test_what_the_guest_has_let_go_of_later_makes_room(machine: Machine) -> None:
    """The netdev that is left of a card that went after its detach had ended is taken away by the next of that name."""
    before = machine.state()
    for is_taken in (True, False):
        assert machine.attach()[1].startswith("attached qb0: ")
        monitor.execute(machine.path, ("device_del", {"id": "qb0"}))
        while "qb0" in str(monitor.execute(machine.path, ("qom-list", {"path": "/machine/peripheral"}))):
            pass
        assert len(machine.guest.taps()) == 1
        if is_taken:
            assert machine.attach()[1].startswith("attached qb0: ")
            assert len(machine.guest.taps()) == 1
        assert machine.detach("qb0") == (0, "detached qb0\n", "")
        assert machine.state() == before
