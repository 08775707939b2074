# SPDX-License-Identifier: GPL-2.0-or-later
"""Access lists with all that they include: as values, on disk, and at random.

A tree is a value, so that it can be printed, made smaller, and judged by the model without a disk.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.support import world

TOP = str(world.ACCESS_LIST)
HOME = str(world.ACCESS_LIST.parent)
SECOND_TOP = "/etc/qemu-kvm/bridge.conf"
ELSEWHERE = str(world.WORLD / "elsewhere")
"""A caller's working directory, where relative includes might be looked for."""

GROUP = 61300
"""A group with no account, that some callers are in."""


@dataclass(frozen=True)
class File:
    """A file of a tree.  `content` None makes it a directory, or a FIFO."""

    content: bytes | None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    fifo: bool = False

    def __str__(self) -> str:
        kind = " FIFO" if self.fifo else " directory" if self.content is None else ""
        return f"mode {self.mode:04o} owner {self.uid}:{self.gid}{kind}"


@dataclass(frozen=True)
class Tree:
    """An access list and whatever lies about it: absolute path -> file."""

    files: dict[str, File] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(
            "\n    ".join([f"  {path} {file}", *map(_brief, _lines(file))])
            for path, file in sorted(self.files.items(), key=lambda item: (item[0] != TOP, item[0]))
        )

    @classmethod
    def of(cls, top: str | bytes, **includes: str | bytes) -> "Tree":
        """A tree of readable files: the access list, and NAME.conf beside it for each keyword."""
        texts = {TOP: top} | {f"{HOME}/{name}.conf": text for name, text in includes.items()}
        return cls({path: File(text.encode() if isinstance(text, str) else text) for path, text in texts.items()})

    def plus(self, path: str, file: File) -> "Tree":
        """The same tree with one more file, or with another in its place."""
        return Tree(self.files | {path: file})

    def smaller(self) -> Iterator["Tree"]:
        """Every tree that has one file or one line less."""
        for path in self.files:
            if path != TOP:
                yield Tree({other: file for other, file in self.files.items() if other != path})
        for path, file in self.files.items():
            lines = _lines(file)
            for index in range(len(lines)):
                rest = b"".join(lines[:index] + lines[index + 1 :])
                yield self.plus(path, dataclasses.replace(file, content=rest))


def _lines(file: File) -> list[bytes]:
    # Not splitlines(): only a line feed ends a line.
    *whole, last = (file.content or b"").split(b"\n")
    return [line + b"\n" for line in whole] + ([last] if last else [])


def _brief(line: bytes) -> str:
    return repr(line) if len(line) < 100 else f"{line[:40]!r} ... {line[-40:]!r} ({len(line)} bytes)"


def plant(tree: Tree) -> None:
    """Put a tree on disk, in place of the one before."""
    for directory in (HOME, os.path.dirname(SECOND_TOP), ELSEWHERE):
        _clear(Path(directory))
    for name, file in tree.files.items():
        path = Path(name)
        if file.fifo:
            os.mkfifo(path)
        elif file.content is None:
            path.mkdir()
        else:
            path.write_bytes(file.content)
        os.chown(path, file.uid, file.gid)
        path.chmod(file.mode)


def _clear(directory: Path) -> None:
    directory.mkdir(mode=0o755, exist_ok=True)
    directory.chmod(0o755)
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def shrink(tree: Tree, still_wrong: Callable[[Tree], bool], *, tries: int = 400) -> Tree:
    """Take files and lines away, as long as what remains is still wrong."""
    progress = True
    while progress:
        progress = False
        for candidate in tree.smaller():
            tries -= 1
            if tries < 0:
                return tree
            if still_wrong(candidate):
                tree, progress = candidate, True
                break
    return tree


# --- Random trees -----------------------------------------------------------------------------

BRIDGES = (b"qa", b"qa", b"qb", b"qb", b"longest-name-15", b"q\xc3\xbc", b"q\xff", b"all", b"Qa")
"""Names to ask for; no such bridges exist."""

