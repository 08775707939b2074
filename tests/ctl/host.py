# SPDX-License-Identifier: GPL-2.0-or-later
"""A host with accounts of its own, in the private world's /etc, and qbhelperctl run on it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qbhelper.ctl import people
from tests.support import install, world

ETC = Path("/etc/qbhelper")
POLICY = ETC / "policy.toml"
DROP_INS = ETC / "policy.d"
LIST = world.ACCESS_LIST

PASSWD = """\
root:x:0:0::/root:/bin/sh
nobody:x:65534:65534::/nonexistent:/bin/false
alice:x:1000:1000::/:/bin/sh
bob:x:1001:1001::/:/bin/sh
ada:x:1002:1002::/:/bin/sh
"""
GROUP = """\
root:x:0:
nogroup:x:65534:
alice:x:1000:
bob:x:1001:
ada:x:1002:
students:x:2000:alice,bob
staff:x:2001:ada
"""


@dataclass(frozen=True)
class Said:
    """How a run of qbhelperctl ended."""

    status: int
    out: str
    err: str


def program() -> Path:
    """Return the installed qbhelperctl."""
    return install.installed().with_name("qbhelperctl")


def ctl(
    *words: str, user: str = "root", text: str = "", cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> Said:
    """Run the installed program as a user of the host, with `text` on its standard input, and these variables too."""
    done = subprocess.run(
        [*as_user(user), str(program()), *words],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **(variables or {})},
    )
    return Said(done.returncode, done.stdout, done.stderr)


def as_user(user: str) -> list[str]:
    """Return the words before a command that has it run as a user logs in."""
    return (
        [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--inh-caps=-all"]
    )


@contextmanager
def accounts(passwd: str = PASSWD, group: str = GROUP, subuid: str = "") -> Iterator[None]:
    """These accounts and no others, for the time of the block."""
    before = {
        Path("/etc") / name: (Path("/etc") / name).read_bytes()
        for name in ("passwd", "group", "subuid")
        if (Path("/etc") / name).exists()
    }
    try:
        Path("/etc/passwd").write_text(passwd)
        Path("/etc/group").write_text(group)
        Path("/etc/subuid").write_text(subuid)
        forget()
        yield
    finally:
        Path("/etc/subuid").unlink(missing_ok=True)
        for path, content in before.items():
            path.write_bytes(content)
        forget()


def forget() -> None:
    """Have names looked up anew in this process."""
    for cached in (people.user_name, people.group_name, people.user_to_write, people.group_to_write):
        cached.cache_clear()


def clear() -> None:
    """Take away all policies and access lists."""
    for directory in (ETC, LIST.parent, Path("/etc/qemu-kvm")):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        directory.chmod(0o755)


def write(path: Path, text: str, mode: int = 0o644, owner: str = "root:root") -> Path:
    """Write a file, and its directory."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    shutil.chown(path, *owner.split(":"))
    path.chmod(mode)
    return path


def main_of(words: Sequence[str]) -> list[str]:
    """Return what runs qbhelperctl from the tree, as in a virtual environment."""
    return [sys.executable, "-m", "qbhelper.ctl", *words]
