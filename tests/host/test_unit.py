# SPDX-License-Identifier: GPL-2.0-or-later
"""The units under a real systemd: activation, the sandbox, reload by restart, death."""

import grp
import os
import pwd
import select
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.host import service
from tests.support import world
from tests.support.broker import PATIENCE, kill
from tests.support.caller import PLAIN_UID
from tests.support.crowd import Call
from tests.support.guest import Guest, Nic

pytestmark = pytest.mark.inside("debian13", "debian12")

NET_ADMIN = 1 << 12
DAC_READ_SEARCH = 1 << 2
"""Capabilities as bits of a mask (capabilities(7))."""

ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")

IMPATIENT = """#!/usr/bin/python3 -I
import sys
sys.path.append("/usr/local/lib/qbhelper")
from qbhelper.broker import main
main.IDLE_SECONDS = 0.3
sys.exit(main.main([]))
"""


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """Qbhelper is installed on the machine, for all of these tests."""
    service.install_from_source()


@pytest.fixture(autouse=True)
def br0() -> Iterator[str]:
    """A bridge that everybody may use; no broker runs before the test or after it."""
    world.write_access_list("allow br0\n")
    with world.bridge("br0") as name:
        yield name
    world.run("systemctl", "stop", service.SERVICE)
    world.run("systemctl", "reset-failed", service.SERVICE)


@contextmanager
def watched(pid: int) -> Iterator[Callable[[float], bool]]:
    """Give a function that tells whether the process ends within so many seconds."""
    handle = os.pidfd_open(pid)
    try:
        yield lambda seconds: bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def test_whoever_asks_first_starts_the_broker(br0: str) -> None:
    """At boot there is a socket and no process; a user without privilege gets a port through it."""
    assert service.pid() == 0
    assert Path("/run/qbhelper/broker.sock").stat().st_mode & 0o777 == 0o666
    with service.call() as outcome:
        assert outcome.granted, outcome
        assert world.ports(br0) == {outcome.tap().name}
        assert service.show("ActiveState") == "active"
        assert f"uid {PLAIN_UID} has port {outcome.tap().name} on br0" in service.logged("QBHELPER_EVENT=granted")


def test_a_refusal_reaches_the_caller_and_the_journal() -> None:
    """The caller reads why, and the administrator finds who was refused what."""
    outcome = service.call("br7")
    assert outcome.refused, outcome
    assert "br7" in outcome.stderr
    assert "br7" in service.logged("QBHELPER_EVENT=refused", f"QBHELPER_UID={PLAIN_UID}")


def test_the_broker_has_the_privileges_that_it_needs_and_no_other() -> None:
    """Of the process that serves: its account, CAP_NET_ADMIN, no way to gain more, a filter of system calls."""
    service.call().close()
    status = service.status(service.pid())
    account = pwd.getpwnam(service.ACCOUNT)
    assert set(status["Uid"].split()) == {str(account.pw_uid)}
    assert set(status["Gid"].split()) == {str(account.pw_gid)}
    # The second is for /dev/vhost-net.
    assert set(status["Groups"].split()) == {str(account.pw_gid), str(grp.getgrnam("kvm").gr_gid)}
    assert {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "CapInh": 0,
        "CapPrm": NET_ADMIN,
        "CapEff": NET_ADMIN,
        # It can't be made smaller without CAP_SETPCAP, and there is no gain from it with no_new_privs.
        "CapBnd": NET_ADMIN | DAC_READ_SEARCH,
        "CapAmb": 0,
    }
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_the_broker_can_write_nowhere() -> None:
    """Not even root could, from where it is: the files of the machine and of the kernel are read-only there."""
    service.call().close()
    pid = service.pid()
    for directory in (
        "/",
        "/etc",
        "/usr",
        "/var",
        "/run",
        "/run/lock",
        "/run/qbhelper",
        "/dev",
        "/dev/shm",
        "/home",
        "/root",
    ):
        assert "Read-only file system" in service.try_inside(pid, "touch", f"{directory}/written"), directory
    for path in ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/hostname"):
        assert "Read-only file system" in service.try_inside(pid, "sh", "-c", f"echo 1 >{path}"), path


@pytest.fixture
def disk() -> Iterator[Path]:
    """A device that is nobody's business."""
    path = Path("/dev/disk-of-a-test")
    os.mknod(path, stat.S_IFBLK | 0o666, os.makedev(7, 0))
    yield path
    path.unlink()