_ODD_NAMES = (
    b"",
    b"sixteen-bytes-16",
    b"seventeen-bytes17",
    b"qa:1",
    b"qa qb",
    b"qa # no comment",
    b"ALL",
    b"*",
    b"q\xc2\xa0",
)
_ODD_KEYWORDS = (
    b"ALLOW",
    b"Deny",
    b"\xef\xbb\xbfallow",
    b"allow\xc2\xa0",
    b"permit",
    b"allow\v",
    b"includes",
    b"#allow",
)
_BLANKS = (b" ", b"\t", b"  ", b" \t", b"\f", b"\r", b"\v")
_FILES = ("a.conf", "b.conf", "c.conf", "d.conf")
_DIRECTORY = f"{HOME}/directory"


class Grower:
    """Grows random trees.  `oddity` is the share of lines that are out of the ordinary."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.oddity = random.choice((0.0, 0.0, 0.02, 0.05, 0.2))

    def tree(self) -> Tree:
        """Grow one tree: the access list, up to four files to include, and some elsewhere."""
        random = self.random
        files = {TOP: File(self._text(top=True), random.choice((0o644,) * 12 + (0o640, 0o600)))}
        for name in random.sample(_FILES, random.randint(0, len(_FILES))):
            mode, gid = random.choice(
                ((0o644, 0),) * 6 + ((0o640, GROUP), (0o640, GROUP), (0o600, 0), (0o040, GROUP), (0, 0))
            )
            files[f"{HOME}/{name}"] = File(self._text(), mode, 0, gid)
        if self._odd():
            files[f"{ELSEWHERE}/{random.choice(_FILES)}"] = File(self._text())
        if self._odd():
            files[_DIRECTORY] = File(None, 0o755)
        return Tree(files)

    def _odd(self) -> bool:
        return self.random.random() < self.oddity

    def _text(self, *, top: bool = False) -> bytes:
        random = self.random
        # Few includes: each may lead to all others again, and the original follows every loop.
        includes = random.choice((0, 0, 1, 2)) + top
        lines = [self._rule() for _ in range(random.randint(0, 4))] + [self._include() for _ in range(includes)]
        random.shuffle(lines)
        lines = [odd for line in lines for odd in ([self._odd_line(), line] if self._odd() else [line])]
        end = b"\r\n" if self._odd() else b"\n"
        text = end.join(lines) + (b"" if self._odd() else end)
        return b"\xef\xbb\xbf" + text if random.random() < self.oddity / 10 else text

    def _rule(self) -> bytes:
        random = self.random
        keyword = (
            random.choice(_ODD_KEYWORDS)
            if random.random() < self.oddity / 4
            else random.choice((b"allow", b"allow", b"allow", b"deny"))
        )
        name = random.choice(_ODD_NAMES) if self._odd() else random.choice(BRIDGES)
        return self._line(keyword, name)

    def _include(self) -> bytes:
        random = self.random
        name = random.choice(_FILES)
        path = f"{HOME}/{name}"
        if self._odd():
            path = random.choice(
                (
                    name,
                    f"./{name}",
                    f"../qemu/{name}",
                    "",
                    TOP,
                    _DIRECTORY,
                    f"{HOME}/missing",
                    f"{path}/under",
                    "x" * 300,
                    f"{HOME}//{name}",
                )
            )
        return self._line(b"include", path.encode())

    def _line(self, keyword: bytes, argument: bytes) -> bytes:
        random = self.random
        before = random.choice(_BLANKS) if self._odd() else b""
        between = random.choice(_BLANKS) if self._odd() else b" "
        after = random.choice((*_BLANKS, b" # comment", b"\t# comment")) if self._odd() else b""
        return before + keyword + between + argument + after

    def _odd_line(self) -> bytes:
        random = self.random
        rule = self._line(random.choice((b"allow", b"deny")), random.choice(BRIDGES))
        length = random.choice((4094, 4095, 4096, 4097))
        return random.choice(
            (
                *(b"", b"# comment", b"  # comment", b"#" + rule, b"\t", b"\v", b" \f\r"),
                *(b"allow", b"garbage", b"=", b"allow\0qa", b"# \0", b"\0" + rule, rule + b"\0junk"),
                b"#" + b"x" * (length - 1),
                # What stands behind byte 4095 is a line of its own to the original.
                b"#" + b"x" * (length - 1) + rule,
                rule + b" " * (length - len(rule)),
                b" " * (length - 2) + rule,
            )
        )
