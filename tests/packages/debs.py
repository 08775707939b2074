# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian packages of this tree, and others made to meet them."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.packages.trees import TREE, contents, files, run
from tests.support import world
from tests.support.machine import Machine

NAMES = ("qbhelper", "qbhelper-libvirt", "qbhelper-qemu")
BROUGHT = Path("/opt/packages")
"""Where a machine has them."""


class Debs:
    """The packages in a directory, by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __getitem__(self, name: str) -> Path:
        (found,) = self.directory.glob(f"{name}_*.deb")
        return found

    def all(self) -> list[Path]:
        """Return all three."""
        return [self[name] for name in NAMES]

    def unpacked(self, name: str) -> Path:
        """Unpack one, and return where: its files, and DEBIAN with its scripts."""
        target = self.directory / "unpacked" / name
        if not target.exists():
            target.mkdir(parents=True)
            run(["dpkg-deb", "--raw-extract", self[name], target])
        return target

    def files(self, name: str) -> set[str]:
        """The files and links in one."""
        return {path for path in files(self.unpacked(name)) if not path.startswith("DEBIAN/")}

    def modes(self, name: str) -> dict[str, str]:
        """The modes of all that is in one."""
        entries = contents(self.unpacked(name))
        return {path: entry.mode for path, entry in entries.items() if not path.startswith("DEBIAN")}


def build(directory: Path) -> Debs:
    """Build the packages from the tree.  Their tests are ours, which run anyway."""
    run(
        [TREE / "packaging/build-deb", directory],
        env={**os.environ, "DEB_BUILD_OPTIONS": "nocheck", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    return Debs(directory)


@cache
def built() -> Debs:
    """The packages, built once for all tests."""
    directory = world.WORLD / "packages"
    directory.mkdir()
    return build(directory)


def bring(machine: Machine) -> None:
    """Give a machine the packages, and a newer one, for what runs inside: see BROUGHT."""
    newer_one = built().directory / "newer" / "qbhelper.deb"
    if not newer_one.exists():
        newer_one.parent.mkdir(exist_ok=True)
        newer(built()["qbhelper"], newer_one)
    for name in NAMES:
        machine.write(str(BROUGHT / f"{name}.deb"), built()[name].read_bytes())
    machine.write(str(BROUGHT / "newer.deb"), newer_one.read_bytes())


def another(package: Path, target: Path, change: Callable[[Path], None]) -> Path:
    """Make a package like `package`, with what `change` does to its files and its DEBIAN."""
    tree = target.with_suffix(".d")
    run(["dpkg-deb", "--raw-extract", package, tree])
    change(tree)
    run(["dpkg-deb", "--root-owner-group", "--build", tree, target])
    return target


def newer(package: Path, target: Path) -> Path:
    """Make a package of the next version."""

    def change(tree: Path) -> None:
        control = tree / "DEBIAN/control"
        control.write_text(control.read_text().replace("0.1.0-1~1", "0.1.0-1~2"))

    return another(package, target, change)


def write(target: Path, name: str, version: str, contents_of: dict[str, str]) -> Path:
    """Make a package with these files."""
    tree = target.with_suffix(".d")
    (tree / "DEBIAN").mkdir(parents=True)
    fields = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "us", "Description": "test"}
    (tree / "DEBIAN/control").write_text("".join(f"{field}: {value}\n" for field, value in fields.items()))
    for path, text in contents_of.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    run(["dpkg-deb", "--root-owner-group", "--build", tree, target])
    return target
