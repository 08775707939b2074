# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU's monitor (QMP) at a path, as a second program sees it; and somebody in between, who acts at a command."""

import asyncio
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from qemu.qmp import QMPClient

PATIENCE = 60
"""Seconds that QEMU may take for anything."""
_ROOM = 1 << 16


def words(path: Path) -> list[str]:
    """QEMU's words for a monitor at a path."""
    return ["-qmp", f"unix:{path},server=on,wait=off"]


def execute(path: Path, *commands: tuple[str, dict[str, object]]) -> list[object]:
    """Connect, run QMP commands, and return their results.  QEMU has buried who was connected before."""

    async def run() -> list[object]:
        client = QMPClient()
        await client.connect(str(path))
        try:
            return [await client.execute(name, arguments) for name, arguments in commands]
        finally:
            await client.disconnect()

    return asyncio.run(asyncio.wait_for(run(), PATIENCE))


def state(pid: int, path: Path) -> dict[str, object]:
    """All that a card leaves in QEMU: its devices, its netdevs, and what its fds are, while it talks to us."""

    async def look() -> dict[str, object]:
        client = QMPClient()
        await client.connect(str(path))
        try:
            devices = await client.execute("qom-list", {"path": "/machine/peripheral"})
            netdevs = await client.execute("human-monitor-command", {"command-line": "info network"})
            return {"devices": devices, "netdevs": netdevs, "fds": fds(pid)}
        finally:
            await client.disconnect()

    return asyncio.run(asyncio.wait_for(look(), PATIENCE))


def fds(pid: int) -> Counter[str]:
    """What a process has open, without the numbers of sockets and the like."""
    found: Counter[str] = Counter()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[str(path.readlink()).partition(":[")[0]] += 1
    return found


@contextmanager
def in_between(real: Path, command: str, act: Callable[[socket.socket], object]) -> Iterator[Path]:
    """A socket that leads to QEMU's, for one client; `act` is called once, before `command` reaches QEMU.

    It is given the connection to QEMU.
    """
    path = real.with_name("in-between")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o666)
        thread = threading.Thread(target=_carry, args=(listener, real, f'"{command}"'.encode(), act))
        thread.start()
        try:
            yield path
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            path.unlink()
            assert not thread.is_alive()


def _carry(listener: socket.socket, real: Path, word: bytes, act: Callable[[socket.socket], object]) -> None:
    with suppress(OSError), listener.accept()[0] as client, socket.socket(socket.AF_UNIX) as qemu:
        qemu.connect(str(real))
        acted = False
        while True:
            for source in select.select([client, qemu], [], [])[0]:
                data, passed, _, _ = socket.recv_fds(source, _ROOM, 8)
                if not data:
                    return
                if source is client and word in data and not acted:
                    acted = True
                    act(qemu)
                target = qemu if source is client else client
                try:
                    socket.send_fds(target, [data], passed)
                finally:
                    for fd in passed:
                        socket.close(fd)
