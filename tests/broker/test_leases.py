# SPDX-License-Identifier: GPL-2.0-or-later
"""A lease ends with its holder: no ioctl on the fd, and no death of a broker, makes a port outlive it."""

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from qbhelper.broker.journal import Journal
from qbhelper.broker.leases import Leases
from qbhelper.kernel import announcements
from qbhelper.kernel.announcements import Announcements
from qbhelper.kernel.tap import IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, TUNSETIFF, TUNSETOWNER
from qbhelper.wire import Code
from tests.support import broker, world
from tests.support.broker import Answer, Broker
from tests.support.caller import PLAIN_UID
from tests.support.disturbed import GROUP, DisturbedLinks, many_interfaces

pytestmark = pytest.mark.needs_root

TUNSETPERSIST = 0x400454CB
TUNSETGROUP = 0x400454CE
SIOCSIFHWADDR = 0x8924
ARPHRD_ETHER = 1
IFF_MULTI_QUEUE = 0x0100
ALIAS = "qbhelper lease=0123456789abcdef uid=61234 pid=1 since=1700000000"
LOOKALIKES = (
    ALIAS + " ",
    ALIAS + "x",
    " " + ALIAS,
    "Qbhelper" + ALIAS[8:],
    ALIAS.replace("0123456789abcdef", "0123456789ABCDEF"),
    ALIAS.replace("0123456789abcdef", "0123456789abcde"),
    ALIAS.replace("uid=61234", "uid=-1"),
    ALIAS.replace(" since=1700000000", ""),
    "qbhelper lease=",
    "",
)


def do(answer: Answer, command: int, argument: int) -> None:
    """Call ioctl(2) as the holder of the fd, who has no privilege at all."""
    with broker.acting_as(PLAIN_UID):
        fcntl.ioctl(answer.fds[0], command, argument)


TRICKS = [
    pytest.param(TUNSETPERSIST, 1, id="TUNSETPERSIST"),
    pytest.param(TUNSETOWNER, PLAIN_UID, id="TUNSETOWNER"),
    pytest.param(TUNSETGROUP, PLAIN_UID, id="TUNSETGROUP"),
]


@pytest.mark.parametrize(("command", "argument"), TRICKS)
def test_a_holder_who_tampers_with_the_tap_loses_it_at_once(
    either: Broker, br0: str, command: int, argument: int
) -> None:
    """A TAP made persistent, or given to somebody, is deleted and the log says whose it was; other leases stay."""
    with broker.ask() as honest, broker.ask() as answer:
        name = answer.name
        do(answer, command, argument)
        assert broker.await_links(lambda: name not in world.interfaces())
        assert world.ports(br0) == {honest.name}
        broker.ask().close()  # it is answered when what was done before is in the log
        assert f"port {name} of uid {PLAIN_UID} deleted" in either.log()


@pytest.mark.parametrize(("command", "argument"), TRICKS)
def test_a_holder_who_tampers_and_goes_leaves_nothing(either: Broker, br0: str, command: int, argument: int) -> None:
    """Closing the fd right after the trick does not win the race: nothing stays on the bridge."""
    for _ in range(20):
        with broker.ask() as answer:
            do(answer, command, argument)
        assert broker.no_tap_is_left()


def test_a_holder_who_tampers_in_a_loop_wins_nothing(either: Broker) -> None:
    """Persistent on and off and on again, as fast as it goes, does not get past the broker."""
    for _ in range(5):
        with broker.ask() as answer, suppress(OSError):  # EBADFD: the TAP is gone
            for turn in range(1001):
                do(answer, TUNSETPERSIST, 1 - turn % 2)
        assert broker.no_tap_is_left()


@pytest.mark.parametrize("flags", [0, IFF_MULTI_QUEUE], ids=["one queue", "several queues"])
@pytest.mark.parametrize("vnet", [True, False], ids=["vnet header", "without"])
def test_another_uid_cannot_join_by_name(daemon: Broker, vnet: bool, flags: int) -> None:
    """Opening /dev/net/tun and naming the TAP of somebody gives no second fd of it."""
    with broker.ask(vnet=vnet) as answer:
        flags |= IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet else 0)
        for uid in (PLAIN_UID, PLAIN_UID + 1):
            with broker.acting_as(uid):
                tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
                try:
                    with pytest.raises(OSError):  # noqa: PT011  EPERM, EBUSY or EINVAL, as the kernel finds first
                        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", answer.reply.interface, flags))
                finally:
                    os.close(tun)


