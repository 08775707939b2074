# SPDX-License-Identifier: GPL-2.0-or-later
"""The broker, started in both of its ways, and direct clients of it that need no program.

Nothing here sleeps: a broker says by sd_notify(3) when it serves, and the kernel says who sent that.
"""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from qbhelper import wire
from qbhelper.request import Request
from tests.support import caller, install, world
from tests.support.caller import PLAIN_UID

SOCKET = Path(wire.SOCKET_PATH)
PATIENCE = 20.0
"""Seconds after which something is taken for stuck, on a machine that has much else to do."""
NOBODY = 65534
_UCRED = struct.Struct("3i")
RTMGRP_LINK = 1


def program() -> Path:
    """Return the installed qbhelperd."""
    return install.installed().parents[1] / "sbin" / "qbhelperd"


class Readiness:
    """Where brokers say that they serve (NOTIFY_SOCKET)."""

    def __init__(self) -> None:
        self.path = world.WORLD / "ready.sock"
        self.path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(self.path))
        self.path.chmod(0o666)

    def next_pid(self, patience: float = PATIENCE) -> int | None:
        """Wait for the next READY=1 and return who sent it; None if it does not come."""
        if not select.select([self._socket], [], [], patience)[0]:
            return None
        message, ancillary, _, _ = self._socket.recvmsg(64, socket.CMSG_SPACE(_UCRED.size))
        assert message == b"READY=1"
        pid: int = _UCRED.unpack(ancillary[0][2])[0]
        return pid

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()
        self.path.unlink()


@dataclass
class Broker:
    """A running broker: `main` is the keeper or the one that plays systemd, `worker` the process that serves."""

    main: "subprocess.Popen[bytes]"
    worker: int
    readiness: Readiness
    stderr: int
    """A file with all that was printed."""
    is_activated: bool

    def log(self) -> str:
        """All that was printed so far."""
        return os.pread(self.stderr, 1 << 24, 0).decode(errors="replace")

    def await_start(self) -> None:
        """Wait until the first worker serves, and note it as the worker."""
        sender = self.readiness.next_pid()
        assert sender is not None, f"no broker serves:\n{self.log()[-2000:]}"
        assert self.is_activated or sender == self.main.pid, "a service speaks for its main process"
        self.worker = sender if self.is_activated else children_of(self.main.pid)[0]

    def await_worker(self) -> int:
        """Wait until another process than `worker` serves, and note it as the worker."""
        before = self.worker
        deadline = time.monotonic() + PATIENCE
        while self.latest_worker() == before:
            assert time.monotonic() < deadline, f"no new broker serves:\n{self.log()[-2000:]}"
            ask("no-such-bridge")  # who answers this, serves
        ask("no-such-bridge")
        return self.latest_worker()

    def latest_worker(self) -> int:
        """Return the process that serves, or is about to.

        To be called now and then by who has it restarted often: an activated broker waits until it can say that it
        serves.
        """
        if self.is_activated:
            while (pid := self.readiness.next_pid(0)) is not None:
                self.worker = pid
        else:
            self.worker = next(iter(children_of(self.main.pid)), self.worker)
        return self.worker

    def kill_worker(self) -> None:
        """Kill the process that serves, with no chance to do anything, and wait until it is gone."""
        with suppress(ProcessLookupError):
            kill(self.latest_worker())

    def fds(self) -> int:
        """How many files the process that serves has open."""
        return len(os.listdir(f"/proc/{self.worker}/fd"))

    def memory(self) -> int:
        """Bytes of memory that are there for the process that serves (VmRSS)."""
        return int(status_of(self.worker)["VmRSS"].split()[0]) * 1024


def children_of(pid: int) -> list[int]:
    """Return the processes that a process with one thread has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


Way = Callable[[], AbstractContextManager[Broker]]
"""`by_hand` or `activated`."""


def status_of(pid: int) -> dict[str, str]:
    """Return /proc/PID/status as its names and values."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal that ends a process, and wait until it has ended."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, number)
        assert select.select([handle], [], [], PATIENCE)[0], f"process {pid} does not end"
    finally:
        os.close(handle)


@contextmanager
def by_hand(
    daemon: Path | None = None,
    *,
    wrapper: Sequence[str] = (),
    readiness: Readiness | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Broker]:
    """A broker that root started, for the time of the block.

    `daemon` is started in place of qbhelperd.
    """
    with _running([*wrapper, str(daemon or program())], readiness, pass_fds=pass_fds) as broker:
        yield broker


@contextmanager
def activated(daemon: Path | None = None) -> Iterator[Broker]:
    """A broker that is started as by systemd: with the socket, as a plain uid, again whenever it is needed.

    `daemon` is started in place of qbhelperd.  In a user namespace, which has no other uid, it is our own.
    """
    activator = [sys.executable, str(Path(__file__).with_name("activator.py")), str(SOCKET), str(daemon or program())]
    identity = [str(NOBODY)] if world.is_real_root() else []
    with _running([*activator, *identity], None, knock=True) as broker:
        yield broker


