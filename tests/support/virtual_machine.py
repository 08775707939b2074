# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole machine in QEMU, without KVM: a Debian tree with Debian's own kernel.

For what the kernel of the machine below may lack: filtering of VLANs, tc's flower, matchall and
police, AppArmor.  Guests inside it are hopeless: use raw frames there.
"""

import json
import select
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support import agent, images, kernel_files, payload, trees, world
from tests.support.guest import KERNEL_WORDS, QEMU
from tests.support.machine import Machine, Stream

BOOT_SECONDS = 180.0
"""It takes 12 s on an idle machine; this is for one that is anything but idle."""

# With rdrand, or the first program that asks for random numbers waits for seconds.  With one CPU: of two, on a busy
# machine, one now and then meets the breakpoint (int3) by which the other is just changing the kernel's code, after the
# kernel has forgotten about it, and the kernel panics.
MACHINE = "-accel tcg -machine pc -cpu Nehalem,+rdrand -smp 1 -m 1024 -nodefaults -display none -no-reboot"
INIT_SCRIPT = Path(__file__).with_name("vm_init.sh")
WANTED_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4", "crc32c_generic")


class VirtualMachine(Machine):
    """A QEMU that has booted a tree."""

    def __init__(self, name: str, release: str) -> None:
        """Boot, and wait until the agent in it says that systemd has started all that it starts."""
        super().__init__(name)
        self._received = bytearray()
        with ExitStack() as undo:
            self._place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=world.WORLD))
            undo.callback(shutil.rmtree, self._place)
            ours, theirs = socket.socketpair()
            self._channel = undo.enter_context(ours)
            with theirs:
                self._process = self._start(trees.cached(release), self._payload(release), theirs)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self._await_ready()
            self._undo = undo.pop_all()

    def _payload(self, release: str) -> Path:
        disk = self._place / "payload.ext4"
        with disk.open("wb") as file:
            file.truncate(1 << 30)
        content = payload.layer(release) / "opt"
        world.run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(content), str(disk))
        return disk

    def _start(self, tree: Path, opt: Path, channel: socket.socket) -> "subprocess.Popen[bytes]":
        initramfs = self._place / "initramfs"
        initramfs.write_bytes(_initramfs(tree / "root"))
        words = [
            *(QEMU, *MACHINE.split(), "-kernel", str(tree / "kernel"), "-initrd", str(initramfs)),
            *("-append", f"{KERNEL_WORDS} rw systemd.show_status=no systemd.hostname={self.name}"),
            *(word for disk in (tree / "disk.ext4", opt) for word in _drive(disk)),
            *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={channel.fileno()}"),
            *("-device", f"virtserialport,chardev=agent,name={agent.PORT_NAME}"),
            *("-serial", f"file:{self._place / 'console'}"),
        ]
        with (self._place / "stderr").open("wb") as stderr:
            return subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=[channel.fileno()],
                preexec_fn=world.die_with_parent,
            )

    def _await_ready(self) -> None:
        if self._hear(BOOT_SECONDS) is None:
            raise self.failure(f"not booted in {BOOT_SECONDS:g} s")

    def _hear(self, patience: float) -> dict[str, Any] | None:
        """Return the next message of the agent; None if there is none for so long."""
        deadline = time.monotonic() + patience
        while b"\n" not in self._received:
            if not select.select([self._channel], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            part = self._channel.recv(1 << 16)
            if not part:
                raise self.failure("QEMU has ended")
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _execute(self, argv: list[str], stdin: bytes, patience: float) -> Stream:
        request = {"argv": argv, "stdin": stdin.decode("latin-1"), "patience": patience}
        self._channel.sendall(json.dumps(request).encode() + b"\n")
        answered = False
        try:
            while True:
                # The agent's patience ends first, unless the machine is stuck as a whole.
                message = self._hear(patience + 30)
                if message is None or "stuck" in message:
                    answered = message is not None
                    raise TimeoutError
                if "status" in message:
                    answered = True
                    return int(message["status"])
                yield message["output"].encode("latin-1")
        finally:
            if not answered:  # the agent does one thing at a time, and there is no way to stop it
                self.end()

    def _heard(self) -> str:
        files = [self._place / "stderr", self._place / "console"]
        return "".join(path.read_text(errors="replace") for path in files if path.exists())


def _drive(disk: Path) -> tuple[str, str]:
    """QEMU's words for a disk that can be written to, but is not changed by it."""
    return ("-drive", f"file={disk},format=raw,if=virtio,snapshot=on,cache=unsafe")


def _initramfs(root: Path) -> bytes:
    modules = kernel_files.modules(root, WANTED_MODULES)
    busybox = (root / "usr" / "bin" / "busybox").read_bytes()
    return images.cpio(
        [
            *((name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "modules", "root")),
            ("init", stat.S_IFREG | 0o755, INIT_SCRIPT.read_bytes()),
            ("bin/busybox", stat.S_IFREG | 0o755, busybox),
            ("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
            *((f"modules/{name}.ko", stat.S_IFREG | 0o644, data) for name, data in modules.items()),
            ("modules/order", stat.S_IFREG | 0o644, "".join(f"{name}.ko\n" for name in modules).encode()),
        ]
    )