@pytest.fixture
def strangers() -> Iterator[dict[str, str]]:
    """Persistent TAPs of other programs: name -> alias.  Some look much like ours."""
    aliases = {f"foreign{number}": alias for number, alias in enumerate(LOOKALIKES)}
    for name, alias in aliases.items():
        world.run("ip", "tuntap", "add", "dev", name, "mode", "tap", "user", str(PLAIN_UID))
        if alias:
            world.run("ip", "link", "set", name, "alias", alias)
    # Not ours either: an interface of another kind with one of our aliases.
    world.run("ip", "link", "add", "nic", "type", "veth", "peer", "name", "far")
    world.run("ip", "link", "set", "nic", "alias", ALIAS)
    aliases |= {"nic": ALIAS, "far": ""}
    yield aliases
    for name in {*aliases} & world.interfaces() - {"far"}:
        world.run("ip", "link", "del", name)


def test_the_next_broker_takes_over(either: Broker, br0: str, strangers: dict[str, str]) -> None:
    """After kill -9 live leases stay, what was kept against the rules is removed, and what is foreign is let be."""
    with broker.ask() as live, broker.ask() as kept:
        alias = Path("/sys/class/net", live.name, "ifalias").read_bytes()
        name = kept.name
        # No broker is there to see it.
        os.kill(either.main.pid, signal.SIGSTOP)
        either.kill_worker()
        do(kept, TUNSETPERSIST, 1)
        kept.close()
        assert name in world.interfaces()
        os.kill(either.main.pid, signal.SIGCONT)
        either.await_worker()
        assert broker.await_links(lambda: name not in world.interfaces())
        assert world.ports(br0) == {live.name}
        assert Path("/sys/class/net", live.name, "ifalias").read_bytes() == alias
        assert world.interfaces() >= {*strangers}
        assert f"port {name} of uid {PLAIN_UID} deleted" in either.log()
        # The one that took over watches what the one before had granted.
        do(live, TUNSETPERSIST, 1)
        assert broker.await_links(lambda: live.name not in world.interfaces())


def test_a_tap_of_somebody_elses_is_never_touched(either: Broker, strangers: dict[str, str]) -> None:
    """While it serves, too, the broker deletes nothing whose alias is not exactly one of ours."""
    for name in strangers:
        world.run("ip", "link", "set", name, "up")
        world.run("ip", "link", "set", name, "down")
    with broker.ask() as answer:  # when this has gone, the events before it have been read
        do(answer, TUNSETPERSIST, 1)
        assert broker.await_links(lambda: answer.name not in world.interfaces())
    assert world.interfaces() >= {*strangers}


def test_an_interface_of_another_kind_is_nobodys_lease(daemon: Broker) -> None:
    """Nor is it one for its MAC: the loopback device has no kind at all, and what is ours is a TAP."""
    before = daemon.latest_worker()
    try:
        world.run("ip", "link", "set", "lo", "alias", ALIAS)
        world.run("ip", "link", "set", "lo", "mtu", "40000")
        for _ in range(2):  # the second is answered when what was done before has been looked at
            broker.ask().close()
        assert daemon.latest_worker() == before
        assert "deleted" not in daemon.log()
    finally:
        world.run("ip", "link", "set", "lo", "alias", "")
        world.run("ip", "link", "set", "lo", "mtu", "65536")


def test_so_many_events_that_some_are_lost_hide_nothing(daemon: Broker, br0: str) -> None:
    """A broker that could not read for a while looks at everything anew."""
    with broker.ask() as answer:
        name = answer.name
        os.kill(daemon.worker, signal.SIGSTOP)
        # Much more than the 8 MiB that may wait: each of these is an event of 1.5 KB or more.
        batch = "".join(f"link set {br0} alias x{number}\n" for number in range(12000))
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
        do(answer, TUNSETPERSIST, 1)
        os.kill(daemon.worker, signal.SIGCONT)
        assert broker.await_links(lambda: name not in world.interfaces())


def test_interfaces_that_come_and_go_all_the_while_hide_nothing() -> None:
    """Who keeps the broker from seeing all of them is seen at its next look; and meanwhile it does not end."""
    with many_interfaces(), closing(DisturbedLinks()) as links:
        world.run("ip", "tuntap", "add", "dev", "kept", "mode", "tap")
        world.run("ip", "link", "set", "kept", "alias", ALIAS, "group", GROUP)
        links.times = 1000
        leases = Leases(Journal(), {}, links)
        with closing(leases.events):
            assert "kept" in world.interfaces()
            assert leases.any()
            assert leases.patience(0.0) is not None
            links.times = 0
            leases.look_again(time.monotonic())
            assert "kept" not in world.interfaces()
            assert not leases.any()
            assert leases.patience(0.0) is None


