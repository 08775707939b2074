# SPDX-License-Identifier: GPL-2.0-or-later
"""Installed copies of our helper and of the original, each with its way to privilege.

The tree may belong to anybody and lie where a plain uid cannot look; a helper with privilege
must not depend on it.  So tests and demo install into a root-owned directory of their world.
"""

import enum
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.support import world

TREE = Path(__file__).resolve().parents[2]
ORIGINAL_SOURCES = (
    Path("/usr/lib/qemu/qemu-bridge-helper"),
    Path("/usr/libexec/qemu-bridge-helper"),
)

MADE = Path("/opt/made")
"""Where a whole machine finds what was made for it before it was booted (tests/support/payload.py)."""


class Privilege(enum.Enum):
    """How a copy of a helper comes to privilege."""

    NONE = "plain"
    SETUID = "setuid"
    FILE_CAPABILITY = "filecap"


def prefix() -> Path:
    """Where `installed` installs to."""
    return world.WORLD / "prefix"


@cache
def installed() -> Path:
    """Install our helper from the tree with `make install`; its path, without any privilege."""
    if world.machine():
        shutil.copytree(MADE / prefix().relative_to("/"), prefix())
    else:
        subprocess.run(
            ["make", "-s", "-C", str(TREE), "install", f"prefix={prefix()}", f"BUILD={world.WORLD}/build"],
            check=True,
            umask=0o022,
        )
    return prefix() / "bin" / "qbhelper"


@cache
def original() -> Path | None:
    """QEMU's own helper as the distribution ships it, or None."""
    return next((path for path in ORIGINAL_SOURCES if path.exists()), None)


@cache
def ours(privilege: Privilege) -> Path:
    """A copy of our helper with this privilege, in a root-owned directory."""
    return _copy(installed(), privilege, "ours")


@cache
def theirs(privilege: Privilege) -> Path:
    """A copy of QEMU's own helper with this privilege: the oracle."""
    source = original()
    if source is None:
        raise FileNotFoundError("no qemu-bridge-helper here: install qemu-system-common")
    return _copy(source, privilege, "theirs")


def _copy(source: Path, privilege: Privilege, whose: str) -> Path:
    directory = world.WORLD / "helpers" / whose / privilege.value
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / source.name
    shutil.copyfile(source, target)
    os.chown(target, 0, 0)
    target.chmod(0o755)
    if privilege is Privilege.SETUID:
        target.chmod(0o4755)
    elif privilege is Privilege.FILE_CAPABILITY:
        world.run("setcap", "cap_net_admin=ep", str(target))
    return target
