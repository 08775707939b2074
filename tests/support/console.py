# SPDX-License-Identifier: GPL-2.0-or-later
"""The serial console of a guest, whose shell takes numbered commands: see guest_init.sh."""

import re
import select
import socket
import time
from dataclasses import dataclass

BOOT = 0
"""The number of the guest's boot, which ends as a command does: with a status."""


class ConsoleClosed(Exception):
    """QEMU has ended, and the console with it."""


@dataclass(frozen=True)
class Reply:
    """What came of a command in a guest."""

    status: int
    output: str
    seconds: float


class Console:
    """Our end of it.  Reads only while it waits for something, and then until a deadline."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._log = bytearray()
        self._seen = 0
        self._commands = BOOT

    @property
    def log(self) -> str:
        """All that was read so far."""
        return self._log.decode(errors="replace")

    def run(self, command: str, timeout: float) -> Reply | None:
        """Have one line of shell run; None if it takes longer than `timeout`."""
        assert "\n" not in command, "the guest reads lines"
        self._commands += 1
        begin, started = self._seen, time.monotonic()
        try:
            self._end.sendall(f"{self._commands} {command}\n".encode())
        except BrokenPipeError:
            raise ConsoleClosed from None
        status = self.await_status(self._commands, timeout)
        if status is None:
            return None
        said = self._log[begin : self._seen].rpartition(b"\x1e")[0]
        return Reply(status, said.decode(errors="replace"), time.monotonic() - started)

    def await_status(self, number: int, timeout: float) -> int | None:
        """Wait for the end of a command; its status, or None if it has not ended by then."""
        deadline = time.monotonic() + timeout
        end_of_command = re.compile(rb"\x1e%d (\d+)\n" % number)
        while not (match := end_of_command.search(self._log, self._seen)):
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self._end], [], [], left)[0]:
                return None
            self._read()
        self._seen = match.end()
        return int(match[1])

    def _read(self) -> None:
        try:
            part = self._end.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            raise ConsoleClosed
        self._log += part

    def close(self) -> None:
        """Close our end."""
        self._end.close()
