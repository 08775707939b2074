# SPDX-License-Identifier: GPL-2.0-or-later
"""What test guests boot from: the distribution's own kernel and a small initramfs around busybox.

Packages are downloaded and unpacked, never installed.  The generic kernel is taken because it has
e1000 as well as virtio.  Everything is cached outside the checkout:

    ${XDG_CACHE_HOME:-~/.cache}/qbhelper/images/
        KERNEL-RELEASE_PACKAGE-VERSION/       one download, complete or not there at all
            kernel                            unpacked, so that no guest has to do that again
            busybox
            modules/order, modules/*.ko       unpacked too; `order` is the order to insert them in
            initramfs-HASH                    HASH covers the init script and all that goes in

`python3 -m tests.support.images` fetches what is missing.  It needs the network, so `./dev` runs
it before it enters a private network namespace; in there, `cached` finds what was fetched.
"""

import hashlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support import cache as kept
from tests.support import kernel_files

WANTED_MODULES = ("virtio_pci", "virtio_net", "e1000")
"""The drivers of the NICs that tests plug in; what these depend on is found by itself."""

INIT_SCRIPT = Path(__file__).with_name("guest_init.sh")

KERNEL_METAPACKAGES = ("linux-image-amd64", "linux-image-generic")
"""The package that depends on the newest generic kernel: in Debian, in Ubuntu."""

KERNEL_PACKAGE = re.compile(r"linux-(image|modules|modules-extra|binary)(-unsigned)?-(?P<release>\d\S*)")
PLAIN_ENGLISH = {**os.environ, "LC_ALL": "C.UTF-8"}
UNWANTED_KERNEL = re.compile(r"-(cloud|rt|dbg)\b")


class NoImage(Exception):
    """Guests can't be booted here, and why."""


@dataclass(frozen=True)
class Image:
    """A kernel and an initramfs, as QEMU's -kernel and -initrd want them."""

    release: str
    kernel: Path
    initramfs: Path


def cached() -> Image:
    """The newest image that has been fetched; `NoImage` if there is none.  Needs no network."""
    complete = [path for path in kept.directory("images").glob("[!.]*") if path.is_dir()]
    if not complete:
        raise NoImage("no guest image in the cache: run `python3 -m tests.support.images` where there is network")
    return _with_initramfs(max(complete, key=lambda path: path.stat().st_mtime))


def fetch() -> Image:
    """Download and build what the newest kernel package needs, unless the cache has it.

    Prints what it does.
    """
    packages = _kernel_packages()

    def make(image: Path) -> None:
        tree = image.with_name("tree")
        _download([*packages, "busybox-static"], tree)
        _say("building")
        _build(tree, image)

    return _with_initramfs(kept.once(kept.directory("images") / _cache_name(packages[0]), make))


def _say(text: str) -> None:
    print(f"guest image: {text}", flush=True)


# Packages ------------------------------------------------------------------------------------


@cache
def _apt(tool: str, *words: str) -> str:
    try:
        done = subprocess.run([tool, *words], capture_output=True, text=True, check=False, env=PLAIN_ENGLISH)
    except FileNotFoundError:
        raise NoImage(f"{tool} is not here: guests boot the kernel of Debian or Ubuntu, fetched with apt") from None
    return done.stdout if done.returncode == 0 else ""


def _dependencies(package: str) -> list[str]:
    return [re.split(r"[\s(:]", word.strip())[0] for word in re.split(r"[,|]", _field(package, "Depends"))]


def _field(package: str, name: str) -> str:
    """One field of what apt knows of a package, or an empty string."""
    found = re.search(rf"^{name}: (.+)$", _apt("apt-cache", "show", "--no-all-versions", package), re.MULTILINE)
    return found[1] if found else ""


def _kernel_packages() -> list[str]:
    """The packages that hold the newest generic kernel and its modules; the image itself comes first."""
    for metapackage in KERNEL_METAPACKAGES:
        found: list[str] = []
        to_see = [metapackage]
        while to_see:
            for name in _dependencies(to_see.pop()):
                if KERNEL_PACKAGE.fullmatch(name) and not UNWANTED_KERNEL.search(name) and name not in found:
                    found.append(name)
                    to_see.append(name)
        if found:
            return sorted(found, key=lambda name: not name.startswith("linux-image"))
    raise NoImage(f"apt knows none of {', '.join(KERNEL_METAPACKAGES)}: run `apt-get update` first")


def _cache_name(package: str) -> str:
    match, version = KERNEL_PACKAGE.fullmatch(package), _field(package, "Version")
    if match is None or not version:
        raise NoImage(f"apt does not tell the version of {package}")
    return f"{match['release']}_{version.replace(':', '.')}"


def _download(packages: Sequence[str], tree: Path) -> None:
    """Unpack these packages into a directory."""
    tree.mkdir()
    _say(f"downloading {', '.join(packages)}")
    quiet = [] if sys.stdout.isatty() else ["-q"]
    # As root, apt would hand the download to its own user, who may not write in our cache.
    command = ["apt-get", *quiet, "-o", "APT::Sandbox::User=root", "download", *packages]
    if subprocess.run(command, cwd=tree, check=False, env=PLAIN_ENGLISH).returncode != 0:
        raise NoImage("the download failed; what apt-get said is above")
    for package in tree.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(tree)], check=True)
        package.unlink()


def _build(tree: Path, image: Path) -> None:
    """Take from the unpacked packages what a guest needs."""
    (image / "modules").mkdir(parents=True)
    bare = kernel_files.bare_kernel(next((tree / "boot").glob("vmlinuz-*")).read_bytes())
    _write(image / "kernel", bare)
    _write(image / "busybox", next(tree.glob("**/bin/busybox")).read_bytes(), mode=0o755)
    modules = kernel_files.modules(tree, WANTED_MODULES)
    for name, data in modules.items():
        _write(image / "modules" / f"{name}.ko", data)
    _write(image / "modules" / "order", "".join(f"{name}.ko\n" for name in modules).encode())
    for directory in (image, image / "modules"):
        directory.chmod(0o755)  # guests run as users who may only look


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    path.write_bytes(data)
    path.chmod(mode)


# Initramfs -------------------------------------------------------------------------------------


def _with_initramfs(image: Path) -> Image:
    """The image in this directory of the cache, with an initramfs that has today's init script."""
    modules = image / "modules"
    entries = [
        *((name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "modules", "proc", "sys", "tmp")),
        ("init", stat.S_IFREG | 0o755, INIT_SCRIPT.read_bytes()),
        ("bin/busybox", stat.S_IFREG | 0o755, (image / "busybox").read_bytes()),
        ("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
        *((f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()) for path in sorted(modules.iterdir())),
    ]
    archive = cpio(entries)
    initramfs = image / f"initramfs-{hashlib.sha256(archive).hexdigest()[:16]}"
    if not initramfs.exists():
        unfinished = initramfs.with_name(f".{initramfs.name}-{os.getpid()}")
        _write(unfinished, archive)
        unfinished.rename(initramfs)
    return Image(image.name.split("_")[0], image / "kernel", initramfs)


def cpio(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """An archive in cpio's "newc" format, the one an initramfs has: (name, mode, content) each."""
    archive = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        path = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device and rdevice (two each), name's size, checksum
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def main() -> int:
    """Fetch; exit status 0 if guests can be booted."""
    for way in (fetch, cached):  # an older one is good enough where the network is not
        try:
            image = way()
        except (NoImage, kernel_files.NoModule) as error:
            _say(str(error))
        else:
            _say(f"ready, with kernel {image.release}")
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
