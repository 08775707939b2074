# SPDX-License-Identifier: GPL-2.0-or-later
"""A real guest: QEMU without KVM, run by a user without any privilege.

    with Guest("alice", [nic], nic.bridge_words(helper)) as guest:
        guest.wait_until_ready()
        print(guest.run("ip address").output)

QEMU gets its console and its QMP monitor as connected sockets, so that a guest needs no place in
the file system for them, and the end of QEMU can be read as the end of a stream.
"""

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support import images, processes, world
from tests.support.caller import PLAIN_UID
from tests.support.console import BOOT, Console, ConsoleClosed, Reply

QEMU = "qemu-system-x86_64"
# One emulated CPU, no firmware for booting from a network, and nothing that we don't name.
MACHINE = (
    "-accel tcg -machine pc -cpu qemu64 -smp 1 -m 128 -nodefaults -display none -no-reboot "
    "-global virtio-net-pci.romfile= -global e1000.romfile="
)
KERNEL_WORDS = (
    # No message but of a crash; and then QEMU is to end (-no-reboot).
    "console=ttyS0 loglevel=3 panic=-1 "
    # What an emulated CPU need not do: measure its clock, move the kernel, test ciphers, guard its cache.
    "tsc=reliable no_timer_check nokaslr cryptomgr.notests mitigations=off"
)
BOOT_SECONDS = 120
"""A guest boots in 3 s on an idle machine; this is for one that is anything but idle."""
END_SECONDS = 20


class GuestFailed(Exception):
    """A guest did not do what it should; says what QEMU and the guest said."""

    def __init__(self, why: str, *, stderr: str, console: str) -> None:
        super().__init__(why)
        self.why = why
        self.stderr = stderr
        """What QEMU and the helper wrote, whole."""
        self.console = console

    def __str__(self) -> str:
        said = [("QEMU and the helper said", self.stderr), ("the guest's console ends with", self.console[-2000:])]
        return "\n".join([self.why, *(f"--- {who}:\n{text.strip()}" for who, text in said if text.strip())])


@dataclass(frozen=True)
class Nic:
    """A network card as the guest is to set it up."""

    mac: str
    address: str
    """With its prefix length: 10.0.0.1/24."""
    mtu: int = 0
    """0: as the driver found it."""

    @property
    def ip(self) -> str:
        """The address alone."""
        return self.address.split("/")[0]

    @property
    def identity(self) -> str:
        """What QEMU is to call its netdev: made of the MAC address, so it is unique."""
        return "nic" + self.mac.replace(":", "")

    def bridge_words(self, helper: Path, model: str = "virtio-net-pci", bridge: str = "br0") -> list[str]:
        """QEMU's words for this card on a bridge, by way of a helper."""
        return ["-netdev", f"bridge,id={self.identity},br={bridge},helper={helper}", *self.device_words(model)]

    def device_words(self, model: str = "virtio-net-pci") -> list[str]:
        """QEMU's words for the card alone, on the netdev that has its identity."""
        return ["-device", f"{model},netdev={self.identity},mac={self.mac}"]


@cache
def image_in_world() -> images.Image:
    """What guests boot from, where any user can read it: the cache may lie in root's home."""
    image = images.cached()
    place = world.WORLD / "image"
    place.mkdir()
    world.run("mount", "--bind", str(image.kernel.parent), str(place))
    return images.Image(image.release, place / image.kernel.name, place / image.initramfs.name)


