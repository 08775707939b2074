# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian trees: what the whole machines of the tests are made of.

mmdebstrap makes them from the apt sources that this machine has.  Kept between runs in

    ${XDG_CACHE_HOME:-~/.cache}/qbhelper/trees/RELEASE_HASH/
        root/          the installed packages, never written to: a machine writes into an overlay
        kernel         what a virtual machine boots, and `root` as a file system for it
        disk.ext4

HASH covers all that goes in, so a change of the lists below makes new trees.  What is in the
cache stays as it is: `./dev clean --all` is the way to newer packages.

`python3 -m tests.support.trees` makes what is missing, as root.  It needs the network, so `./dev`
runs it before it enters a private network namespace; in there, `cached` finds what was made.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.support import kernel_files
from tests.support.cache import directory, once

SUITES = {"debian13": "trixie", "debian12": "bookworm"}
"""Releases by the name that tests use, and what they are called in an archive."""

WITH_KERNEL = frozenset({"debian13"})
"""Those that can be virtual machines."""

PACKAGES = (
    # A machine with systemd.  There is no udev: no device comes or goes.
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "kmod", "procps", "apparmor", "busybox-static"),
    # What qbhelper is built with, and runs on.
    *("gcc", "libc6-dev", "make", "python3", "python3-prctl", "python3-pyroute2"),
    # What tests call.
    *("iproute2", "iputils-ping", "nftables", "acl", "libcap2-bin", "strace", "qemu-system-x86"),
    # Who asks qbhelper for ports beside QEMU itself.
    *("libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "podman", "crun", "uidmap"),
)

KERNEL = "linux-image-amd64"
KEPT_MODULES = (
    *("arch", "crypto", "fs", "lib", "net"),
    *("drivers/block", "drivers/char", "drivers/net/*.ko*", "drivers/vhost", "drivers/virtio"),
    "drivers/net/wireless/virtual",  # Wi-Fi that is nowhere
)
"""Of the kernel's modules, those that can be of use where all hardware is QEMU's; a fifth of them."""

DOWNLOAD_KERNEL = f"""
cd "$1/boot" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" &&
apt-get -q -o APT::Sandbox::User=root download "$(apt-cache depends {KERNEL} | sed -n 's/^ *Depends: //p')"
"""
"""For mmdebstrap to run: the kernel is unpacked, never installed, as it would want an initramfs built."""

FINISH = """
# What a first boot does, so that no boot has to.
ldconfig
journalctl --quiet --update-catalog
systemd-sysusers
# What a boot need not start: users run these by themselves.
find /etc/systemd/system -type l '(' -name '*virt*' -o -name '*podman*' -o -name 'netavark*' ')' -delete
touch /etc/.updated /var/.updated
# What is of this machine, or was for mmdebstrap alone.
rm -f /etc/resolv.conf /etc/hostname /etc/apt/apt.conf.d/99mmdebstrap /etc/dpkg/dpkg.cfg.d/99mmdebstrap
"""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DISK_BYTES = 3 << 30
"""What the file system is made for; its file is sparse."""


class NoTree(Exception):
    """There can be no whole machine here, and why."""


def cached(release: str) -> Path:
    """The directory of a release that has been made; `NoTree` if it hasn't.  Needs no network."""
    place = _place(release)
    if not place.exists():
        raise NoTree(f"no tree of {release} in the cache: run `python3 -m tests.support.trees` where there is network")
    return place


def fetch(release: str) -> Path:
    """Make the tree of a release, unless the cache has it; tells what it does."""
    return once(_place(release), partial(_make, release))


def _place(release: str) -> Path:
    recipe = repr((SUITES[release], PACKAGES, release in WITH_KERNEL, KEPT_MODULES, DOWNLOAD_KERNEL, FINISH))
    return directory("trees") / f"{release}_{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def _say(text: str) -> None:
    print(f"machines: {text}", flush=True)


def _make(release: str, place: Path) -> None:
    _say(f"installing {release}, which takes a minute")
    root = place / "root"
    _bootstrap(release, root)
    if release in WITH_KERNEL:
        _say(f"unpacking the kernel of {release}")
        _unpack_kernel(root, place / "kernel")
    _run("chroot", root, "sh", "-euc", FINISH)
    if release in WITH_KERNEL:
        _make_disk(root, place / "disk.ext4")


# Packages ------------------------------------------------------------------------------------------


def _bootstrap(release: str, root: Path) -> None:
    command = [
        *("mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}"),
        # Nobody reads these, and a tree that is lost is made again.
        *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*"),
        *("--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"'),
        *(f"--aptopt={setting}" for setting in _proxies()),
    ]
    if release in WITH_KERNEL:
        command.append(f"--customize-hook={DOWNLOAD_KERNEL}")
    _run(*command, SUITES[release], root, *_sources(SUITES[release]))


def _sources(suite: str) -> list[str]:
    """The sources of a suite, on the mirrors that this machine's own sources name.

    None if those are not Debian's: mmdebstrap knows where Debian is.
    """
    targets = _output("apt-get", "indextargets", "--format=$(REPO_URI) $(ORIGIN) $(LABEL)", "Created-By: Packages")
    suites = {"Debian": (suite, f"{suite}-updates"), "Debian-Security": (f"{suite}-security",)}
    return [
        f"deb [signed-by={KEYRING}] {target[0]} {name} main"
        for target in dict.fromkeys(tuple(line.split()) for line in targets.splitlines())
        if len(target) == 3 and target[1] == "Debian"
        for name in suites.get(target[2], ())
    ]


def _proxies() -> list[str]:
    """This machine's settings of apt for how to get out, which mmdebstrap does not look at."""
    settings = _output("apt-config", "dump", "--no-empty", '--format=%F "%v";%n', "Acquire::http", "Acquire::https")
    return [line for line in settings.splitlines() if "Proxy" in line]


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        raise NoTree(f"{command[0]} failed with status {done.returncode}:\n{done.stdout[-3000:]}")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


# A kernel for it, and a disk -----------------------------------------------------------------------------


def _unpack_kernel(root: Path, kernel: Path) -> None:
    package = next((root / "boot").glob("*.deb"))
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        _run("dpkg-deb", "-x", package, scratch)
        package.unlink()
        packed = next(Path(scratch, "boot").glob("vmlinuz-*"))
        kernel.write_bytes(kernel_files.bare_kernel(packed.read_bytes()))
        all_modules = next(Path(scratch).glob("**/modules.builtin")).parent
        modules = root / "usr" / "lib" / "modules" / all_modules.name
        for path in all_modules.glob("modules.*"):
            _move(path, modules / path.name)
        for pattern in KEPT_MODULES:
            for path in (all_modules / "kernel").glob(pattern):
                _move(path, modules / path.relative_to(all_modules))
    _run("chroot", root, "depmod", all_modules.name)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)


def _make_disk(root: Path, disk: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    # No journal: what a machine writes is thrown away.
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "nodiscard", "-d", root, disk)


def main() -> int:
    """Make the trees, all at once; exit status 0 if whole machines can be booted."""
    if os.geteuid() != 0:
        _say("a tree takes root to make: the tests on whole machines will not do")
        return 1
    if shutil.which("mmdebstrap") is None:
        _say("mmdebstrap is not here: the tests on whole machines will not do")
        return 1
    status = 0
    with ThreadPoolExecutor() as workers:
        for release, made in [(release, workers.submit(fetch, release)) for release in SUITES]:
            try:
                _say(f"{release} is ready: {made.result()}")
            except (NoTree, kernel_files.NoModule) as error:
                _say(f"no {release}: {error}")
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
