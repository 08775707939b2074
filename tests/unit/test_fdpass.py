# SPDX-License-Identifier: GPL-2.0-or-later
"""Handing fds over real sockets: one byte, one fd, and in every other case nothing and no wait."""

import _socket
import array
import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from qbhelper import fdpass
from qbhelper.errors import HandOverError

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(autouse=True)
def no_wait() -> Iterator[None]:
    """A test here that waits has failed, and shall not keep the others waiting."""

    def give_up(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_fd_is_leaked() -> Iterator[None]:
    """Whatever happens, as many fds are open after a test as before it."""
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected stream sockets, as QEMU makes them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    theirs.settimeout(5)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def file() -> Iterator[int]:
    """Some open file that is not a standard one."""
    fd = os.open("/dev/null", os.O_RDONLY)
    yield fd
    os.close(fd)


def send_by_hand(end: socket.socket, data: bytes, fds: list[int]) -> None:
    """Send anything at all, as a peer that keeps no rules would."""
    end.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def test_the_fd_that_is_sent_arrives(pair: Pair, file: int) -> None:
    """What is received is the same open file under another number, and closed on exec."""
    ours, theirs = pair
    fdpass.send(ours, file)
    received = fdpass.receive(theirs)
    try:
        assert received != file
        assert os.path.sameopenfile(received, file)
        assert not os.get_inheritable(received)
    finally:
        os.close(received)


def test_exactly_one_zero_byte_and_one_fd_go_over(pair: Pair, file: int) -> None:
    """QEMU reads one byte, and libvirt insists on exactly one fd: no more than that is on the wire."""
    ours, theirs = pair
    fdpass.send(ours, file)
    ours.shutdown(socket.SHUT_WR)
    data, fds, _, _ = socket.recv_fds(theirs, 4096, 64)
    for fd in fds:
        os.close(fd)
    assert (data, len(fds)) == (b"\0", 1)
    assert theirs.recv(1) == b""


def test_a_socket_without_its_python_wrapper_will_do(file: int) -> None:
    """The one-shot helper uses `_socket.socket` on an inherited number, and that works the same."""
    ours, theirs = socket.socketpair()
    bare = _socket.socket(fileno=ours.detach())
    with theirs:
        fdpass.send(bare, file)
        os.close(fdpass.receive(theirs))
        bare.close()


def test_a_peer_that_is_gone_is_an_error_not_a_signal(pair: Pair, file: int) -> None:
    """A closed peer makes a refusal, and no SIGPIPE, which kills where it is not ignored."""
    ours, theirs = pair
    theirs.close()
    signals: list[int] = []
    before = signal.signal(signal.SIGPIPE, lambda number, _: signals.append(number))
    try:
        with pytest.raises(HandOverError, match=r"^failed to write fd to unix socket: Broken pipe; "):
            fdpass.send(ours, file)
    finally:
        signal.signal(signal.SIGPIPE, before)
    assert signals == []


def test_a_peer_that_never_reads_is_not_waited_for(pair: Pair, file: int) -> None:
    """A full buffer refuses at once, although the socket itself would block."""
    ours, theirs = pair
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x" * 65536, socket.MSG_DONTWAIT)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(b"x", socket.MSG_DONTWAIT)
    assert ours.getblocking()
    with pytest.raises(HandOverError, match=r"^failed to write fd to unix socket: Resource temporarily unavailable; "):
        fdpass.send(ours, file)
    assert theirs.recv(1) == b"x"


@pytest.mark.parametrize("number", [-1, 1 << 30])
def test_an_fd_that_is_not_open_is_refused(pair: Pair, number: int) -> None:
    """The kernel's own reason is given, and no byte goes over."""
    ours, theirs = pair
    with pytest.raises(HandOverError, match="Bad file descriptor"):
        fdpass.send(ours, number)
    ours.close()
    assert theirs.recv(1) == b""


@pytest.mark.parametrize(
    ("data", "count"),
    [(b"", 0), (b"\0", 0), (b"\0", 2), (b"\0", 3), (b"\0", 200)],
    ids=["end", "none", "2", "3", "200"],
)
def test_anything_but_one_fd_is_refused_and_closed(pair: Pair, file: int, data: bytes, count: int) -> None:
    """No fd, or more than one, is refused, and none of those that came stays open."""
    ours, theirs = pair
    if data:
        send_by_hand(ours, data, [file] * count)
    else:
        ours.close()
    with pytest.raises(HandOverError, match=r"^failed to receive a file descriptor: "):
        fdpass.receive(theirs)


def test_what_follows_the_first_byte_is_left_alone(pair: Pair, file: int) -> None:
    """On a stream one byte is taken with its fd; the bytes behind it stay for whoever reads on."""
    ours, theirs = pair
    send_by_hand(ours, b"\0more", [file])
    os.close(fdpass.receive(theirs))
    assert theirs.recv(10) == b"more"


def test_a_datagram_of_more_than_one_byte_is_refused(file: int) -> None:
    """Where the kernel keeps messages apart, one that is too long is not taken for one byte."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send_by_hand(ours, b"\0more", [file])
        with pytest.raises(HandOverError):
            os.close(fdpass.receive(theirs))


def test_a_socket_that_fails_is_refused(pair: Pair) -> None:
    """An error while receiving is a refusal with the system's own words."""
    _, theirs = pair
    theirs.setblocking(False)
    with pytest.raises(HandOverError, match="Resource temporarily unavailable"):
        fdpass.receive(theirs)
