# SPDX-License-Identifier: GPL-2.0-or-later
"""The one-shot way: one request, one port, and the process ends.

Started by the native part (native/qbhelper.c) as the caller, with CAP_NET_ADMIN and nothing else.  What comes of it
is logged as the caller, too, when it is answered already.
QEMU stands still while this runs, so what it imports is counted (tests/unit/test_budget.py).
"""

import fcntl
import os
import stat
import time
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK
from _socket import socket as Socket  # noqa: N812  the same class without the 8 ms that socket.py takes

from qbhelper import dialect, fdpass, privilege, record, sources
from qbhelper.errors import EXIT_GRANTED, EXIT_REFUSED, Busy, QbError, printable
from qbhelper.grant import grant
from qbhelper.kernel.link import Network
from qbhelper.request import Caller

MESSAGE_MAX = 2000
"""Bytes on stderr, and in the log: an include may have a path of thousands."""

SECONDS_TO_TRY = 5.0
"""Half of what the native part lets us live."""
SECONDS_BETWEEN = 0.01
SECONDS_TO_READ = 0.1
"""What a reader of our message may take: see await_reader() in native/qbhelper.c."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qbhelper.grant import Port
    from qbhelper.policy.decision import Verdicts
    from qbhelper.request import Request


def main(words: list[str]) -> "NoReturn":
    """Answer the request in `words` and end the process: status 0 if and only if the fd was handed over."""
    request: Request | None = None
    try:
        privilege.enter()
        request, hand_over_fd = dialect.parse(words)
        caller = Caller.of_this_process()
        policy = sources.load_policy(caller)
        privilege.act()
        port = _grant_patiently(request, caller, policy)
        try:
            privilege.leave()
            fdpass.send(Socket(fileno=hand_over_fd), port.tap.fds[0])
        except BaseException:
            port.tap.close()  # before the message, for which stderr may keep us waiting
            raise
    except QbError as error:
        _refuse(str(error), request, error.code, error.rule)
    except BaseException as error:  # noqa: BLE001  fail closed, and no traceback: QEMU's user could not use one
        what = f"internal error: {type(error).__name__}: {error}; nothing was granted, please report this"
        _refuse(what, request, QbError.code)
    # Nothing may fail any more, not even the interpreter's own way out.
    try:
        rule = str(port.decision.place)
        _log(record.granted(caller.uid, caller.pid, request.bridge, port.name, port.lease.identity, rule))
    finally:
        os._exit(EXIT_GRANTED)


def _grant_patiently(request: "Request", caller: Caller, policy: "Verdicts") -> "Port":
    """Grant, and try again where others were about the same ports."""
    network = Network()
    end = time.monotonic() + SECONDS_TO_TRY
    while True:
        try:
            return grant(request, caller, policy, network)
        except Busy:
            if time.monotonic() > end:
                raise
            time.sleep(SECONDS_BETWEEN)


def _refuse(message: str, request: "Request | None", code: str, rule: str = "") -> "NoReturn":
    """Say why, while the socket is still open: libvirt reads stderr only until it is closed."""
    text = printable(message)[:MESSAGE_MAX]
    try:
        os.write(2, text.encode() + b"\n")
    finally:  # also where nobody reads stderr
        try:
            bridge = request.bridge if request else None
            _log(record.refused(os.getuid(), os.getppid(), bridge, code, rule[:MESSAGE_MAX], text))
        finally:
            try:
                _await_reader()
            finally:
                os._exit(EXIT_REFUSED)


def _await_reader() -> None:
    """Keep the socket open until the message has been read from a pipe: libvirt does not look for it afterwards.

    OSError: it can't be told whether it has been read.
    """
    if not stat.S_ISFIFO(os.fstat(2).st_mode):
        return
    from termios import FIONREAD  # here, because few refusals are read from a pipe

    end = time.monotonic() + SECONDS_TO_READ
    unread = True
    while unread and time.monotonic() < end:
        time.sleep(SECONDS_TO_READ / 100)
        unread = any(fcntl.ioctl(2, FIONREAD, bytes(4)))
    os.close(2)
    time.sleep(SECONDS_TO_READ / 33)


def _log(what: "record.Record") -> None:
    """Write a record to the journal, else to syslog, without waiting.

    Raises OSError where nobody takes it: it is lost then, and who calls this ends the process all the same.
    """
    log = Socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
    try:
        log.sendto(record.for_journal(record.STANDALONE, *what), MSG_DONTWAIT, record.JOURNAL)
    except BlockingIOError:
        raise  # it is there, and full
    except OSError:
        log.sendto(record.for_syslog(record.STANDALONE, os.getpid(), *what), MSG_DONTWAIT, record.SYSLOG)
