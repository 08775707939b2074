# SPDX-License-Identifier: GPL-2.0-or-later
"""Random access lists on disk, with everything that decides who may read them: for comparing verdicts."""

import os
import shutil
import socket
import struct
from pathlib import Path
from random import Random

from tests.support import world

TOP = world.ACCESS_LIST
HOME = TOP.parent
SECOND_TOP = Path("/etc/qemu-kvm/bridge.conf")

UIDS = (0, 61234, 61235, 65534)
GIDS = (0, 61234, 61300, 61301, 65534)
BRIDGES = (b"qa", b"qb", b"qc")

_FILE_MODES = (0o644, 0o644, 0o640, 0o640, 0o600, 0o604, 0o064, 0o044, 0o040, 0o004, 0o400, 0o060, 0)
_DIRECTORY_MODES = (
    0o755,
    0o755,
    0o755,
    0o711,
    0o750,
    0o710,
    0o700,
    0o705,
    0o701,
    0o744,
    0o071,
    0o1777,
    0o1777,
    0o1773,
    0,
)
_DIRECTORIES = ("d", "e", "d/f", "d/f/g")
_NAMES = ("a", "b", "c", "bridge.conf")


def acl(random: Random) -> bytes:
    """Return a random POSIX ACL as the kernel takes it (linux/posix_acl_xattr.h): valid, and in its order."""

    def bits() -> int:
        return random.choice((0, 1, 4, 5, 7))

    nobody = 0xFFFFFFFF
    entries = [(0x01, bits(), nobody)]
    entries += [(0x02, bits(), uid) for uid in sorted(random.sample(UIDS, random.randint(0, 2)))]
    entries += [(0x04, bits(), nobody)]
    entries += [(0x08, bits(), gid) for gid in sorted(random.sample(GIDS, random.randint(0, 2)))]
    if len(entries) > 2 or random.random() < 0.5:
        entries += [(0x10, bits(), nobody)]
    entries += [(0x20, bits(), nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


class Forester:
    """Plants one random tree after another.  `oddity`: how much in it is out of the ordinary."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.oddity = 0.0

    def plant(self) -> None:
        """Put a random tree into the place of the last one."""
        self.oddity = self.random.choice((0.02, 0.1, 0.3))
        clear()
        directories = [HOME]
        for name in _DIRECTORIES:
            path = HOME / name
            if path.parent in directories and self.random.random() < 0.7:
                path.mkdir()
                directories.append(path)
        top = SECOND_TOP if self.random.random() < 0.05 else TOP
        if self.random.random() < 0.98:
            self._file(top, top=True)
        for directory in directories:
            for name in _NAMES:
                path = directory / name
                if path != TOP and self.random.random() < 0.6:
                    self._entry(path, directories)
        for path in reversed(directories):
            if path != HOME or self._odd():
                self._guard(path, _DIRECTORY_MODES)

    def _odd(self) -> bool:
        return self.random.random() < self.oddity

    def _entry(self, path: Path, directories: list[Path]) -> None:
        kind = self.random.random()
        if kind < 0.65:
            self._file(path)
        elif kind < 0.95:
            target = self._path(directories) if self.random.random() < 0.6 else str(self.random.choice(directories))
            if self.random.random() < 0.5:
                target = os.path.relpath(target, path.parent) + target[len(target.rstrip("/")) :]
            os.symlink(target[-4000:], path)  # no longer one can be
            os.chown(path, self.random.choice(UIDS), self.random.choice(GIDS), follow_symlinks=False)
        elif kind < 0.97:
            os.mkfifo(path)
            self._guard(path, _FILE_MODES)
        else:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
            self._guard(path, _FILE_MODES)

    def _file(self, path: Path, *, top: bool = False) -> None:
        lines = [self._rule() for _ in range(self.random.randint(0, 3))]
        includes = self.random.randint(2, 6) if top else self.random.choice((0, 0, 1, 2))
        lines += [f"include {self._path([HOME / name for name in ('', *_DIRECTORIES)])}" for _ in range(includes)]
        if self._odd() and self._odd():
            lines.append("nonsense")
        self.random.shuffle(lines)
        path.write_text("\n".join(lines) + "\n")
        if not top or self._odd():
            self._guard(path, _FILE_MODES)

    def _rule(self) -> str:
        return self.random.choice(("allow", "allow", "deny")) + self.random.choice((" qa", " qb", " qc", " all"))

    def _path(self, directories: list[Path]) -> str:
        """Return a path that leads somewhere, or nowhere: straight, or by a way that few would choose."""
        random = self.random
        path = str(random.choice(directories) / random.choice(_NAMES))
        if self.random.random() < 0.5:
            return path
        directory, name = os.path.split(path)
        other = str(random.choice(directories))
        detours = [
            f"{directory}/../{os.path.basename(directory)}/{name}",
            f"{directory}/./{name}",
            f"{directory}//{name}",
            f"{other}/{os.path.relpath(path, other)}",
            f"{other}/{random.choice(_NAMES)}/{name}",
            f"{other}/{random.choice(_NAMES)}/../{name}",
            os.path.relpath(path, HOME),
        ]
        if self._odd():
            detours = [
                f"{path}/",
                f"{path}/.",
                f"{path}/..",
                f"{directory}/.",
                f"{directory}/",
                f"{directory}/missing",
                f"{directory}/{'n' * 256}",
                f"{directory}/{'./' * 2048}{name}",
                f"{path}/{name}",
                "/",
                "/etc/hostname/x",
            ]
        return random.choice(detours)

    def _guard(self, path: Path, modes: tuple[int, ...]) -> None:
        os.chown(path, self.random.choice(UIDS), self.random.choice(GIDS))
        path.chmod(self.random.choice(modes))
        if self.random.random() < 0.25:
            mode = path.stat().st_mode & 0o7000
            os.setxattr(path, "system.posix_acl_access", acl(self.random))
            if mode:
                path.chmod(path.stat().st_mode & 0o777 | mode)


def clear() -> None:
    """Take the tree away."""
    for directory in (HOME, SECOND_TOP.parent):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        directory.chmod(0o755)
