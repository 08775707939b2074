# SPDX-License-Identifier: GPL-2.0-or-later
"""`--fd` that names anything but QEMU's socket, and peers that do anything but read."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.ways import Way, taps
from tests.support import world

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("br0")]

START = "failed to write fd to unix socket: "


def run(way: Way, number: int | str, *passed: int) -> tuple[int, str]:
    """Call a helper with `--fd=NUMBER` and these fds open; its status, and what it said."""
    done = subprocess.run(
        [way.helper, "--use-vnet", f"--fd={number}", "--br=br0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        pass_fds=passed,
        user=way.uid,
        group=way.uid,
        extra_groups=[],
        text=True,
        timeout=30,
        check=False,
    )
    assert not done.stdout
    return done.returncode, done.stderr


def refused(way: Way, number: int | str, *passed: int, start: str = START) -> None:
    """Insist that nothing is created for such an fd, and that one line says why."""
    status, message = run(way, number, *passed)
    assert status == 1
    assert message.startswith(start), message
    assert message.count("\n") == 1
    assert taps() == frozenset()


def udp() -> list[socket.socket]:
    """Two UDP sockets, the first connected to the other: it would take the fd, and pass nothing on."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    return [sender, receiver]


def tcp() -> list[socket.socket]:
    """A TCP connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    return [sender, listener]


def listening() -> list[socket.socket]:
    """A Unix socket that listens, at an abstract address."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")
    listener.listen()
    return [listener]


def unconnected() -> list[socket.socket]:
    """A Unix socket that was never connected."""
    return [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)]


def datagram() -> list[socket.socket]:
    """A connected pair of Unix datagram sockets."""
    return list(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))


def packets() -> list[socket.socket]:
    """A connected pair of Unix packet sockets."""
    return list(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))


def netlink() -> list[socket.socket]:
    """A netlink socket."""
    return [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)]


@pytest.mark.parametrize("make", [udp, tcp, listening, unconnected, datagram, packets, netlink])
def test_another_kind_of_socket_is_refused_before_anything_is_made(
    lent: Way, make: Callable[[], list[socket.socket]]
) -> None:
    """Only a connected Unix stream socket is what QEMU and libvirt pass; others would swallow the fd or lose it."""
    with contextlib.ExitStack() as closing:
        sockets = [closing.enter_context(made) for made in make()]
        refused(lent, sockets[0].fileno(), sockets[0].fileno())


@pytest.mark.parametrize("kind", ["file", "pipe", "directory", "tun", "epoll", "path"])
def test_what_is_no_socket_is_refused(lent: Way, kind: str, tmp_path: Path) -> None:
    """A file of any other kind gets the kernel's own words for it."""
    (tmp_path / "file").write_text("unharmed")
    fds = {
        "file": lambda: [os.open(tmp_path / "file", os.O_RDWR)],
        "pipe": lambda: list(os.pipe())[::-1],
        "directory": lambda: [os.open("/", os.O_RDONLY)],
        "tun": lambda: [os.open("/dev/net/tun", os.O_RDWR)],
        "epoll": lambda: [os.eventfd(0)],
        "path": lambda: [os.open("/etc/passwd", os.O_PATH)],
    }[kind]()
    try:
        refused(lent, fds[0], fds[0])
    finally:
        for fd in fds:
            os.close(fd)
    assert (tmp_path / "file").read_text() == "unharmed"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_standard_fds_are_no_sockets(lent: Way, number: int) -> None:
    """`--fd=0`, as the original took `--fd=abc`, is refused where 0 is not the socket."""
    refused(lent, number)


@pytest.mark.parametrize("number", [3, 99, 2**31 - 1, "000000000000000000000000099"])
def test_a_number_that_is_not_open_is_refused(lent: Way, number: int | str) -> None:
    """Nothing is open there: the kernel's words, before a TAP is made."""
    refused(lent, number, start=f"{START}Bad file descriptor")


@pytest.mark.parametrize("number", [2**31, 2**32, 2**32 + 3, 2**63, 2**64, 10**400, -1, -(2**31), "0x3", "3 ", "٣"])
def test_a_number_that_no_fd_has_is_a_usage_error(lent: Way, number: int | str) -> None:
    """Nothing is cut to 32 bits, nor is anything taken for a number that looks like one."""
    refused(lent, number, start="Usage: ")


def test_a_peer_that_closed_at_once_is_noticed(lent: Way) -> None:
    """QEMU gone before its helper has answered: a refusal, and the TAP goes with the helper."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        refused(lent, theirs.fileno(), theirs.fileno())


def test_a_peer_that_reads_no_more_is_noticed(lent: Way) -> None:
    """The same where the peer lives, but has shut its reading side."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.shutdown(socket.SHUT_RD)
        refused(lent, theirs.fileno(), theirs.fileno())


@pytest.mark.parametrize("blocking", [True, False])
def test_a_peer_that_never_reads_is_not_waited_for(lent: Way, *, blocking: bool) -> None:
    """A socket whose buffer is full is refused at once, blocking or not."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for size in (1 << 16, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    theirs.send(b"x" * size, socket.MSG_DONTWAIT)
        theirs.setblocking(blocking)
        refused(lent, theirs.fileno(), theirs.fileno())


def test_a_peer_that_sends_is_not_listened_to(lent: Way) -> None:
    """Bytes and fds from the peer are none of the helper's business."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with open("/dev/null", "rb") as null:
            socket.send_fds(ours, [b"x" * 100], [null.fileno()] * 50)
        assert run(lent, theirs.fileno(), theirs.fileno()) == (0, "")
        assert len(taps()) == 1
        data, fds, _, _ = socket.recv_fds(ours, 10, 10)
        for fd in fds:
            os.close(fd)
        assert (data, len(fds)) == (b"\0", 1)


def test_a_helper_may_be_its_own_peer(lent: Way) -> None:
    """Both ends in the helper's hands: the other end is closed as any file is, so there is nobody to send to."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        world.write_access_list("allow br0\n")
        numbers = (theirs.fileno(), ours.fileno())
        command = [str(lent.helper), "--br=br0", f"--fd={numbers[0]}"]
        process = subprocess.Popen(
            command, pass_fds=numbers, user=lent.uid, group=lent.uid, extra_groups=[], stderr=subprocess.PIPE, text=True
        )
        ours.close()
        theirs.close()
        _, message = process.communicate(timeout=30)
    assert process.returncode == 1
    assert message.startswith(f"{START}Broken pipe") or "not a connected" in message
