# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole machine in a container: systemd-nspawn boots a Debian tree, in a network of its own.

This works inside the private world of `./dev`, and where the machine itself runs no systemd.
"""

import errno
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.support import cache, images, payload, pump, trees, world
from tests.support.machine import HOME, Machine, Stream

BOOT_SECONDS = 60.0
END_SECONDS = 20.0
CGROUPS = Path("/sys/fs/cgroup")


class Container(Machine):
    """A container with what is in a tree."""

    def __init__(self, release: str) -> None:
        """Boot, and wait until systemd has started all that it starts."""
        super().__init__(release)
        self._leader = 0
        """Process 1 of the container, as we see it."""
        with ExitStack() as undo:
            self._console = undo.enter_context(tempfile.TemporaryFile())
            self._root = self._mounted(release, undo)
            self.cgroup = _own_cgroup(release, undo)
            with self._notified() as notifications:
                self._process = self._start(notifications)
                undo.callback(self._end_process)
                self._await_boot(notifications)
            self._undo = undo.pop_all()

    def _mounted(self, release: str, undo: ExitStack) -> Path:
        place = world.WORLD / "machines" / release
        place.mkdir(parents=True)
        undo.callback(shutil.rmtree, place)
        layers = [payload.layer(release), trees.cached(release) / "root"]
        return undo.enter_context(payload.overlay(layers, place / "own", place / "work", place / "root"))

    @contextmanager
    def _notified(self) -> Iterator[socket.socket]:
        """Give a socket for what a boot tells.

        It is closed when that is over: after ten messages that nobody reads (net.unix.max_dgram_qlen) nspawn would
        stand still, and systemd, which tells of each reload of its units, with it.
        """
        path = self._root.with_name("notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifications:
            notifications.bind(str(path))
            try:
                yield notifications
            finally:
                path.unlink()

    def _start(self, notifications: socket.socket) -> "subprocess.Popen[bytes]":
        words = [
            *("--quiet", "--register=no", "--keep-unit", "--link-journal=no", "--console=pipe", "--notify-ready=yes"),
            *("--private-network", "--capability=CAP_NET_ADMIN", "--bind=/dev/net/tun", f"--machine={self.name}"),
            *_guest_image(),
            *("--boot", f"--directory={self._root}"),
        ]

        def prepare() -> None:
            (self.cgroup / "cgroup.procs").write_text("0")
            world.die_with_parent()

        variables = {
            # Where the machine still has the first kind of control groups, the container is to have the second.
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            "NOTIFY_SOCKET": str(notifications.getsockname()),
        }
        return subprocess.Popen(
            ["systemd-nspawn", *words],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=self._console,
            stderr=self._console,
            preexec_fn=prepare,
        )

    def _await_boot(self, notifications: socket.socket) -> None:
        """Wait for two notifications: nspawn tells which process it made, and that one when it has booted."""
        deadline = time.monotonic() + BOOT_SECONDS
        handle = os.pidfd_open(self._process.pid)
        try:
            while True:
                left = max(0.0, deadline - time.monotonic())
                notified = notifications.fileno()
                ready = select.select([notified, handle], [], [], left)[0]
                if notified not in ready:
                    raise self.failure("it ended while it booted" if ready else f"not booted in {BOOT_SECONDS:g} s")
                message = notifications.recv(4096).decode()
                if leader := re.search(r"^X_NSPAWN_LEADER_PID=(\d+)$", message, re.MULTILINE):
                    self._leader = int(leader[1])
                if "READY=1" in message.splitlines():
                    return
        finally:
            os.close(handle)

    def reboot(self) -> None:
        """Have it boot again, and wait until it has."""
        self.check("systemctl", "reboot")
        self._process.wait(END_SECONDS)
        with self._notified() as notifications:
            self._process = self._start(notifications)
            self._await_boot(notifications)

    def _execute(self, argv: list[str], stdin: bytes, patience: float) -> Stream:
        with open(os.memfd_create("stdin"), "w+b") as file:
            file.write(stdin)
            file.seek(0)
            process = subprocess.Popen(
                [*self._entrance(), *argv],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        return (yield from pump.output_of(process, patience))

    def _heard(self) -> str:
        if self._console.closed:
            return ""
        console = os.pread(self._console.fileno(), 1 << 20, 0)
        journal = b""
        with suppress(subprocess.TimeoutExpired):  # it may be stuck, or gone: then there is less to tell
            command = ["journalctl", "--no-pager", "--no-hostname", "--output=short-monotonic", "--lines=40"]
            done = subprocess.run([*self._entrance(), *command], capture_output=True, timeout=10, check=False)
            journal = done.stdout
        return (console + journal).decode(errors="replace")

    def _entrance(self) -> list[str]:
        """The words before those of a command to run in the container, as root of this machine."""
        return ["nsenter", f"--target={self._leader}", "--all", "--"]

    def _end_process(self) -> None:
        self._process.terminate()  # nspawn makes a proper shutdown of it
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _own_cgroup(name: str, undo: ExitStack) -> Path:
    """Make a control group for a container, below our own."""
    if not (CGROUPS / "cgroup.procs").exists():  # the world has a /sys of its own
        world.run("mount", "-t", "cgroup2", "cgroup2", str(CGROUPS))
    own = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    group = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=CGROUPS / (own[1] if own else "")))

    undo.callback(_remove, group)
    return group


def _remove(group: Path) -> None:
    """Remove a control group whose processes are ending, and all below it."""
    if group.exists():
        _await_empty(group)
    deadline = time.monotonic() + END_SECONDS
    while group.exists():
        try:
            for directory, _, _ in os.walk(group, topdown=False):
                os.rmdir(directory)
        except OSError as error:
            # A process that has ended may be in it for some moments more, of which the kernel tells nothing.
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            select.select([], [], [], 0.02)


def _await_empty(group: Path) -> None:
    """Wait until the last process of a control group has gone: the kernel tells when that changes (cgroups(7))."""
    with (group / "cgroup.events").open() as events:
        changes = select.poll()
        changes.register(events, select.POLLPRI)
        while "populated 0" not in events.read() and changes.poll(END_SECONDS * 1000):
            events.seek(0)


def _guest_image() -> list[str]:
    """What QEMU in the container is to boot guests from, in its own cache."""
    try:
        images.cached()
    except images.NoImage:
        return []
    return [f"--bind-ro={cache.directory('images')}:{HOME}/.cache/qbhelper/images"]
