# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's access list, /etc/qemu/bridge.conf: `allow`, `deny`, `include` (contract 1.3).

The grammar and every verdict are those of QEMU's helper.  Where that one goes on after an error
it did not understand, and may so lose a `deny`, this one refuses; docs/differences.md lists each case.

Per-user rules are made with file modes: an include that this caller may not read is skipped, and so
is one that is not there.  Anything else wrong with it is an error.
"""

from posixpath import dirname, join

from qbhelper.errors import AccessListError, printable, reason
from qbhelper.policy.decision import Decision, Place
from qbhelper.request import IFNAMSIZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    Reader = Callable[[bytes], bytes]
    """Returns the text of a file as the caller may read it; raises OSError as open(2) and read(2) would."""
    Parser = Callable[[bytes, str], "Iterator[Rule | Include]"]
    """`parse`, or who remembers what it said."""

LINE_MAX = 4095
"""Bytes in a line; QEMU's helper takes the rest of a longer one for a line of its own."""
DEPTH_MAX = 16
"""Files on the way from the access list to an include."""
FILES_MAX = 256
"""Files that are there, and that one caller may read."""
INCLUDES_MAX = 4096
"""Include lines, whether or not there is anything to read: one for each of thousands of users still fits."""

_SPACE = b" \t\n\r\f"
"""What g_ascii_isspace() takes for white space: not the vertical tab."""
_ALL = b"all"
_IN_NO_NAME = frozenset((*range(0x21), ord("/"), 0x7F, 0xA0))
"""Bytes that stand in no bridge's name: the kernel takes 0xA0, of a no-break space, for white space too."""


class Rule:
    """`allow` or `deny` of one bridge, or of every bridge where `bridge` is None."""

    __slots__ = ("allow", "bridge", "place")

    def __init__(self, allow: bool, bridge: bytes | None, place: Place) -> None:
        self.allow: Final = allow
        self.bridge: Final = bridge
        self.place: Final = place

    def matches(self, bridge: bytes) -> bool:
        """Whether the rule speaks of `bridge`; names are compared byte by byte."""
        return self.bridge is None or self.bridge == bridge


class Include:
    """`include PATH`, to be judged by what the caller may read."""

    __slots__ = ("path", "place")

    def __init__(self, path: bytes, place: Place) -> None:
        self.path: Final = path
        self.place: Final = place


class AccessList:
    """The rules of an access list and of what it includes.  `path` names it in messages."""

    __slots__ = ("path", "rules")

    def __init__(self, path: str, rules: "tuple[Rule, ...]") -> None:
        self.path: Final = path
        self.rules: Final = rules

    def decide(self, bridge: bytes, asked: bytes | None = None) -> Decision:
        """Return the verdict on `bridge`, which the caller `asked` for by this name: it may be an altname.

        Any matching deny wins, of either name; then any allow of the bridge itself; else no.
        """
        names = (bridge, bridge if asked is None else asked)
        for rule in self.rules:
            if not rule.allow and any(rule.matches(name) for name in names):
                return Decision(False, rule.place)
        for rule in self.rules:
            if rule.allow and rule.matches(bridge):
                return Decision(True, rule.place)
        return Decision(False, None)


def load(path: bytes, read: "Reader", parser: "Parser | None" = None) -> AccessList:
    """Read the access list at `path` and all that it includes, as the caller may read them.

    Raises AccessListError, with file and line, for anything but includes that are not there or that
    the caller may not read; and OSError if `path` itself can't be read.
    """
    rules: list[Rule] = []
    seen: set[tuple[bytes, bytes]] = set()
    includes = 0

    def take(text: bytes, path: bytes, depth: int) -> None:
        nonlocal includes
        # Rules have no order, so the same text met again beside the same files, as in a loop, adds nothing.
        # Not the same inode: reached through another directory, its relative includes are other files.
        met = (_directory(path), text)
        if met in seen:
            return
        seen.add(met)
        for statement in (parser or parse)(text, printable(path)):
            if isinstance(statement, Rule):
                rules.append(statement)
                continue
            includes += 1
            if depth == DEPTH_MAX or len(seen) == FILES_MAX or includes > INCLUDES_MAX:
                raise _error(statement.place, "too many includes")
            target = target_of(statement, path)
            try:
                included = read(target)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            except OSError as error:
                raise _error(statement.place, f"include `{printable(target)}': {reason(error)}") from error
            take(included, target, depth + 1)

    take(read(path), path, 0)
    return AccessList(printable(path), tuple(rules))


def _directory(path: bytes) -> bytes:
    """Return the directory of `path`, the same for `d/./f` as for `d/f`; `..` may mean anything behind a symlink."""
    return b"/".join(part for part in dirname(path).split(b"/") if part not in (b"", b"."))


def target_of(include: Include, path: bytes) -> bytes:
    """Return the path of what the file at `path` includes.

    Beside the including file: QEMU's helper looks in the caller's working directory, so that a caller
    could choose the policy.
    """
    return join(dirname(path), include.path)


def parse(text: bytes, path: str) -> "Iterator[Rule | Include]":
    """Yield what the lines of `text` say; `path` names the file in messages.

    Raises AccessListError at the first line that is not understood.
    """
    for number, line in enumerate(text.split(b"\n"), start=1):
        place = Place(path, number)
        if len(line) > LINE_MAX:
            raise _error(place, f"line too long: {len(line)} bytes, at most {LINE_MAX}")
        if b"\0" in line:
            raise _error(place, "NUL byte: the file is damaged")
        line = line.lstrip(_SPACE)
        if line and not line.startswith(b"#"):
            yield _parse_statement(line, place)


def _parse_statement(line: bytes, place: Place) -> Rule | Include:
    # The first space ends the keyword, and only where there is none, the first tab.
    separator = b" " if b" " in line else b"\t"
    keyword, found, argument = line.partition(separator)
    if not found:
        raise _error(place, f"Invalid config line: `{printable(line.strip(_SPACE))}'")
    argument = argument.strip(_SPACE)
    if keyword == b"include":
        if not argument:
            raise _error(place, "include without a path")
        return Include(argument, place)
    if keyword not in (b"allow", b"deny"):
        raise _error(place, f"Unknown command `{printable(keyword)}'")
    if argument == _ALL:
        return Rule(keyword == b"allow", None, place)
    if len(argument) >= IFNAMSIZ:
        raise _error(place, f"name `{printable(argument)}' too long: {len(argument)}")
    # QEMU's helper takes it for a bridge of that name, so a `deny br0 # why` denies nothing.
    if keyword == b"deny" and not (argument and set(argument).isdisjoint(_IN_NO_NAME)):
        raise _error(place, f"deny of `{printable(argument)}', which can't be the name of a bridge")
    return Rule(keyword == b"allow", argument, place)


def _error(place: Place, problem: str) -> AccessListError:
    return AccessListError(f"{place}: {problem}", "nothing is allowed until the administrator mends it")
