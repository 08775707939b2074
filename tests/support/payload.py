# SPDX-License-Identifier: GPL-2.0-or-later
"""What a whole machine gets from us, to run tests with.

It is at /opt:

    /opt/qbhelper    this checkout
    /opt/tests       a virtual environment with the same pytest that runs out here
    /opt/made        qbhelper, built with the machine's compiler for its Python, for tests/support/install.py

It is made once in a session for each release, in that release's tree and so with the speed of
this machine: compiling in an emulated one takes a quarter of a minute.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.support import install, trees, world

CHECKOUT = Path("/opt/qbhelper")
TOOLS = Path("/opt/tests")

DISTRIBUTIONS = ("pytest", "qemu.qmp")
"""The tools that are the same for every Python.  Hypothesis is not: it is compiled for one."""

NOT_SOURCE = shutil.ignore_patterns(".git", "build", "dist", "__pycache__", ".*_cache", ".hypothesis")


@contextmanager
def overlay(lower: list[Path], upper: Path, work: Path, root: Path) -> Iterator[Path]:
    """Mount `lower` (the first one is the topmost) on `root`, with all that is written going to `upper`."""
    for directory in (upper, work, root):
        directory.mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}"
    world.run("mount", "-t", "overlay", "-o", layers, "overlay", str(root))
    try:
        yield root
    finally:
        world.run("umount", str(root))


@cache
def layer(release: str) -> Path:
    """Make the payload for a release; a directory that holds `opt`, to lie over the release's tree."""
    tree = trees.cached(release) / "root"
    place = world.WORLD / "payload" / release
    upper = place / "layer"
    with overlay([tree], upper, place / "work", place / "root") as root:
        shutil.copytree(install.TREE, _below(root, CHECKOUT), ignore=NOT_SOURCE, symlinks=True)
        _make_environment(root)
        script = f"""
            python3 -m compileall -q {CHECKOUT} {TOOLS}
            make --silent -C {CHECKOUT} install BUILD=/tmp/build DESTDIR={install.MADE} prefix={install.prefix()}
        """
        world.run("chroot", str(root), "sh", "-euc", script)
    for leftover in upper.iterdir():
        if leftover.name != "opt":
            shutil.rmtree(leftover)
    return upper


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _make_environment(root: Path) -> None:
    """Make a virtual environment by hand: two files and the packages."""
    environment = _below(root, TOOLS)
    python = next((root / "usr" / "bin").glob("python3.??")).name
    packages = environment / "lib" / python / "site-packages"
    packages.mkdir(parents=True)
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to("/usr/bin/python3")
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    found: dict[str, Distribution] = {}
    for name in DISTRIBUTIONS:
        _add_with_dependencies(name, found)
    for files in (one.files or [] for one in found.values()):
        for file in files:
            if ".." not in file.parts and file.suffix != ".pyc":
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)


def _add_with_dependencies(name: str, found: dict[str, Distribution]) -> None:
    if name in found:
        return
    found[name] = distribution(name)
    for line in found[name].requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            _add_with_dependencies(requirement.name, found)
