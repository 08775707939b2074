# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller gets: the checklist of contract 8, on each way to privilege."""

import fcntl
import os
import select
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.ways import Way, granted, refused, taps
from tests.support import caller, install, world
from tests.support.install import Privilege

IFF_TAP, IFF_NO_PI, IFF_VNET_HDR, IFF_PERSIST = 0x0002, 0x1000, 0x4000, 0x0800

QEMU_BLOCKS = {signal.SIGBUS, signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD, signal.SIGIO}


def test_the_port_is_the_originals(way: Way, br0: str) -> None:
    """One zero byte and one fd come over; the TAP is up, on the bridge, and its MAC begins with fe."""
    with way.call() as outcome:
        name = granted(outcome)
        link = world.links()[name]
        assert link["master"] == br0
        assert "UP" in str(link["flags"])
        assert str(link["address"]).startswith("fe:")
        assert world.ports(br0) == {name}
    assert world.ports(br0) == frozenset()


@pytest.mark.parametrize("vnet", [True, False], ids=["with vnet header", "without"])
def test_the_tap_has_the_originals_flags(way: Way, br0: str, vnet: bool) -> None:
    """Frames without packet information, with a virtio-net header if and only if it was asked for."""
    with way.call(vnet=vnet) as outcome:
        granted(outcome)
        flags = outcome.tap().flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_PERSIST)
        assert flags == IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet else 0)


def test_nobody_else_can_open_the_tap(way: Way, br0: str) -> None:
    """The TAP belongs to uid 0, so that no other user may attach to it by its name."""
    with way.call() as outcome:
        assert Path("/sys/class/net", granted(outcome), "owner").read_text() == "0\n"


def test_the_fd_is_ready_for_qemu(way: Way, br0: str) -> None:
    """The fd is open for reading and writing, and blocking, as QEMU finds it with the original."""
    with way.call() as outcome:
        flags = fcntl.fcntl(outcome.fds[0], fcntl.F_GETFL)
        assert flags & os.O_ACCMODE == os.O_RDWR
        assert not flags & os.O_NONBLOCK


@pytest.mark.parametrize("mtu", [576, 1400, 1500, 9000, 65521])
def test_the_tap_has_the_mtu_of_the_bridge(way: Way, mtu: int) -> None:
    """The MTU is copied before attaching, so that the bridge keeps its own."""
    world.write_access_list("allow br0\n")
    with world.bridge("br0", mtu=mtu), way.call() as outcome:
        links = world.links()
        assert (links[granted(outcome)]["mtu"], links["br0"]["mtu"]) == (mtu, mtu)


def test_a_bridge_with_a_port_keeps_its_address(way: Way, br0: str) -> None:
    """A bridge takes the lowest MAC of its ports, and that of a TAP is never the lowest."""
    world.run("ip", "link", "add", "low", "type", "veth", "peer", "name", "far")
    try:
        world.run("ip", "link", "set", "low", "address", "02:00:00:00:00:07", "master", br0)
        with way.call() as outcome:
            granted(outcome)
            assert world.links()[br0]["address"] == "02:00:00:00:00:07"
    finally:
        world.run("ip", "link", "del", "low")


@pytest.mark.parametrize(
    "words",
    [
        "--use-vnet --fd=FD --br=br0",
        "--use-vnet --br=br0 --fd=FD",
        "--br=br0 --fd=FD",
        "--fd=FD --br=br0",
        "--br=br0 --fd=FD --use-vnet --use-vnet",
        "--br=br1 --fd=99 --br=br0 --fd=FD",
        "--br=br0 --fd=000FD",
    ],
)
def test_every_order_of_the_words_is_granted(way: Way, br0: str, words: str) -> None:
    """QEMU's order, libvirt's orders, and repeated words of which the last counts."""
    with way.call(argv=lambda fd: words.replace("FD", str(fd)).split()) as outcome:
        granted(outcome)
        assert outcome.tap().has_vnet_header == ("--use-vnet" in words)


