# SPDX-License-Identifier: GPL-2.0-or-later
"""On which line each table and each key of a TOML file stands: tomllib does not tell.

It looks for the statements only, and may so be small: what it is given is whole and valid TOML, because tomllib has
read it before.  Whatever is written in another way than policies are is told as a problem, not guessed at.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    Stray = tuple[int, str]
    """A line, and what stands there in a way that is not ours."""

HEADERS = ("[[allow]]", "[[deny]]", "[end]")
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class Table:
    """A table as it is written: its header ("" for the top of the file), the line of it, and the lines of its keys."""

    __slots__ = ("header", "keys", "line")

    def __init__(self, header: str, line: int) -> None:
        self.header: Final = header
        self.line: Final = line
        self.keys: Final[dict[str, int]] = {}


class Layout:
    """A file as it is written: its tables in their order, the first of which is its top, and what is not our way."""

    __slots__ = ("lines", "strays", "tables")

    def __init__(self, tables: list[Table], strays: "list[Stray]", lines: int) -> None:
        self.tables: Final = tables
        self.strays: Final = strays
        self.lines: Final = lines


def layout_of(source: str) -> Layout:
    """Return where the statements of a valid TOML file stand.  `source` has no carriage return before a line feed."""
    tables = [Table("", 1)]
    strays: list[Stray] = []
    at, line = 0, 1
    while at < len(source):
        letter = source[at]
        if letter == "\n":
            line += 1
        if letter in " \t\n":
            at += 1
            continue
        stop = _end_of_statement(source, at)
        statement = source[at:stop].rstrip(" \t")
        if letter == "[":
            if statement not in HEADERS:
                strays.append((line, statement))
            tables.append(Table(statement, line))
        elif letter != "#":
            key = statement.partition("=")[0].rstrip(" \t")
            if not _BARE.issuperset(key):
                strays.append((line, key))
            tables[-1].keys[key] = line
        line += source.count("\n", at, stop)
        at = _end_of_line(source, stop)
    return Layout(tables, strays, source.count("\n") + (not source.endswith("\n")))


def _end_of_line(source: str, at: int) -> int:
    end = source.find("\n", at)
    return len(source) if end < 0 else end


def _end_of_statement(source: str, at: int) -> int:
    """Return where the statement at `at` ends: at its comment, or at the end of its last line."""
    depth = 0
    while at < len(source):
        letter = source[at]
        if letter in "\"'":
            at = _end_of_string(source, at)
            continue
        if letter == "#":
            if not depth:
                return at
            at = _end_of_line(source, at)
            continue
        if letter == "\n" and not depth:
            return at
        depth += (letter in "[{") - (letter in "]}")
        at += 1
    return at


def _end_of_string(source: str, at: int) -> int:
    """Return the place behind the string that begins at `at`."""
    quote = source[at]
    mark = quote * 3 if source.startswith(quote * 3, at) else quote
    at += len(mark)
    while at < len(source) and not source.startswith(mark, at):
        at += 2 if quote == '"' and source[at] == "\\" else 1
    at += len(mark)
    # One or two more quotes before the three that end a long string belong to it.
    while len(mark) == 3 and source.startswith(quote, at):
        at += 1
    return at