@contextmanager
def _running(
    argv: Sequence[str], readiness: Readiness | None, *, knock: bool = False, pass_fds: Sequence[int] = ()
) -> Iterator[Broker]:
    ours = readiness or Readiness()
    stderr = os.memfd_create("broker-stderr")
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if knock else stderr,
        stderr=stderr,
        env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(ours.path)},
        preexec_fn=world.die_with_parent,
        pass_fds=pass_fds,
    )
    try:
        broker = Broker(process, 0, ours, stderr, knock)
        if process.stdout is not None:
            assert process.stdout.readline() == b"listening\n"
            connect().close()  # systemd starts it for whoever knocks first
        broker.await_start()
        yield broker
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
            os.close(stderr)
            if readiness is None:
                ours.close()


# --- Clients that are part of the test ---------------------------------------------------------


@contextmanager
def acting_as(uid: int, gid: int | None = None, groups: Sequence[int] = ()) -> Iterator[None]:
    """Be somebody else to whom we connect to: the kernel notes effective ids and groups at connect(2)."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(uid if gid is None else gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def connect(uid: int | None = None, gid: int | None = None, groups: Sequence[int] = ()) -> socket.socket:
    """Return a connection to the broker, made as this uid (default: as ourselves)."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Not settimeout: with it connect(2) would not wait for a place in a full backlog.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))
    try:
        if uid is None:
            connection.connect(str(SOCKET))
        else:
            with acting_as(uid, gid, groups):
                connection.connect(str(SOCKET))
        connection.settimeout(PATIENCE)
    except BaseException:
        connection.close()
        raise
    return connection


def question(bridge: str | bytes = "br0", *, vnet: bool = True, queues: int = 1) -> bytes:
    """Return the datagram that asks for a port."""
    name = bridge.encode() if isinstance(bridge, str) else bridge
    return wire.pack_question(Request(name, vnet, queues))


@dataclass
class Answer:
    """What the broker sent; leaving it as a context manager closes the fds, and with them the port."""

    reply: wire.Reply
    fds: list[int] = field(default_factory=list)

    @property
    def granted(self) -> bool:
        """Whether it is a port."""
        return self.reply.code is wire.Code.GRANTED and len(self.fds) == 1 == self.reply.fds

    @property
    def name(self) -> str:
        """The name of the TAP."""
        return self.reply.interface.decode()

    def close(self) -> None:
        """Give the port back."""
        while self.fds:
            os.close(self.fds.pop())

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def take_answer(connection: socket.socket) -> Answer | None:
    """Receive the one answer; None if the connection ended without."""
    try:
        datagram, fds, _, _ = socket.recv_fds(connection, wire.REPLY_MAX + 1, 254)
    except ConnectionResetError:
        return None
    return Answer(wire.parse_reply(datagram), list(fds)) if datagram else None


def ask(
    bridge: str | bytes = "br0",
    *,
    uid: int = PLAIN_UID,
    gid: int | None = None,
    groups: Sequence[int] = (),
    vnet: bool = True,
    queues: int = 1,
) -> Answer:
    """Ask for a port as any client does that follows docs/protocol.md: again, while the broker is between two lives."""
    for _ in range(200):
        try:
            with connect(uid, gid, groups) as connection:
                connection.send(question(bridge, vnet=vnet, queues=queues))
                answer = take_answer(connection)
        except (ConnectionRefusedError, BrokenPipeError):
            answer = None
        if answer is not None and answer.reply.code is not wire.Code.BUSY:
            return answer
        select.select([], [], [], 0.02)
    raise AssertionError("the broker does not answer")


def helper() -> Path:
    """Return the helper as distributions ship it for the broker: with no privilege at all."""
    return install.ours(install.Privilege.NONE)


def call(bridge: str | bytes = "br0", **details: object) -> caller.Outcome:
    """Call the helper that has no privilege, as a plain uid; the words are those of `caller.call`."""
    return caller.call(helper(), bridge=bridge, **details)  # type: ignore[arg-type]


# --- Waiting for what the kernel announces -------------------------------------------------------


def await_links(condition: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Wait until `condition` holds, looking anew whenever an interface changes; whether it came to hold."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
        events.bind((0, RTMGRP_LINK))
        deadline = time.monotonic() + patience
        while not condition():
            if not select.select([events], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return condition()
            with suppress(OSError):  # ENOBUFS: then there was one
                events.recv(1 << 16)
    return True


def taps() -> frozenset[str]:
    """Return the TAPs of this network namespace."""
    return frozenset(name for name in world.interfaces() if Path("/sys/class/net", name, "tun_flags").exists())


def no_tap_is_left() -> bool:
    """Whether the last TAP goes: the broker, too, has an fd of it until it has sent it."""
    return await_links(lambda: not taps())
