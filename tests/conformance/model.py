# SPDX-License-Identifier: GPL-2.0-or-later
"""What an access list means to the original, in pure Python (contract 1.3), and what is odd about it.

The tests hold the model against the original itself, tree by tree; only then is it worth something.
`Inspection` names what ours refuses and the original lets pass: the predicates of the listed differences.
"""

import enum
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from tests.conformance.trees import SECOND_TOP, TOP, File, Tree

_SPACE = b" \t\n\r\f"
_FGETS = 4095
_DEPTH_MAX, _FILES_MAX, _SIZE_MAX = 16, 256, 1 << 20
_NAME_MAX, _PATH_MAX = 255, 4095


@dataclass(frozen=True)
class Caller:
    """Who calls: numeric ids.  A `groups` list does not contain `gid`."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def may_read(self, file: File) -> bool:
        """Whether the mode of `file` lets the caller read it; root without its capabilities is nobody special."""
        if self.uid == file.uid:
            return bool(file.mode & 0o400)
        if file.gid in (self.gid, *self.groups):
            return bool(file.mode & 0o040)
        return bool(file.mode & 0o004)


class Fault(enum.Enum):
    """What ours makes something else of than the original does."""

    BAD_LINE_IN_ACCESS_LIST = enum.auto()
    BAD_LINE_IN_INCLUDE = enum.auto()
    NUL_BYTE = enum.auto()
    LONG_LINE = enum.auto()
    DENY_OF_NOTHING = enum.auto()
    RELATIVE_INCLUDE = enum.auto()
    UNUSABLE_INCLUDE = enum.auto()
    TOO_MANY_INCLUDES = enum.auto()
    UNUSABLE_ACCESS_LIST = enum.auto()
    ROOT_MAY_NOT_READ = enum.auto()


REFUSED = frozenset(Fault) - {Fault.RELATIVE_INCLUDE, Fault.ROOT_MAY_NOT_READ}
"""The faults with which ours allows nothing."""


class BadLine(Exception):
    """A line that the original does not understand."""


@dataclass(frozen=True)
class Statement:
    """What a line says."""

    keyword: bytes
    argument: bytes


def statement(line: bytes) -> Statement | None:
    """What the original makes of a line: a statement, nothing, or BadLine."""
    line = line.partition(b"\0")[0].lstrip(_SPACE)
    if not line or line.startswith(b"#"):
        return None
    keyword, found, argument = line.partition(b" " if b" " in line else b"\t")
    argument = argument.strip(_SPACE)
    if not found or keyword not in (b"allow", b"deny", b"include"):
        raise BadLine
    if keyword != b"include" and argument != b"all" and len(argument) > 15:
        raise BadLine
    return Statement(keyword, argument)


class Reading:
    """Reads a tree as the original does: it passes over an include that fails, and nests until it has no fd left."""

    def __init__(self, tree: Tree, caller: Caller, *, cwd: str, depth_max: int) -> None:
        self._tree, self._caller, self._cwd, self._depth_max = tree, caller, cwd, depth_max
        self._rules: list[Statement] = []
        self.complained = False
        """Whether there is a line that it prints a complaint about."""
        try:
            self._take(TOP, 1)
            self._parsed = True
        except (OSError, BadLine):
            self._parsed = False

    def verdict(self, bridge: bytes) -> bool | None:
        """What it answers; None where it can't parse the list."""
        return _decide(self._rules, bridge) if self._parsed else None

    def _take(self, path: str, depth: int) -> None:
        file = self._tree.files.get(posixpath.normpath(posixpath.join(self._cwd, path)))
        if file is None or depth > self._depth_max or not (self._caller.uid == 0 or self._caller.may_read(file)):
            raise OSError(path)
        for line in _as_fgets(file.content or b""):
            try:
                said = statement(line)
            except BadLine:
                self.complained = True
                raise
            if said is None:
                continue
            if said.keyword == b"include":
                with suppress(OSError, BadLine):
                    self._take(os.fsdecode(said.argument) or "missing", depth + 1)
            else:
                self._rules.append(said)