def test_a_reload_that_nobody_waits_for_leaves_no_lease_unwatched(either: Broker, br0: str) -> None:
    """A broker that ends because of a change sees to it that the next one starts, though no caller should come."""
    with broker.ask() as answer, broker.connect(PLAIN_UID) as early:
        broker.ask("no-such-bridge")  # so the one before has been accepted
        before = either.latest_worker()
        handle = os.pidfd_open(before)
        world.write_access_list(f"allow {br0}\n#\n")
        early.send(broker.question())
        busy = broker.take_answer(early)
        assert busy is not None
        assert busy.reply.code is Code.BUSY
        assert select.select([handle], [], [], broker.PATIENCE)[0]
        os.close(handle)
        do(answer, TUNSETPERSIST, 1)
        assert broker.await_links(lambda: answer.name not in world.interfaces())


@pytest.fixture
def leased(br0: str) -> Iterator[str]:
    """A TAP with a lease, as the broker makes them but for its being persistent."""
    world.run("ip", "tuntap", "add", "dev", "mine", "mode", "tap", "user", "0", "multi_queue")
    world.run("ip", "link", "set", "mine", "address", "fe:00:00:00:00:01", "alias", ALIAS)
    yield "mine"
    world.run("ip", "link", "del", "mine")


def test_announcements_are_read_in_portions(leased: str) -> None:
    """Who can make them faster than they are read keeps the broker from nothing else: each read has an end."""
    batch = "".join(f"link set {leased} mtu {1000 + number}\n" for number in range(3 * announcements.AT_ONCE))
    with closing(Announcements()) as events:
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
        portions = []
        while suspects := events.read():
            assert {link.index for link in suspects} == {socket.if_nametoindex(leased)}
            portions.append(suspects)
        assert len(portions) >= 3


def test_what_is_as_it_should_be_wakes_nobody(daemon: Broker, br0: str) -> None:
    """Ports come, change in what their holders may change, and go, and the kernel keeps all of it from the broker."""
    with closing(Announcements()) as events:
        with broker.ask() as answer, broker.ask(vnet=False) as other:
            for port in (answer, other):
                world.run("ip", "link", "set", port.name, "address", "fe:00:00:00:00:02", "txqueuelen", "77")
            world.run("ip", "link", "set", br0, "alias", "of somebody")
        assert broker.no_tap_is_left()
        assert events.read() == []
        # So it says something:
        with broker.ask() as answer:
            world.run("ip", "link", "set", answer.name, "address", "02:00:00:00:00:02")
            assert broker.await_links(lambda: answer.name not in world.interfaces())
        assert events.read() != []


def change_mac(answer: Answer, *macs: str) -> None:
    """Set the MAC of the TAP to one after another, as whoever holds the fd can (netdevice(7))."""
    with broker.acting_as(PLAIN_UID):
        for mac in macs:
            request = struct.pack("16sH14s", b"", ARPHRD_ETHER, bytes.fromhex(mac.replace(":", "")))  # struct ifreq
            fcntl.ioctl(answer.fds[0], SIOCSIFHWADDR, request)


def test_a_holder_who_takes_the_mac_of_another_guest_loses_the_port(either: Broker, br0: str) -> None:
    """A bridge believes its ports' own addresses before all else: what is sent to the guest would end at the host."""
    with broker.ask() as honest, broker.ask() as answer:
        name = answer.name
        change_mac(honest, "fe:12:34:56:78:9a")  # as good as the one that it had
        change_mac(answer, "52:54:00:12:34:56")
        assert broker.await_links(lambda: name not in world.interfaces())
        assert world.ports(br0) == {honest.name}
        broker.ask().close()  # it is answered when what was done before is in the log
        assert (
            f"port {name} of uid {PLAIN_UID} deleted: its holder changed its MAC to 52:54:00:12:34:56" in either.log()
        )


def test_a_holder_who_opens_more_queues_than_granted_loses_the_port(either: Broker, br0: str) -> None:
    """Also if the TAP was given away for that, and taken back before the broker looked."""
    with world.rule("queues = 2"), broker.ask(queues=2) as honest, broker.ask(queues=2) as answer:
        honest_name, name = honest.reply.interface.decode(), answer.reply.interface.decode()
        worker = either.latest_worker()
        os.kill(worker, signal.SIGSTOP)
        do(answer, TUNSETOWNER, PLAIN_UID)
        with broker.acting_as(PLAIN_UID), open("/dev/net/tun", "r+b", buffering=0) as tun:
            flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", answer.reply.interface, flags))
            fcntl.ioctl(tun, TUNSETOWNER, 0)
            os.kill(worker, signal.SIGCONT)
            assert broker.await_links(lambda: name not in world.interfaces())
        assert world.ports(br0) == {honest_name}
        broker.ask().close()
        assert f"port {name} of uid {PLAIN_UID} deleted: its holder opened 3 queues, and was granted 2" in either.log()
