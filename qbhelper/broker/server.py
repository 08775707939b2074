# SPDX-License-Identifier: GPL-2.0-or-later
"""The broker's one loop: a question comes in, a TAP, a word or a reason goes out, the connection ends.

One thread, and nothing in it waits for a caller: a slow or hostile one costs a place among a bounded number
of connections, for a bounded time.
"""

import os
import resource
import select
import socket
import time
from collections import Counter, OrderedDict
from contextlib import suppress
from typing import NamedTuple

from qbhelper import dialect, wire
from qbhelper.broker import identity, records
from qbhelper.broker.claims import Claims
from qbhelper.broker.endings import end
from qbhelper.broker.identity import Peer
from qbhelper.broker.journal import Journal, Priority
from qbhelper.broker.leases import Leases
from qbhelper.broker.policies import Policies
from qbhelper.broker.replies import code_of, send
from qbhelper.broker.snapshot import Snapshot
from qbhelper.broker.watched import Device
from qbhelper.errors import AccessDenied, Busy, QbError
from qbhelper.grant import Port, grant
from qbhelper.kernel.link import Network
from qbhelper.kernel.netlink import Links
from qbhelper.request import Request
from qbhelper.wire import Code, Ending, Reply, WireError

SECONDS_TO_ASK = 2.0
"""From connecting to having asked.  Our own helper takes a thousandth of it."""
SILENT_MAX = 512
"""Connections on which nothing was asked yet; one more, and the oldest has to go."""
PER_UID_MAX = 256
"""Connections of one uid, silent or with a reply that was not taken."""
CONNECTIONS_MAX = 2048
"""In all.  One more, and the oldest with a reply has to go: what was sent stays in its caller's socket."""
SPARE_FDS = 32
"""For TAPs, and for what nobody thought of."""
ACCEPTS_AT_ONCE = 64
REST_AFTER_SEARCH = 4.0
"""To find a lease is to look at all TAPs, and anybody may ask.  So many times as long as that took, only root may."""


class Connection(NamedTuple):
    """A caller who has connected, and may ask until `deadline` (time.monotonic)."""

    socket: socket.socket
    peer: Peer
    deadline: float


