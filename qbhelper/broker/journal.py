# SPDX-License-Identifier: GPL-2.0-or-later
"""Structured records for the journal, over its own socket (systemd's Journal Native Protocol); else stderr."""

import enum
import os
import select
import socket
from contextlib import suppress

from qbhelper import record


class Priority(enum.IntEnum):
    """How much it matters (syslog(3))."""

    WARNING = 4
    NOTICE = 5
    INFO = 6


class Journal:
    """Where the broker writes what it did.  Writing never waits and never fails: a full log stops no guest."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(record.JOURNAL)
        except OSError:
            self._socket.close()

    def write(self, priority: Priority, message: str, **fields: str | int) -> None:
        """Write one record; the fields' names are in capitals, QBHELPER_ is put before them."""
        if self._socket.fileno() == -1:
            line = f"{record.BROKER}: {record.in_one_line(message, fields)}\n"
            with suppress(OSError):
                if select.select([], [2], [], 0)[1]:  # a pipe that nobody empties would have us wait
                    os.write(2, line.encode())
            return
        with suppress(OSError):
            self._socket.send(record.for_journal(record.BROKER, priority, message, fields))
