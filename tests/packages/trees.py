# SPDX-License-Identifier: GPL-2.0-or-later
"""Directory trees, as packages see them: what is in one, with which owner and mode, and the source to build from."""

import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests import completions, manual

TREE = Path(__file__).resolve().parents[2]
NOT_SOURCE = (".git", "build", "dist", "__pycache__", ".hypothesis", ".*_cache")


@dataclass(frozen=True)
class Entry:
    """A file, link or directory.  content: of a file its hash, of a link where it leads, of a directory nothing."""

    mode: str
    content: str


def contents(root: Path) -> dict[str, Entry]:
    """Everything below a directory, by its path from there."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = ""
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(root))] = Entry(stat.filemode(status.st_mode), content)
    return found


def files(root: Path) -> set[str]:
    """The files and links below a directory, by their paths from there."""
    return {path for path, entry in contents(root).items() if not entry.mode.startswith("d")}


def shared(share: str, zsh: str = "zsh/site-functions", compressed: str = "") -> set[str]:
    """Manual pages and completions by their paths, where `share` has the data of all programs.

    zsh: the directory of zsh's completions; compressed: what the names of manual pages end in.
    """
    pages = {f"man/man{page.suffix[1:]}/{page.name}{compressed}" for page in manual.pages()}
    shells = {".bash": "bash-completion/completions", ".fish": "fish/vendor_completions.d", "": zsh}
    completed = {f"{shells[file.suffix]}/{file.name}" for file in completions.files()}
    return {f"{share}/{path}" for path in pages | completed}


def copy_of_the_source(target: Path) -> Path:
    """Copy the tree, without what was built in it, to `target`; return that."""
    return Path(shutil.copytree(TREE, target, ignore=shutil.ignore_patterns(*NOT_SOURCE), symlinks=True))


def run(argv: Sequence[str | Path], **details: object) -> str:
    """Run a command and return what it printed, stderr too; fail with that if it fails."""
    done = subprocess.run(  # type: ignore[call-overload]
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False, **details
    )
    assert done.returncode == 0, f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}"
    return str(done.stdout)