def test_the_longest_name_of_a_bridge_is_granted(way: Way) -> None:
    """A name of 15 bytes, that fills the kernel's buffer, is one like any other."""
    name = "br-4567890abcde"
    world.write_access_list(f"allow {name}\n")
    with world.bridge(name), way.call(bridge=name) as outcome:
        assert world.ports(name) == {granted(outcome)}


def test_a_bridge_that_is_down_is_granted(way: Way) -> None:
    """As in the original, whoever has the bridge down has reasons."""
    world.write_access_list("allow br0\n")
    with world.bridge("br0", up=False), way.call() as outcome:
        granted(outcome)


def test_each_call_is_a_port_of_its_own(way: Way, br0: str) -> None:
    """Two TAPs held at once have different names, and a free name is used again."""
    with way.call() as first, way.call() as second:
        names = {granted(first), granted(second)}
        assert names == {"tap0", "tap1"} == world.ports(br0)
        first.close()
        with way.call() as third:
            assert granted(third) == "tap0"


def test_libvirts_default_line_is_understood(way: Way) -> None:
    """`allow virbr0`, which GNOME Boxes looks for, grants virbr0 and nothing else."""
    world.write_access_list("allow virbr0\n")
    with world.bridge("virbr0"), way.call(bridge="virbr0") as outcome:
        granted(outcome)
    with way.call() as outcome:
        refused(outcome, "access denied by acl file: ")


def test_the_signals_that_qemu_blocks_do_no_harm(way: Way, br0: str) -> None:
    """QEMU starts its helper with signals blocked and SIGPIPE ignored."""

    def like_qemu() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, QEMU_BLOCKS)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    with way.call(prepare=like_qemu) as outcome:
        granted(outcome)


def identity(way: Way) -> dict[str, Any]:
    """Who calls, as subprocess takes it."""
    return {} if way.uid is None else {"user": way.uid, "group": way.uid, "extra_groups": []}


def test_the_reason_is_there_before_the_socket_closes(way: Way) -> None:
    """Libvirt stops listening to stderr when the socket ends, so the message must come first."""
    world.write_access_list("deny all\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [way.helper, f"--fd={theirs.fileno()}", "--br=br0"],
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            **identity(way),
        )
        theirs.close()
        with process:
            assert process.stderr is not None
            ours.settimeout(30)
            assert ours.recv(1) == b""
            readable, _, _ = select.select([process.stderr], [], [], 0)
            assert readable
            assert process.stderr.read().startswith(b"access denied by acl file: ")
    assert process.returncode == 1


@pytest.mark.needs_root
@pytest.mark.parametrize("privilege", [Privilege.SETUID, Privilege.FILE_CAPABILITY])
def test_an_include_is_for_those_who_may_read_it(privilege: Privilege, br0: str) -> None:
    """Per-user rules by file modes: the supplementary groups of the caller count, and root's rights do not."""
    include = world.write_access_list("allow br0\n", Path("/etc/qemu/team.conf"), mode=0o640, gid=7777)
    world.write_access_list("include team.conf\n")
    try:
        with caller.call(install.ours(privilege), groups=[5, 7777]) as outcome:
            granted(outcome)
        with caller.call(install.ours(privilege), groups=[5]) as outcome:
            refused(outcome, "access denied by acl file: ")
    finally:
        include.unlink()


@pytest.mark.needs_root
@pytest.mark.parametrize("uid", [1, 1000, 10000, 65534, 2**31, 2**32 - 2])
def test_any_uid_is_a_caller(uid: int, br0: str) -> None:
    """Accounts play no part: a uid of any size, without a name and in no group, gets its port."""
    with caller.call(install.ours(Privilege.SETUID), uid=uid) as outcome:
        granted(outcome)


def test_nothing_waits_for_the_peer(way: Way, br0: str) -> None:
    """The helper has ended before anybody reads what it sent, and the fd is there all the same."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [str(way.helper), f"--fd={theirs.fileno()}", "--br=br0"]
        done = subprocess.run(words, pass_fds=[theirs.fileno()], timeout=30, check=False, **identity(way))
        assert done.returncode == 0
        assert len(taps()) == 1
        theirs.close()
        data, fds = caller.receive(ours)
        for fd in fds:
            os.close(fd)
    assert (data, len(fds)) == (b"\0", 1)
