# SPDX-License-Identifier: GPL-2.0-or-later
"""Structured records for the journal, over its own socket (systemd's Journal Native Protocol); else stderr."""

import enum
import os
import select
import socket
import struct
from contextlib import suppress

from qbhelper.errors import printable

JOURNAL = "/run/systemd/journal/socket"


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
            self._socket.connect(JOURNAL)
        except OSError:
            self._socket.close()

    def write(self, priority: Priority, message: str, **fields: str | int) -> None:
        """Write one record; the fields' names are in capitals, QBHELPER_ is put before them."""
        text = printable(message)
        if self._socket.fileno() == -1:
            line = " ".join((text, *(f"{name.lower()}={printable(str(value))}" for name, value in fields.items())))
            with suppress(OSError):
                if select.select([], [2], [], 0)[1]:  # a pipe that nobody empties would have us wait
                    os.write(2, f"qbhelperd: {line}\n".encode("utf-8", "backslashreplace"))
            return
        record = [
            _field("MESSAGE", text),
            _field("PRIORITY", str(int(priority))),
            _field("SYSLOG_IDENTIFIER", "qbhelperd"),
            *(_field(f"QBHELPER_{name}", str(value)) for name, value in fields.items()),
        ]
        with suppress(OSError):
            self._socket.send(b"".join(record))


def _field(name: str, value: str) -> bytes:
    # With its length, so that no value can look like another field.
    data = value.encode("utf-8", "backslashreplace")
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
