# SPDX-License-Identifier: GPL-2.0-or-later
"""A running QEMU, talked to by its monitor protocol (QMP): commands, fds, events; every wait has an end.

qemu.qmp, the library of QEMU's own project, does the talking; it is wanted here alone, and not everywhere installed.
"""

import asyncio
import os
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import TypeVar

from qbhelper.ctl.output import EXIT_NO
from qbhelper.errors import QbError, UnsupportedError, printable, reason

try:
    from qemu.qmp import ConnectError, EventListener, ExecuteError, QMPClient, QMPError
except ImportError:
    raise UnsupportedError(
        "to talk to QEMU the Python module qemu.qmp is needed, and not installed here",
        "it is in the package python3-qemu-qmp (Debian 14, Ubuntu 26.04, Fedora), elsewhere qemu.qmp from PyPI",
    ) from None

SECONDS_TO_GREET = 5.0
SECONDS_TO_ANSWER = 10.0
"""QEMU answers in milliseconds, but for what it writes to a slow disk in the meantime."""
SECONDS_AFTER_SILENCE = 1.0
"""For each command to a QEMU that has left one unanswered."""

_OPTION = "-qmp unix:SOCKET,server=on,wait=off"
"""With which QEMU has a monitor; `wait=off' has it start without anybody connected."""
_ENDED = (QMPError, EOFError, OSError)
"""What qemu.qmp raises when the other side is gone or talks nonsense."""

T = TypeVar("T")


class MonitorError(QbError):
    """The monitor can't be reached, is gone, or does not answer."""


class Refused(QbError):
    """QEMU said no, in these words of its own."""

    exit_status = EXIT_NO


class Monitor:
    """The monitor of a QEMU.  A context manager: leaving it ends the connection."""

    def __init__(self, path: str) -> None:
        """Connect to the socket and wait for QEMU's greeting.  Raises MonitorError."""
        self._name = f"`{printable(path)}'"
        self._patience = SECONDS_TO_ANSWER
        connection = self._connect(path)
        self._runner = asyncio.Runner()
        self._client = QMPClient()
        self._events = EventListener(names=("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR"))
        self._client.register_listener(self._events)
        try:
            self._greet(connection)
        except BaseException:
            self._runner.close()
            connection.close()
            raise

    def execute(self, command: str, **arguments: object) -> object:
        """Have QEMU do something; return what it says.  Raises Refused and MonitorError."""
        words = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            return self._wait(self._client.execute(command, words), self._patience)
        except ExecuteError as error:
            raise Refused(f"QEMU refused {command}: {printable(str(error))}") from error
        except TimeoutError:
            self._patience = SECONDS_AFTER_SILENCE
            raise MonitorError(
                f"QEMU at {self._name} does not answer", "is it stopped, or busy with its disk?"
            ) from None
        except _ENDED as error:
            raise self._gone() from error

    def give(self, fd: int, name: str) -> None:
        """Give QEMU a copy of an fd, by this name; one that had the name before is closed.  Raises as `execute`."""
        try:
            self._client.send_fd_scm(fd)
        except _ENDED as error:
            raise self._gone() from error
        self.execute("getfd", fdname=name)

    def await_unplugged(self, device: str, seconds: float) -> bool:
        """Wait until a device is gone; False if it is not within this time.  Raises Refused if the guest keeps it."""
        try:
            return self._wait(self._unplugged(device), seconds)
        except TimeoutError:
            return False

    async def _unplugged(self, device: str) -> bool:
        event = asyncio.ensure_future(self._event_of(device))
        end = asyncio.ensure_future(self._client.runstate_changed())
        try:
            await asyncio.wait((event, end), return_when=asyncio.FIRST_COMPLETED)
            if not event.done():
                raise self._gone()
            if event.result() != "DEVICE_DELETED":
                raise Refused(f"the guest does not let go of {device}")
            return True
        finally:
            event.cancel()
            end.cancel()

    async def _event_of(self, device: str) -> str:
        while True:
            message = await self._events.get()
            data = message["data"]
            if isinstance(data, dict) and data.get("device") == device:
                return str(message["event"])

    def _connect(self, path: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(SECONDS_TO_GREET)  # who does not accept has room for a few who wait
            connection.connect(os.fsencode(path))
        except TimeoutError:
            connection.close()
            raise self._silent() from None
        except (OSError, ValueError) as error:
            connection.close()
            why = reason(error) if isinstance(error, OSError) and error.errno else str(error)
            raise MonitorError(
                f"failed to connect to QEMU's monitor at {self._name}: {why}", f"start QEMU with {_OPTION}"
            ) from error
        return connection

    def _greet(self, connection: socket.socket) -> None:
        try:
            self._wait(self._client.connect(connection), SECONDS_TO_GREET)
        except TimeoutError:
            raise self._silent() from None
        except ConnectError as error:
            if isinstance(error.exc, EOFError | OSError):
                raise self._gone() from error
            raise MonitorError(
                f"what answers at {self._name} does not speak QMP", f"start QEMU with {_OPTION}"
            ) from error

    def _silent(self) -> MonitorError:
        return MonitorError(
            f"no greeting from QEMU at {self._name}",
            "QEMU talks to one program at a time, and another may be connected; or it is stopped",
        )

    def _gone(self) -> MonitorError:
        return MonitorError(f"QEMU at {self._name} has closed the connection", "has it ended?")

    def _wait(self, what: Coroutine[object, object, T], seconds: float) -> T:
        return self._runner.run(asyncio.wait_for(what, seconds))

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(TimeoutError, *_ENDED):
            self._wait(self._client.disconnect(), SECONDS_AFTER_SILENCE)
        self._runner.close()