def verdict_of_ours(tree: Tree, caller: Caller, bridge: bytes) -> bool | None:
    """What ours has to answer: None where the tree has a fault that refuses everything."""
    inspection = Inspection(tree, caller)
    if not inspection.readable or inspection.faults & REFUSED:
        return None
    return _decide(inspection.rules, bridge)


def _decide(rules: list[Statement], bridge: bytes) -> bool:
    matching = {rule.keyword for rule in rules if rule.argument in (b"all", bridge)}
    return b"allow" in matching and b"deny" not in matching


def _as_fgets(text: bytes) -> Iterator[bytes]:
    for line in text.split(b"\n"):
        for start in range(0, len(line) or 1, _FGETS):
            yield line[start : start + _FGETS]


def _met(path: str, text: bytes) -> tuple[str, bytes]:
    """By what ours knows a file again: the directory, in which `..` is left as it is, and the text."""
    return "/".join(part for part in posixpath.dirname(path).split("/") if part not in ("", ".")), text


class Inspection:
    """Reads all that a list includes, relative paths beside the including file, and notes what is odd."""

    def __init__(self, tree: Tree, caller: Caller) -> None:
        self.tree = tree
        self.caller = caller
        self.rules: list[Statement] = []
        self.faults: set[Fault] = set()
        self._seen: set[tuple[str, bytes]] = set()
        path = TOP if TOP in tree.files else SECOND_TOP
        top = tree.files.get(path)
        self.readable = top is not None and self._may_read(top)
        if top is not None and self.readable:
            if top.content is None or len(top.content) > _SIZE_MAX:
                self.faults.add(Fault.UNUSABLE_ACCESS_LIST)
            else:
                self._inspect(path, top.content, 0)

    def _may_read(self, file: File) -> bool:
        if self.caller.may_read(file):
            return True
        if self.caller.uid == 0:
            self.faults.add(Fault.ROOT_MAY_NOT_READ)
        return False

    def _inspect(self, path: str, text: bytes, depth: int) -> None:
        self._seen.add(_met(path, text))
        for line in text.split(b"\n"):
            if len(line) > _FGETS:
                self.faults.add(Fault.LONG_LINE)
            if b"\0" in line:
                self.faults.add(Fault.NUL_BYTE)
            try:
                said = statement(line)
            except BadLine:
                self.faults.add(Fault.BAD_LINE_IN_INCLUDE if depth else Fault.BAD_LINE_IN_ACCESS_LIST)
                continue
            if said is None:
                continue
            if said.keyword == b"include":
                self._include(path, os.fsdecode(said.argument), depth)
            else:
                self.rules.append(said)
                if said.keyword == b"deny" and re.fullmatch(rb"[^\x00-\x20/\x7f\xa0]+", said.argument) is None:
                    self.faults.add(Fault.DENY_OF_NOTHING)

    def _include(self, including: str, argument: str, depth: int) -> None:
        if not argument:
            self.faults.add(Fault.UNUSABLE_INCLUDE)
            return
        if depth == _DEPTH_MAX or len(self._seen) == _FILES_MAX:
            self.faults.add(Fault.TOO_MANY_INCLUDES)
            return
        if not argument.startswith("/"):
            self.faults.add(Fault.RELATIVE_INCLUDE)
        if len(argument) > _PATH_MAX or any(len(part) > _NAME_MAX for part in argument.split("/")):
            self.faults.add(Fault.UNUSABLE_INCLUDE)
            return
        target = posixpath.join(posixpath.dirname(including), argument)
        file = self.tree.files.get(posixpath.normpath(target))
        if file is None or not self._may_read(file):
            return
        if file.content is None or len(file.content) > _SIZE_MAX:
            self.faults.add(Fault.UNUSABLE_INCLUDE)
        elif _met(target, file.content) not in self._seen:
            self._inspect(target, file.content, depth + 1)
