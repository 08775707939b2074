# SPDX-License-Identifier: GPL-2.0-or-later
"""A private world to grant ports in: own network, own /etc, own /run, and for root own /dev.

`./dev` starts tests and demo under `unshare` (network, mount and pid namespaces; a user
namespace too when it is not run by root).  `prepare` then makes the file systems private, so
that nothing these programs write or create can be seen on the host.

A whole machine that was booted for tests (tests/support/machine.py) is a world, too: either as it
is, or with a private world made in it.
"""

import ctypes
import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WORLD = Path("/run/world")
ACCESS_LIST = Path("/etc/qemu/bridge.conf")
POLICY = Path("/etc/qbhelper/policy.toml")
TUN_DEVICE = (10, 200)
"""Major and minor number of /dev/net/tun (Documentation/admin-guide/devices.txt)."""


class NotPrivate(Exception):
    """This process still sees the host's network: refuse to touch anything."""


def run(*argv: str, timeout: float = 60) -> str:
    """Run a command and return what it printed; raise with its own words if it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def machine() -> str | None:
    """The whole machine that was booted for the tests and that we run in, if we do."""
    return os.environ.get("QBHELPER_MACHINE")


def is_whole_machine() -> bool:
    """Whether our world is a machine as it was booted, with its systemd and its network."""
    return machine() is not None and "QBHELPER_HOST_NETWORK" not in os.environ


def is_private() -> bool:
    """Whether what we do to the network is seen by nobody else.

    `./dev` passes the inode of the network namespace it left behind; in that namespace, or without
    that word, we are not private.
    """
    left_behind = os.environ.get("QBHELPER_HOST_NETWORK")
    return is_whole_machine() or (left_behind is not None and left_behind != os.readlink("/proc/self/ns/net"))


def is_real_root() -> bool:
    """Whether uid 0 here is uid 0 of the machine, so that setuid and other users are real."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def prepare() -> None:
    """Give this mount namespace its own /etc, /run, /sys and /dev; safe to call again."""
    if not is_private():
        raise NotPrivate("not in a private network namespace: start this through ./dev")
    if WORLD.exists():
        return
    if is_whole_machine():
        WORLD.mkdir(mode=0o755)
        return
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    WORLD.mkdir(mode=0o755)
    _private_etc()
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    if is_real_root():
        # A machine that was booted for tests is thrown away, and modules that are loaded there add devices.
        if not machine():
            _private_dev()
        _private_tun()
    run("ip", "link", "set", "lo", "up")


def _private_etc() -> None:
    copy = WORLD / "etc"
    # A copy, not an overlay: files that a user namespace may not read are left out silently.
    subprocess.run(["cp", "-a", "/etc", str(copy)], stderr=subprocess.DEVNULL, check=False)
    copy.chmod(0o755)
    for directory in ("qemu", "qemu-kvm", "qbhelper"):
        shutil.rmtree(copy / directory, ignore_errors=True)
        (copy / directory).mkdir(mode=0o755)
    run("mount", "--bind", str(copy), "/etc")


def _private_dev() -> None:
    """Give this world a /dev of its own with the host's devices; what is made in it, as /dev/log, is ours alone."""
    copy = WORLD / "devices"
    copy.mkdir()
    run("mount", "-t", "tmpfs", "-o", "mode=0755,nosuid", "tmpfs", str(copy))
    for entry in os.scandir("/dev"):
        target, status = copy / entry.name, entry.stat(follow_symlinks=False)
        if entry.name == "log":
            continue
        if entry.is_symlink():
            target.symlink_to(os.readlink(entry.path))
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            _same_device(Path(entry.path), status, target)
        elif entry.is_dir():
            target.mkdir()
            run("mount", "--rbind", entry.path, str(target))
    run("mount", "--rbind", str(copy), "/dev")


def _same_device(path: Path, status: os.stat_result, target: Path) -> None:
    """Make the node again, or where a container may not make it, show the one that is there."""
    try:
        os.mknod(target, status.st_mode, status.st_rdev)
    except PermissionError:
        target.touch()
        run("mount", "--bind", str(path), str(target))
        return
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(stat.S_IMODE(status.st_mode))


def _private_tun() -> None:
    """Put a world-writable tun node at /dev/net, as udev does on an ordinary host."""
    Path("/dev/net").mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/dev/net")
    os.mknod("/dev/net/tun", stat.S_IFCHR | 0o666, os.makedev(*TUN_DEVICE))
    os.chmod("/dev/net/tun", 0o666)


def links() -> dict[str, dict[str, object]]:
    """Every interface of this network namespace by name, as `ip -j -d link` tells it."""
    return {link["ifname"]: link for link in json.loads(run("ip", "-j", "-d", "link", "show"))}


def interfaces() -> frozenset[str]:
    """The interface names of this network namespace.  Needs no process, so it is cheap.

    Not from sysfs: an interface is there for some time after the kernel has announced that it is gone.
    """
    return frozenset(name for _, name in socket.if_nameindex())


def is_up(interface: str) -> bool:
    """Whether an interface was set up."""
    return bool(int(Path("/sys/class/net", interface, "flags").read_text(), 16) & 1)


def ports(bridge: str) -> frozenset[str]:
    """The interface names that are ports of `bridge`."""
    return frozenset(os.listdir(f"/sys/class/net/{bridge}/brif"))


@contextmanager
def bridge(name: str = "br0", *, mtu: int = 1500, up: bool = True) -> Iterator[str]:
    """A bridge for the time of the block."""
    run("ip", "link", "add", name, "type", "bridge")
    try:
        run("ip", "link", "set", name, "mtu", str(mtu))
        if up:
            run("ip", "link", "set", name, "up")
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=False)


def write_access_list(
    text: str | bytes, path: Path = ACCESS_LIST, *, mode: int = 0o644, uid: int = 0, gid: int = 0
) -> Path:
    """Write an access list (or a file it includes) with this owner and mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


@contextmanager
def rule(*lines: str, bridges: str = '"br0"') -> Iterator[None]:
    """A policy of one allow with these lines, for the time of the block.  `bridges`: as TOML."""
    write_access_list("\n".join(["[[allow]]", f"bridge = {bridges}", *lines, "[end]", ""]), POLICY)
    try:
        yield
    finally:
        POLICY.unlink()


def die_with_parent() -> None:
    """For a child process: be killed when the process that started it ends (prctl(2))."""
    ctypes.CDLL(None).prctl(1, 9)