class Guest:
    """One QEMU process.  A context manager: leaving it ends QEMU, and returns when it is gone."""

    def __init__(
        self,
        name: str,
        nics: Sequence[Nic],
        words: Sequence[str],
        *,
        uid: int | None = PLAIN_UID,
        daemonize: bool = False,
        wrapper: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start QEMU with these words as this user (None: as ourselves).

        The guest gives each of `nics` its address, once it has booted.  `wrapper` is a command that
        starts QEMU in some other state, such as setpriv or unshare; `pass_fds` are for QEMU as well.
        """
        self.name = name
        self.ready_after = 0.0
        """Seconds from QEMU's start to the guest's ready line; 0 until then."""
        self._started = time.monotonic()
        self._scratch = tempfile.TemporaryDirectory(prefix=f"guest-{name}-", dir=world.WORLD)
        self._stderr = (Path(self._scratch.name) / "stderr").open("w+b")
        self._pid_file = Path(self._scratch.name) / "pid" if daemonize else None
        ours, console = socket.socketpair()
        ours.setblocking(False)
        self._console = Console(ours)
        self.qmp, qmp = socket.socketpair()
        """QEMU's monitor, connected."""
        with console, qmp:
            own_words = [*_channel("console", console), "-serial", "chardev:console"]
            own_words += [*_channel("qmp", qmp), "-mon", "qmp,mode=control"]
            own_words += boot_words(nics)
            if self._pid_file:
                own_words += ["-daemonize", "-pidfile", str(self._pid_file)]
            command = [*wrapper, QEMU, *MACHINE.split(), *words, *own_words]
            self._process = self._start(command, [console.fileno(), qmp.fileno(), *pass_fds], uid)
        self._daemon: int | None = None
        if self._pid_file:
            self._await_daemon(self._pid_file)

    def _start(self, command: list[str], fds: list[int], uid: int | None) -> "subprocess.Popen[bytes]":
        if uid is not None:
            os.chown(self._scratch.name, uid, uid)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
            pass_fds=fds,
            cwd="/",
            env={"PATH": os.defpath},
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            start_new_session=True,  # a Ctrl-C is for us alone: we end it ourselves
        )

    def _await_daemon(self, pid_file: Path) -> None:
        try:
            if self._process.wait(BOOT_SECONDS) != 0:
                raise self.failure("QEMU did not become a daemon")
            self._daemon = int(pid_file.read_text())
        except BaseException:
            self.end()
            raise

    # Waiting and talking ---------------------------------------------------------------------

    def is_ready(self, within: float) -> bool:
        """Whether the guest has booted; waits this long for it, and raises if it never will."""
        if self.ready_after:
            return True
        try:
            status = self._console.await_status(BOOT, within)
        except ConsoleClosed:
            raise self._ended() from None
        if status is None:
            return False
        if status != 0:
            raise self.failure(f"guest {self.name} could not set up its network")
        self.ready_after = self.age
        return True

    def wait_until_ready(self) -> None:
        """Wait for the guest to boot; raises when it does not."""
        if not self.is_ready(BOOT_SECONDS):
            raise self.failure(f"guest {self.name} did not boot within {BOOT_SECONDS} s")

    def wait_until_refused(self) -> str:
        """Wait for QEMU to end before the guest has booted; what it and the helper wrote."""
        try:
            self.wait_until_ready()
        except GuestFailed as failure:
            if self._process.returncode == 1:
                return failure.stderr
            raise
        raise self.failure(f"guest {self.name} has booted: it was not refused")

    def run(self, command: str, timeout: float = 60) -> Reply:
        """Run one line of shell in the guest."""
        try:
            reply = self._console.run(command, timeout)
        except ConsoleClosed:
            raise self._ended() from None
        if reply is None:
            raise self.failure(f"guest {self.name} did not finish within {timeout:g} s: {command}")
        return reply

    def check(self, command: str, timeout: float = 60) -> str:
        """Run a command that must succeed; what it printed."""
        reply = self.run(command, timeout)
        if reply.status != 0:
            raise self.failure(f"guest {self.name}: `{command}` ended with {reply.status}:\n{reply.output}")
        return reply.output

    # What can be seen from outside -------------------------------------------------------------

    @property
    def pid(self) -> int:
        """QEMU's process, as we see it: below the wrapper, or the daemon that it became."""
        return self._daemon or processes.below(self._process.pid, QEMU) or self._process.pid

    @property
    def age(self) -> float:
        """Seconds since QEMU was started."""
        return time.monotonic() - self._started

    @property
    def stderr(self) -> str:
        """What QEMU and the helper have written so far."""
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode(errors="replace")

    def taps(self) -> frozenset[str]:
        """The TAPs that QEMU holds, by the kernel's own account; none if it has ended."""
        found = set()
        with suppress(FileNotFoundError):
            for path in Path(f"/proc/{self.pid}/fdinfo").iterdir():
                found |= set(re.findall(r"^iff:\s*(\S+)", path.read_text(), re.MULTILINE))
        return frozenset(found)

    def status(self, field: str) -> list[str]:
        """A field of QEMU's /proc/PID/status, as words."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))

    def failure(self, why: str) -> GuestFailed:
        """An exception that says this, and all that was heard of the guest."""
        return GuestFailed(why, stderr=self.stderr, console=self._console.log)

    def _ended(self) -> GuestFailed:
        status = self._process.wait(END_SECONDS)
        return self.failure(f"guest {self.name} has ended" + (f" with status {status}" if not self._pid_file else ""))

    # The end -------------------------------------------------------------------------------------

    def end(self) -> None:
        """End QEMU, and wait until the kernel has taken back all it had; again is harmless."""
        if self._daemon is not None:
            processes.end(self._daemon, END_SECONDS)
        elif self._process.poll() is None:
            processes.end(self.pid, END_SECONDS)
        self._process.wait()
        self._console.close()
        self.qmp.close()
        self._stderr.close()
        self._scratch.cleanup()

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _channel(name: str, end: socket.socket) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={end.fileno()}"]


def kernel_line(nics: Sequence[Nic]) -> str:
    """Return the words for a guest's kernel, by which it gives these their addresses."""
    return " ".join([KERNEL_WORDS, *(f"guest.nic={nic.mac},{nic.address},{nic.mtu}" for nic in nics)])


def boot_words(nics: Sequence[Nic], place: Path | None = None) -> list[str]:
    """QEMU's words for what a guest boots; `place`: where it sees the directory of that, if not where we do."""
    image = image_in_world()
    kernel, initramfs = ((place or path.parent) / path.name for path in (image.kernel, image.initramfs))
    return ["-kernel", str(kernel), "-initrd", str(initramfs), "-append", kernel_line(nics)]
