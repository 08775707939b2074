# SPDX-License-Identifier: GPL-2.0-or-later
"""The system that we run on once more, to install packages in: what they change there is gone afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.packages.trees import run
from tests.support import world

OWN_PROGRAMS = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
"""An environment with none of what somebody has in /usr/local."""
NOISE = ("dev", "proc", "run", "tmp", "var/cache", "var/log", "var/lib/dpkg")
"""Where package managers keep their books, and what is a file system of its own."""
NOT_OURS = {"etc/apparmor.d/disable"}
"""An empty directory of AppArmor's, which every package with a profile takes away (dh_apparmor)."""
# Every package that brings an account changes these; the account stays when the package goes, as Debian has it.
ACCOUNTS = {f"etc/{name}{backup}" for name in ("passwd", "group", "shadow", "gshadow") for backup in ("", "-")} | {
    "etc/.pwd.lock"
}


class System:
    """A root directory with everything that this machine has."""

    def __init__(self, root: Path, before: Path, changes: Path) -> None:
        self.root = root
        self._before = before
        self._changes = changes

    def path(self, absolute: str) -> Path:
        """Where a path of that system is for us."""
        return self.root / absolute.lstrip("/")

    def argv(self, *words: str | Path, uid: int | None = None) -> list[str]:
        """Return the words that run a command in there, as root or as a uid without any group."""
        identity = [] if uid is None else [f"--userspec={uid}:{uid}", "--groups="]
        return ["chroot", *identity, str(self.root), *map(str, words)]

    def run(self, *words: str | Path) -> str:
        """Run a command in there as root, and return what it printed; fail if it fails."""
        return run(self.argv(*words), env=OWN_PROGRAMS)

    def install(self, *packages: Path) -> str:
        """Install, or upgrade, with dpkg."""
        return run(["dpkg", f"--root={self.root}", "--install", *packages], env=OWN_PROGRAMS)

    def changed(self) -> set[str]:
        """What is there and was not at first, or is another file, or is gone; but for the books of dpkg."""
        found = set()
        for path in self._changes.rglob("*"):
            name = str(path.relative_to(self._changes))
            if _is_same(self.root / name, self._before / name) or name in ACCOUNTS | NOT_OURS:
                continue
            if not any(f"{name}/".startswith(f"{noise}/") for noise in NOISE):
                found.add(name)
        return found


def _is_same(now: Path, before: Path) -> bool:
    """Whether a path is what it was.  The overlay has a copy of its own also of what was moved away and back."""
    if not (os.path.lexists(now) and os.path.lexists(before)):
        return not os.path.lexists(now) and not os.path.lexists(before)
    if now.lstat().st_mode != before.lstat().st_mode:
        return False
    return not now.is_file() or now.read_bytes() == before.read_bytes()


@contextmanager
def system(scratch: Path) -> Iterator[System]:
    """This machine's system with changes of its own, for the time of the block."""
    mounted: list[Path] = []

    def mount(target: Path, *words: str) -> None:
        world.run("mount", *words, str(target))
        mounted.append(target)

    scratch.mkdir()
    try:
        mount(scratch, "-t", "tmpfs", "-o", "mode=0755", "tmpfs")
        before, root, changes, work = (scratch / name for name in ("before", "root", "changes", "work"))
        for directory in (before, root, changes, work):
            directory.mkdir()
        mount(before, "--bind", "/")  # without what is mounted in it, as our world's own /etc
        mount(root, "-t", "overlay", "-o", f"lowerdir={before},upperdir={changes},workdir={work}", "overlay")
        mount(root / "proc", "-t", "proc", "proc")
        mount(root / "dev", "--rbind", "/dev")
        mount(root / "run", "-t", "tmpfs", "-o", "mode=0755", "tmpfs")
        mount(root / "tmp", "-t", "tmpfs", "-o", "mode=1777", "tmpfs")
        os.makedirs(root / "run/lock")
        yield System(root, before, changes)
    finally:
        for target in reversed(mounted):
            world.run("umount", "--recursive", str(target))