class Server:
    """Serves `listener` until there is nothing to do for `idle` seconds, or what we were started with has changed."""

    def __init__(self, listener: socket.socket, snapshot: Snapshot, journal: Journal, idle: float | None) -> None:
        self._listener = listener
        self._snapshot = snapshot
        self._journal = journal
        self._idle = idle
        self._network = identity.network_of(listener)
        links = Links()
        self._leases = Leases(journal, snapshot.with_macs(), links)
        self._claims = Claims(journal, links)
        self._epoll = select.epoll()
        self._kernel = Network()
        self._silent: OrderedDict[int, Connection] = OrderedDict()  # oldest, so next to expire, first
        self._answered: dict[int, Connection] = {}  # until the caller hangs up, having taken the reply
        self._per_uid: Counter[int] = Counter()
        room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - len(os.listdir("/proc/self/fd")) - SPARE_FDS
        self._connections_max = min(CONNECTIONS_MAX, max(1, room))
        self._policies = Policies(snapshot)
        self._is_crowded = False  # whether the connection that is heard was not the first to be accepted with others
        self._outdated = ""  # why we are, if we are
        self._device = Device()
        self._next_search = 0.0
        self._stopping = False
        self._last_activity = time.monotonic()
        listener.setblocking(False)
        self._epoll.register(listener, select.EPOLLIN)
        self._epoll.register(self._leases.events, select.EPOLLIN)

    def stop(self) -> None:
        """Accept no more, finish what is in flight, and let `serve` return."""
        if not self._stopping:
            self._stopping = True
            self._epoll.unregister(self._listener)

    def serve(self, wake: socket.socket) -> None:
        """Answer requests, until there is something to read from `wake`, or we are idle, or outdated.

        Who connects after that waits in the backlog for the next broker.
        """
        self._epoll.register(wake, select.EPOLLIN)
        while not self._stopping:
            ready = self._epoll.poll(self._patience())
            now = time.monotonic()
            for fd, _ in ready:
                if fd == self._listener.fileno():
                    self._accept(now)
                elif fd in self._silent:
                    self._hear(self._silent[fd])
                elif fd in self._answered:
                    self._drop(self._answered[fd])
                elif fd == self._leases.events.fileno():
                    self._leases.handle_events()
                elif fd == wake.fileno():
                    wake.recv(64)
                    self.stop()
            self._leases.look_again(now)
            self._expire(now)
        # Who has asked gets an answer.  Who has not will ask the next broker, and must not delay it.
        for connection in [*self._silent.values()]:
            self._hear(connection)
        if self._outdated and self._leases.any():
            self._knock()

    def _knock(self) -> None:
        """Connect to ourselves, for systemd to start the next broker: leases want watching, and nobody might call."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as knock, suppress(OSError):
            knock.connect(self._listener.getsockname())

    def _patience(self) -> float | None:
        """Seconds until something is due without anybody asking, never negative: to epoll that is for ever."""
        now = time.monotonic()
        due = [self._leases.patience(now)]
        if self._silent:
            due.append(max(0.0, next(iter(self._silent.values())).deadline - now))
        elif self._idle is not None:
            due.append(max(0.0, self._last_activity + self._idle - now))
        return min((seconds for seconds in due if seconds is not None), default=None)

    def _expire(self, now: float) -> None:
        while self._silent:
            oldest = next(iter(self._silent.values()))
            if oldest.deadline > now:
                return
            self._drop(oldest)
        if self._idle is not None and now >= self._last_activity + self._idle:
            if self._leases.any():  # somebody has to watch them
                self._last_activity = now
            else:
                self.stop()

    def _accept(self, now: float) -> None:
        for number in range(ACCEPTS_AT_ONCE):
            self._is_crowded = number > 0
            if not self._is_current():
                return
            try:
                accepted, _ = self._listener.accept()
            except OSError:  # there is none, it is gone already, or we are out of fds for the moment
                return
            self._last_activity = now
            accepted.setblocking(False)
            try:
                peer = identity.of(accepted, self._network)
            except OSError:
                accepted.close()
                continue
            if self._per_uid[peer.caller.uid] >= PER_UID_MAX:
                send(accepted, Reply(Code.BUSY, 0, b"", "too many requests of yours at once; try again"))
                accepted.close()
                continue
            connection = Connection(accepted, peer, now + SECONDS_TO_ASK)
            self._silent[accepted.fileno()] = connection
            self._per_uid[peer.caller.uid] += 1
            self._make_room()
            if not self._hear(connection, is_checked=True) and not self._is_crowded:
                os.sched_yield()  # our waking up may have put them off their CPU between connect(2) and send(2)
                self._hear(connection)
            if accepted.fileno() != -1:  # not before: whoever has asked by now has been kept waiting for no more of us
                self._epoll.register(accepted, select.EPOLLIN)

    def _make_room(self) -> None:
        """Let the oldest connections go where there are too many."""
        if len(self._silent) > SILENT_MAX:
            self._drop(next(iter(self._silent.values())))
        elif len(self._silent) + len(self._answered) > self._connections_max:
            self._drop(next(iter((self._answered or self._silent).values())))

    def _drop(self, connection: Connection) -> None:
        fd, uid = connection.socket.fileno(), connection.peer.caller.uid
        self._silent.pop(fd, None)
        self._answered.pop(fd, None)
        self._per_uid[uid] -= 1
        if not self._per_uid[uid]:
            del self._per_uid[uid]
        connection.socket.close()  # nothing else has it open, as we never fork: so epoll forgets it (epoll(7))

    def _hear(self, connection: Connection, *, is_checked: bool = False) -> bool:
        """Read the one request of a connection, and answer it; False if it is not there yet.

        `is_checked`: the policy was seen to be current just now.
        """
        try:
            # No room for ancillary data: fds that a caller sends are closed by the kernel, and never ours.
            datagram, _, flags, _ = connection.socket.recvmsg(wire.REQUEST_SIZE + 1)
            if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
                raise WireError("fds, or too many bytes")
            question = wire.parse_question(datagram)
        except BlockingIOError:
            return False
        except (WireError, OSError):
            self._drop(connection)  # nothing that our protocol knows: no answer
            return True
        self._answered[connection.socket.fileno()] = self._silent.pop(connection.socket.fileno())
        if is_checked or self._is_current():
            if isinstance(question, Ending):
                self._end(question, connection)
            else:
                self._grant(question, connection)
        else:
            send(connection.socket, Reply(Code.BUSY, 0, b"", f"{self._outdated}; try again"))
        return True

    def _is_current(self) -> bool:
        """Whether policy and device are still what we started with; if not, begin to stop: a new broker will look."""
        if self._outdated:
            return False
        if self._snapshot.is_current() and self._device.is_current():
            return True
        self._outdated = "the policy has changed" if self._device.is_current() else "there was no TUN device"
        self._journal.write(Priority.INFO, f"{self._outdated}: starting anew", EVENT="reload")
        self.stop()
        return False

    def _grant(self, request: Request, connection: Connection) -> None:
        port: Port | None = None
        rule = ""
        try:
            _check(request, connection.peer)
            port = grant(request, connection.peer.caller, self._policies.of(connection.peer.caller), self._kernel)
            reply = Reply(Code.GRANTED, len(port.tap.fds) + len(port.vhost), port.name, _told_to_clients(port))
        except QbError as error:
            reply = Reply(code_of(error), 0, b"", str(error))
            rule = error.rule
            if isinstance(error, Busy):
                self._claims.end_stale()
        except Exception as error:  # noqa: BLE001  one request that fails must not end the others
            reply = Reply(Code.INTERNAL, 0, b"", f"internal error: {type(error).__name__}; nothing was granted")
            self._journal.write(
                Priority.WARNING, f"internal error: {error!r}", EVENT="error", UID=connection.peer.caller.uid
            )
        try:
            if not send(connection.socket, reply, (*port.tap.fds, *port.vhost) if port else ()) and port:
                # The kernel lets us have as many fds on their way as we may have open (ETOOMANYREFS): whoever takes
                # none of theirs keeps others from a port, but must not keep them waiting for an answer.
                what = "failed to hand over the port: the caller was gone, or others do not take theirs; try again"
                reply = Reply(Code.INTERNAL, 0, b"", what)
                send(connection.socket, reply)
            if not self._is_crowded:
                os.sched_yield()  # the kernel likes to wake the caller on our CPU, and QEMU waits for it, not for us
        finally:
            if port:
                port.close()
        records.answered(self._journal, request, connection.peer.caller, port, reply, rule)

    def _end(self, ending: Ending, connection: Connection) -> None:
        caller, begin = connection.peer.caller, time.monotonic()
        if caller.uid != 0 and begin < self._next_search:
            send(connection.socket, Reply(Code.BUSY, 0, b"", "others are just ending leases; try again"))
            return
        try:
            ended = end(ending, caller, self._kernel)
            self._leases.look_after(ended.index)
            reply = Reply(Code.GRANTED, 0, ended.name, "")
            records.ended(self._journal, ending, caller, ended)
        except QbError as error:
            reply = Reply(code_of(error), 0, b"", str(error))
        except Exception as error:  # noqa: BLE001  one request that fails must not end the others
            reply = Reply(Code.INTERNAL, 0, b"", f"internal error: {type(error).__name__}")
            self._journal.write(Priority.WARNING, f"internal error: {error!r}", EVENT="error", UID=caller.uid)
        now = time.monotonic()
        self._next_search = now + REST_AFTER_SEARCH * (now - begin)
        send(connection.socket, reply)


def _check(request: Request, peer: Peer) -> None:
    # Some of them would not do: a file may be closed to a group and open to the others.
    if not peer.all_groups:
        raise AccessDenied(
            f"access denied: you are in more than {identity.GROUPS_MAX} groups, more than the broker can ask for",
            "ask the administrator for the helper with a file capability, or for fewer groups",
        )
    dialect.check_name(request.bridge)


def _told_to_clients(port: Port) -> str:
    """Return what a client has to know of a port: the only MAC addresses that the guest may have, if not all."""
    return " ".join(mac.hex(":") for mac in port.decision.terms.port.macs[: wire.MACS_TOLD])
