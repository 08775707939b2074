# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests whose QEMU somebody else starts for a user of the machine: podman in a container, libvirt in a session.

    with starters.podman(alice, nic, ["-nic", "bridge,br=br0,helper=/usr/bin/qbhelper"]) as guest:
        guest.wait_until_ready()

Both leave processes of theirs behind (podman's pause, libvirt's daemons), which are ended with the machine.
"""

import os
import pwd
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from tests.support import processes, world
from tests.support.console import BOOT, Console, ConsoleClosed
from tests.support.guest import BOOT_SECONDS, END_SECONDS, MACHINE, QEMU, Nic, boot_words, image_in_world, kernel_line

PODMAN_PATIENCE = 60.0
ROOT_DIRECTORIES = ("dev", "etc", "image", "proc", "run/qbhelper", "sys", "tmp", "usr")
ROOT_LINKS = ("bin", "lib", "lib64", "sbin")

DOMAIN = """
<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>128</memory>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel><initrd>{initramfs}</initrd><cmdline>{line}</cmdline>
  </os>
  <devices>
    <interface type='bridge'>
      <source bridge='{bridge}'/><mac address='{mac}'/><model type='virtio'/><rom enabled='no'/>
    </interface>
    <serial type='unix'><source mode='connect' path='{console}'/></serial>
  </devices>
</domain>
"""


class Refused(Exception):
    """There is no guest; what was said of it."""


@dataclass(frozen=True)
class User:
    """Somebody with an account and a home."""

    name: str

    def words(self) -> list[str]:
        """Return what runs a command as after a login, with none of our environment."""
        account = pwd.getpwnam(self.name)
        identity = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups", "--inh-caps=-all"]
        return ["setpriv", *identity, "env", "-i", f"HOME={account.pw_dir}", "PATH=/usr/bin:/bin", "LANG=C.UTF-8"]


class Started:
    """A guest that has been started, to be talked to as any other."""

    def __init__(self, console: Console, pid: Callable[[], int], said: Callable[[], str]) -> None:
        self._console = console
        self._pid = pid
        self._said = said

    @property
    def pid(self) -> int:
        """QEMU's process, as we see it."""
        return self._pid()

    def status(self, field: str) -> str:
        """A field of QEMU's /proc/PID/status."""
        lines = Path("/proc", str(self.pid), "status").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))

    def wait_until_ready(self) -> None:
        """Wait for the guest to boot; `Refused` if QEMU ends before."""
        try:
            status = self._console.await_status(BOOT, BOOT_SECONDS)
        except ConsoleClosed:
            raise Refused(self._said()) from None
        assert status == 0, f"{self._console.log}\n{self._said()}"

    def check(self, command: str) -> str:
        """Run a command in the guest, which must succeed; what it printed."""
        reply = self._console.run(command, 60)
        assert reply is not None, f"`{command}` does not end\n{self._console.log}"
        assert reply.status == 0, f"`{command}` ended with {reply.status}:\n{reply.output}"
        return reply.output


@contextmanager
def podman(user: User, nic: Nic, words: Sequence[str], *, network: str = "none") -> Iterator[Started]:
    """A guest in a rootless container of podman's, with this network: no capability, no device.

    It has the host's programs, the image of the guest and the directory of the broker's socket.
    """
    image = image_in_world().kernel.parent
    with TemporaryDirectory(dir=world.WORLD) as scratch, TemporaryFile() as errors:
        root, pid_file = Path(scratch) / "root", Path(scratch) / "pid"
        _make_root(root)
        world.run("chown", "--recursive", user.name, scratch)
        options = [
            # The machine's disk is an overlay, on which there can't be another.
            *("--storage-driver=vfs", "--cgroup-manager=cgroupfs"),
            *("run", "--rm", "--interactive", f"--pidfile={pid_file}"),
            *(f"--network={network}", "--cap-drop=all", "--security-opt=no-new-privileges", "--cgroups=disabled"),
            *("--volume=/usr:/usr:ro", f"--volume={image}:/image:ro", "--volume=/run/qbhelper:/run/qbhelper"),
            *("--rootfs", str(root)),
        ]
        own = ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        qemu = [QEMU, *MACHINE.split(), *words, *own, *boot_words([nic], Path("/image"))]
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            command = [*user.words(), "podman", *options, *qemu]
            end = theirs.fileno()
            process = subprocess.Popen(command, stdin=end, stdout=end, stderr=errors, cwd="/")

        def said() -> str:
            process.wait(PODMAN_PATIENCE)
            return os.pread(errors.fileno(), 1 << 20, 0).decode(errors="replace")

        with closing(Console(ours)) as console:
            try:
                yield Started(console, lambda: int(pid_file.read_text()), said)
            finally:
                # Not podman itself, which would end before the container has.
                if pid_file.exists():
                    processes.end(int(pid_file.read_text()), END_SECONDS)
                process.wait(PODMAN_PATIENCE)


def _make_root(root: Path) -> None:
    """Make the root of a container: places to mount on, and the links that a distribution has to /usr."""
    for name in ROOT_DIRECTORIES:
        (root / name).mkdir(parents=True)
    for name in ROOT_LINKS:
        (root / name).symlink_to(f"usr/{name}")


def virsh(user: User, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run virsh in the user's session, which starts its daemon."""
    command = [*user.words(), "virsh", "--quiet", "--connect=qemu:///session", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd="/")


@contextmanager
def libvirt(user: User, name: str, nic: Nic, bridge: str) -> Iterator[Started]:
    """A guest of libvirt's session with an interface on this bridge; `Refused` with what virsh says."""
    image = image_in_world()
    with TemporaryDirectory(dir=world.WORLD) as scratch, socket.socket(socket.AF_UNIX) as listener:
        Path(scratch).chmod(0o755)
        console, domain = Path(scratch) / "console", Path(scratch) / "domain.xml"
        listener.bind(str(console))
        console.chmod(0o666)
        listener.listen()
        places = {"kernel": image.kernel, "initramfs": image.initramfs, "console": console}
        domain.write_text(DOMAIN.format(name=name, bridge=bridge, mac=nic.mac, line=kernel_line([nic]), **places))
        done = virsh(user, "create", str(domain))
        if done.returncode != 0:
            raise Refused(done.stderr)
        try:
            listener.settimeout(END_SECONDS)
            with closing(Console(listener.accept()[0])) as ours:
                pid_file = Path(pwd.getpwnam(user.name).pw_dir, ".cache/libvirt/qemu/run", f"{name}.pid")
                yield Started(ours, lambda: int(pid_file.read_text()), lambda: "")
        finally:
            virsh(user, "destroy", name)
