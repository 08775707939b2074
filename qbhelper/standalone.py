# SPDX-License-Identifier: GPL-2.0-or-later
"""The one-shot way: one request, one port, and the process ends.

Started by the native part (native/qbhelper.c) as the caller, with CAP_NET_ADMIN and nothing else.
QEMU stands still while this runs, so what it imports is counted (tests/unit/test_budget.py).
"""

import os
from _socket import socket as Socket  # noqa: N812  the same class without the 8 ms that socket.py takes

from qbhelper import dialect, fdpass, privilege, sources
from qbhelper.errors import EXIT_GRANTED, EXIT_REFUSED, QbError, printable
from qbhelper.grant import grant
from qbhelper.kernel.link import Network
from qbhelper.request import Caller

MESSAGE_MAX = 2000
"""Bytes on stderr: an include may have a path of thousands."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(words: list[str]) -> "NoReturn":
    """Answer the request in `words` and end the process: status 0 if and only if the fd was handed over."""
    try:
        privilege.enter()
        request, hand_over_fd = dialect.parse(words)
        policy = sources.load_access_list()
        privilege.act()
        port = grant(request, Caller.of_this_process(), policy, Network())
        try:
            privilege.leave()
            fdpass.send(Socket(fileno=hand_over_fd), port.fd)
        except BaseException:
            port.close()  # before the message, for which stderr may keep us waiting
            raise
    except QbError as error:
        _refuse(str(error))
    except BaseException as error:  # noqa: BLE001  fail closed, and no traceback: QEMU's user could not use one
        _refuse(f"internal error: {type(error).__name__}: {error}; nothing was granted, please report this")
    # Nothing may fail any more, not even the interpreter's own way out.
    os._exit(EXIT_GRANTED)


def _refuse(message: str) -> "NoReturn":
    """Say why, while the socket is still open: libvirt reads stderr only until it is closed."""
    try:
        os.write(2, printable(message).encode()[:MESSAGE_MAX] + b"\n")
    finally:
        os._exit(EXIT_REFUSED)