def test_the_broker_sees_one_device(disk: Path) -> None:
    """Beside those that every program may have, its /dev holds net/tun and no other."""
    service.call().close()
    devices = Path("/proc", str(service.pid()), "root", "dev")
    nodes = {
        str(path.relative_to(devices))
        for path in devices.rglob("*")
        if not path.is_symlink() and (path.is_char_device() or path.is_block_device())
    }
    assert nodes == {"net/tun", "full", "null", "pts/ptmx", "random", "tty", "urandom", "zero"}


def test_a_changed_access_list_is_a_restart_without_failure() -> None:
    """What the list says now holds for the next caller; the broker ended with status 0 for that."""
    assert service.call("br1").refused
    first = service.pid()
    with watched(first) as ends_within:
        world.write_access_list("allow br0\nallow br1\n")
        with world.bridge("br1"), service.call("br1") as outcome:
            assert outcome.granted, outcome
        assert ends_within(PATIENCE)
    assert service.pid() not in (0, first)
    assert (service.show("Result"), service.show("NRestarts")) == ("success", "0")


def test_no_request_is_lost_while_the_access_list_changes() -> None:
    """Each of many callers gets a port, however often the list is written meanwhile."""
    done = threading.Event()
    wrong: list[object] = []

    def call_again_and_again() -> None:
        for _ in range(25):
            with service.call() as outcome:
                if not outcome.granted:
                    wrong.append(outcome)

    def write_again_and_again() -> None:
        number = 0
        while not done.wait(0.05):
            number += 1
            world.write_access_list(f"allow br0\n# {number}\n")

    callers = [threading.Thread(target=call_again_and_again) for _ in range(4)]
    writer = threading.Thread(target=write_again_and_again)
    for thread in (writer, *callers):
        thread.start()
    for thread in callers:
        thread.join()
    done.set()
    writer.join()
    assert wrong == []
    assert service.show("Result") == "success"
    assert "reload" in service.logged("QBHELPER_EVENT=reload", "--output=verbose")


def test_no_request_is_lost_while_the_socket_is_restarted() -> None:
    """Callers get a port although for a moment nobody listens, as they find the socket's file (see its unit)."""
    for _ in range(10):
        # Else the sixth start within ten seconds would be too many.
        world.run("systemctl", "reset-failed", service.SOCKET)
        world.run("systemctl", "stop", service.SOCKET)
        calls = [Call(service.HELPER, "br0", PLAIN_UID) for _ in range(4)]
        world.run("systemctl", "start", service.SOCKET)
        for call in calls:
            with call.finish() as outcome:
                assert outcome.granted, outcome


def test_a_killed_broker_is_followed_by_another(br0: str) -> None:
    """The ports that are held live on, and the next caller is served."""
    with service.call() as before:
        pid = service.pid()
        kill(pid)
        with service.call() as after:
            assert after.granted, after
            assert service.pid() not in (0, pid)
            assert world.ports(br0) == {before.tap().name, after.tap().name}
        assert world.ports(br0) == {before.tap().name}


def test_with_nothing_to_do_the_broker_ends(br0: str) -> None:
    """It stays for a port that is held; when that is given back it ends, and the next caller starts it again.

    The idle time is shortened for this, by a drop-in.
    """
    script = Path("/usr/local/sbin/impatient")
    script.write_text(IMPATIENT)
    script.chmod(0o755)
    drop_in = Path("/run/systemd/system") / f"{service.SERVICE}.d" / "impatient.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text(f"[Service]\nExecStart=\nExecStart={script}\n")
    world.run("systemctl", "daemon-reload")
    with ExitStack() as undo:
        undo.callback(world.run, "systemctl", "daemon-reload")
        undo.callback(drop_in.unlink)
        outcome = undo.enter_context(service.call())
        assert outcome.granted, outcome
        with watched(service.pid()) as ends_within:
            assert not ends_within(1.0)
            outcome.close()
            assert ends_within(PATIENCE)
        with service.call() as again:
            assert again.granted, again
            assert service.show("Result") == "success"


def test_two_guests_under_qemus_sandbox_are_one_lan(br0: str) -> None:
    """QEMU of the machine's distribution, run by a plain user with -sandbox on, gets its ports from the broker."""
    world.run("ip", "address", "add", "10.0.0.254/24", "dev", br0)
    words = {nic: [*nic.bridge_words(service.HELPER), "-sandbox", "on"] for nic in (ALICE, BOB)}
    with Guest("alice", [ALICE], words[ALICE]) as alice, Guest("bob", [BOB], words[BOB]) as bob:
        alice.wait_until_ready()
        bob.wait_until_ready()
        assert world.ports(br0) == alice.taps() | bob.taps()
        alice.check(f"ping -c 1 -W 10 {BOB.ip}")
        bob.check("ping -c 1 -W 10 10.0.0.254")
