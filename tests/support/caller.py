# SPDX-License-Identifier: GPL-2.0-or-later
"""Call a bridge helper as QEMU does, as any user, and see exactly what came back."""

import array
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLAIN_UID = 61234
"""A uid with no account: callers are numbers to the kernel."""

TUNGETIFF = 0x800454D2
IFF_VNET_HDR = 0x4000


@dataclass(frozen=True)
class Tap:
    """A TAP as its file descriptor describes it (TUNGETIFF)."""

    name: str
    flags: int

    @property
    def has_vnet_header(self) -> bool:
        """Whether frames carry a virtio-net header."""
        return bool(self.flags & IFF_VNET_HDR)


@dataclass
class Outcome:
    """What one call of a helper left behind.  A context manager: leaving it closes the fds."""

    status: int
    """Exit status; negative: the signal that killed it."""
    stderr: str
    data: bytes
    """The bytes that came over the socket."""
    fds: list[int] = field(default_factory=list)

    @property
    def granted(self) -> bool:
        """Whether the hand-over was complete: status 0, one zero byte, one fd."""
        return self.status == 0 and self.data == b"\0" and len(self.fds) == 1

    @property
    def refused(self) -> bool:
        """Whether the refusal was clean: status 1, a message, nothing sent."""
        return self.status == 1 and bool(self.stderr.strip()) and not self.data and not self.fds

    def tap(self) -> Tap:
        """The TAP that was handed over."""
        return describe(self.fds[0])

    def close(self) -> None:
        """Close what was handed over; the kernel then removes the TAP."""
        while self.fds:
            os.close(self.fds.pop())

    def __enter__(self) -> "Outcome":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def describe(fd: int) -> Tap:
    """Ask the kernel which TAP an fd is attached to."""
    request = fcntl.ioctl(fd, TUNGETIFF, bytes(40))
    name, flags = struct.unpack_from("16sH", request)
    return Tap(name.rstrip(b"\0").decode(), flags)


def receive(end: socket.socket) -> tuple[bytes, list[int]]:
    """Read everything a helper sent, to the end of the stream."""
    data, fds = b"", array.array("i")
    while True:
        part, ancillary, _, _ = end.recvmsg(4096, socket.CMSG_SPACE(64 * fds.itemsize))
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        if not part:
            return data, list(fds)
        data += part


def call(
    helper: Path,
    *,
    bridge: str | bytes = "br0",
    vnet: bool = True,
    argv: Callable[[int], Sequence[str | bytes]] | None = None,
    uid: int | None = PLAIN_UID,
    gid: int | None = None,
    groups: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | Path = "/",
    prepare: Callable[[], None] | None = None,
    timeout: float = 30,
) -> Outcome:
    """Run `helper` the way QEMU does and return the outcome.

    `argv` maps the fd's number to the words after the program's name (default: QEMU's own
    order); `uid` None runs as whoever we are, otherwise gid defaults to the uid; `prepare` runs
    in the child before exec.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    fd = theirs.fileno()
    if argv is None:
        name = bridge if isinstance(bridge, bytes) else bridge.encode()
        words: Sequence[str | bytes] = [*(["--use-vnet"] if vnet else []), f"--fd={fd}", b"--br=" + name]
    else:
        words = argv(fd)
    identity: dict[str, Any] = {}
    if uid is not None:
        identity = {"user": uid, "group": uid if gid is None else gid, "extra_groups": list(groups)}
    with ours, theirs:
        process = subprocess.Popen(
            [str(helper), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[fd],
            cwd=cwd,
            env=dict(os.environ if env is None else env),
            preexec_fn=prepare,
            **identity,
        )
        theirs.close()
        ours.settimeout(timeout)
        try:
            # First, as a helper that refuses waits for whoever reads its message from a pipe.
            _, stderr = process.communicate(timeout=timeout)
            data, fds = receive(ours)
        except BaseException:
            process.kill()
            process.communicate()
            raise
    return Outcome(process.returncode, stderr.decode(errors="replace"), data, fds)
