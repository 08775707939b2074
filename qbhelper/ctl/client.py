# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking the broker (docs/protocol.md): for a port with all its fds, or for the end of a lease."""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from qbhelper import wire
from qbhelper.ctl.output import EXIT_NO
from qbhelper.errors import QbError, reason
from qbhelper.request import Request
from qbhelper.wire import Code, Ending, Question, Reply, WireError

SECONDS_TO_TRY = 8.0
SECONDS_TO_CONNECT = 1.0
"""To a socket that nobody listens on: between two brokers that were started by hand there is such a moment."""
SECONDS_BETWEEN = 0.02
_FDS_MAX = 253
"""SCM_MAX_FD in include/net/scm.h."""


class Refusal(QbError):
    """The broker said no; `code` tells programs why."""

    exit_status = EXIT_NO

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code.name


class NoBrokerError(QbError):
    """There is no broker, or it does not answer."""


@dataclass(frozen=True)
class Granted:
    """A port that lives until all its fds are closed.

    name: its interface's; taps: one fd for each queue; vhost: as many of /dev/vhost-net, or none; macs: the only MAC
    addresses that the guest may have, as text, the first MACS_TOLD of them; none for any.
    """

    name: bytes
    taps: tuple[int, ...]
    vhost: tuple[int, ...]
    macs: tuple[str, ...]

    def may_be_heard(self, mac: str) -> bool:
        """Whether a guest with this MAC address, in small letters, is let through, or might be: not all may be told."""
        return not self.macs or mac in self.macs or len(self.macs) == wire.MACS_TOLD

    def close(self) -> None:
        """Give the port back."""
        _close((*self.taps, *self.vhost))


def ask_for_port(request: Request) -> Granted:
    """Return the port.  Raises Refusal and NoBrokerError."""
    reply, fds = _ask(request)
    queues = request.queues
    if len(fds) != queues * (2 if request.vhost else 1):
        _close(fds)
        raise _unknown_answer()
    return Granted(reply.interface, fds[:queues], fds[queues:], tuple(reply.message.split()))


def ask_for_end(ending: Ending) -> None:
    """Have a lease ended.  Raises Refusal and NoBrokerError."""
    _, fds = _ask(ending)
    if fds:
        _close(fds)
        raise _unknown_answer()


def _ask(question: Question) -> tuple[Reply, tuple[int, ...]]:
    """Ask until there is an answer that decides something; return it with its fds, which are close-on-exec."""
    begin = time.monotonic()
    problem = "it does not answer"
    while time.monotonic() < begin + SECONDS_TO_TRY:
        try:
            answer = _ask_once(question, begin + SECONDS_TO_TRY - time.monotonic())
        except ConnectionRefusedError as error:
            if time.monotonic() > begin + SECONDS_TO_CONNECT:
                raise _no_broker(error) from error
        except (BlockingIOError, BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        except OSError as error:
            raise _no_broker(error) from error
        else:
            if answer is not None and answer[0].code is not Code.BUSY:
                return _unless_refused(*answer)
            problem = answer[0].message if answer is not None else problem
        time.sleep(SECONDS_BETWEEN)
    raise NoBrokerError(f"no answer from the broker: {problem}", "its log (journalctl -u qbhelper) may say why")


def _unless_refused(reply: Reply, fds: tuple[int, ...]) -> tuple[Reply, tuple[int, ...]]:
    if reply.code is Code.GRANTED:
        return reply, fds
    _close(fds)
    raise Refusal(reply.code, reply.message)


def _ask_once(question: Question, seconds: float) -> tuple[Reply, tuple[int, ...]] | None:
    """Return the answer, waiting `seconds` for each step; None if the broker ended with our question in hand."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(max(seconds, SECONDS_BETWEEN))
        connection.connect(wire.SOCKET_PATH)
        connection.send(wire.pack_question(question), socket.MSG_NOSIGNAL)
        datagram, fds, flags, _ = socket.recv_fds(connection, wire.REPLY_MAX + 1, _FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    if not datagram:
        return None
    try:
        reply = wire.parse_reply(datagram)
    except WireError:
        reply = None
    if reply is None or flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC) or reply.fds != len(fds):
        _close(fds)
        raise _unknown_answer()
    return reply, tuple(fds)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _no_broker(error: OSError) -> NoBrokerError:
    return NoBrokerError(
        f"failed to connect to the broker at {wire.SOCKET_PATH}: {reason(error)}",
        "as root: systemctl enable --now qbhelper.socket",
    )


def _unknown_answer() -> NoBrokerError:
    return NoBrokerError(
        "the broker gave an answer that qbhelperctl does not know", "restart it: systemctl restart qbhelper"
    )
