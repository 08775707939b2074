# SPDX-License-Identifier: GPL-2.0-or-later
"""Imports point one way: what decides knows nothing of what acts, and privilege has one home.

The arrows: standalone and broker -> grant -> policy, kernel -> request, errors.  qbhelperctl (ctl) stands beside them,
and asks the broker's modules what another user could read.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[1] / "qbhelper"

GROUND = {"errors", "request"}
PROGRAM = GROUND | {"accounts", "dialect", "fdpass", "grant", "kernel", "policy", "privilege", "sources"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "request": {"errors"},
    "dialect": GROUND,
    "fdpass": {"errors"},
    "lease": set(),
    "quota": GROUND | {"lease", "kernel", "policy"},
    "accounts": set(),
    "wire": {"lease", "request"},
    "record": {"errors"},
    "privilege": {"errors"},
    "policy": GROUND,
    "kernel": GROUND,
    "sources": GROUND | {"accounts", "policy"},
    "grant": GROUND | {"policy", "kernel", "lease", "quota"},
    "standalone": PROGRAM | {"record"},
    "broker": PROGRAM | {"lease", "quota", "record", "wire"},
    "ctl": PROGRAM | {"broker", "lease", "quota", "record", "wire"},
}
"""Part of the core (a module, or a package as a whole) -> the parts that it may import."""

ONLY_HERE: dict[str, set[str]] = {
    "prctl": {"privilege"},
    # standalone: it asks whether its message has been read.
    "fcntl": {"kernel", "standalone"},
    "grp": {"accounts", "ctl"},
    "pwd": {"accounts", "broker", "ctl"},
    "socket": {"kernel", "fdpass", "standalone", "broker", "ctl"},
    "_socket": {"kernel", "fdpass", "standalone", "broker", "ctl"},
    # It has no privilege to lose: it runs journalctl.
    "subprocess": {"ctl"},
    # Nobody: these run other programs, load other code, or make objects of what a peer sent.
    "ctypes": set(),
    "marshal": set(),
    "multiprocessing": set(),
    "pickle": set(),
}
"""Module from outside the core that reaches far -> the only parts that may use it."""

PURE = {
    "__future__",
    "collections",
    "dataclasses",
    "difflib",
    "enum",
    "ipaddress",
    "posixpath",
    "re",
    "tomllib",
    "typing",
    "zlib",
}
"""All that policy may use from outside the core: nothing that can read, write or ask the kernel."""

SOURCES = sorted(CORE.rglob("*.py"))


def part_of(path: Path) -> str:
    """Return the part of the core that a file belongs to."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports anywhere, by its full name."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import: write the full name"
            assert node.module is not None
            # `from qbhelper import fdpass` names the module last.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def split(path: Path) -> tuple[set[str], set[str]]:
    """Return the parts of the core, and the top-level modules from outside, that a file imports."""
    names = [name.split(".") for name in imports(path)]
    ours = {name[1] for name in names if name[0] == "qbhelper"}
    return ours, {name[0] for name in names if name[0] != "qbhelper"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
class TestImports:
    """What one file of the core imports."""

    def test_point_only_downwards(self, path: Path) -> None:
        """No part knows of the parts that stand above it or beside it."""
        part = part_of(path)
        assert part in MAY_IMPORT, f"{part} is new: give it its place in MAY_IMPORT"
        ours, _ = split(path)
        assert ours - {part} <= MAY_IMPORT[part]

    def test_keep_far_reaching_modules_in_their_place(self, path: Path) -> None:
        """Only privilege.py changes credentials, only kernel/ talks to the kernel's network."""
        _, foreign = split(path)
        assert {name for name in foreign if part_of(path) not in ONLY_HERE.get(name, {part_of(path)})} == set()

    def test_leave_policy_pure(self, path: Path) -> None:
        """What decides can neither read a file nor ask the kernel: text in, decision out."""
        _, foreign = split(path)
        assert part_of(path) != "policy" or foreign <= PURE


def test_two_modules_run_other_programs() -> None:
    """And no other: journalctl is read while it runs, the doctor's programs are asked and end."""
    users = {path.relative_to(CORE) for path in SOURCES if "subprocess" in split(path)[1]}
    assert users == {Path("ctl/journal.py"), Path("ctl/programs.py")}


def test_all_of_the_core_is_looked_at() -> None:
    """The search for sources finds the modules that must be there."""
    assert {"errors", "grant", "kernel", "policy", "privilege", "standalone"} <= {part_of(path) for path in SOURCES}
