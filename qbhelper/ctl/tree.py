# SPDX-License-Identifier: GPL-2.0-or-later
"""An access list with all that it includes for anybody: what the files say, what is wrong, who comes to each file.

The verdicts of a caller are `access_list.load`'s, over what that caller can read.  This is for looking at all of it.
"""

import os
from collections.abc import Iterable
from posixpath import split

from qbhelper.broker.mounts import Mounts
from qbhelper.broker.permission import Gate
from qbhelper.broker.walk import Walker
from qbhelper.ctl.readers import Readers, one_of
from qbhelper.errors import AccessListError, Problem, printable, reason
from qbhelper.policy import access_list
from qbhelper.policy.access_list import Include, Rule
from qbhelper.policy.decision import Place
from qbhelper.policy.values import nearest
from qbhelper.policy.who import Who
from qbhelper.sources import ACCESS_LISTS

STEPS_MAX = 20_000
"""Ways from file to file that are gone; includes that go round in circles through others have more than that."""

WORDS = ("allow", "deny", "include")


class Way:
    """A way to a file: the include that leads there (None: it is the access list itself), and who can go it."""

    def __init__(self, include: Place | None, readers: Readers, depth: int) -> None:
        self.include = include
        self.readers = readers
        self.depth = depth


class ListFile:
    """What one file says, and the ways to it.  `path` is printable; the places of its statements are in it."""

    def __init__(self, path: str, text: bytes) -> None:
        self.path = path
        self.rules: list[Rule] = []
        self.includes: list[Include] = []
        self.problems: list[Problem] = []
        self.ways: list[Way] = []
        for number, line in enumerate(text.split(b"\n"), start=1):
            self._take(line, number)

    def _take(self, line: bytes, number: int) -> None:
        try:
            # One line at a time: the parser ends at the first that it does not understand.
            for statement in access_list.parse(line, ""):
                place = Place(self.path, number)
                if isinstance(statement, Rule):
                    self.rules.append(Rule(statement.allow, statement.bridge, place))
                else:
                    self.includes.append(Include(statement.path, place))
        except AccessListError as error:
            self.problems.append(Problem(self.path, number, error.what.removeprefix(":1: "), _hint(line)))

    def main_ways(self) -> list[Way]:
        """Return the ways that lead somebody here whom no other does."""
        found: list[Way] = []
        for way in self.ways:
            if not any(way.readers.are_among(other.readers) for other in found):
                found = [other for other in found if not other.readers.are_among(way.readers)] + [way]
        return found

    def who(self) -> Who | None:
        """Return who can read it, and all that leads to it; None if no rule of a policy can say it."""
        whos = [way.readers.who() for way in self.main_ways()]
        return None if None in whos else one_of(who for who in whos if who)


class Tree:
    """The files of an access list, those first that are met first.

    problems: what refuses everything to whoever meets it; missing: includes that lead nowhere; closed: includes that
    this process may not read.
    """

    def __init__(self, path: bytes, text: bytes | None = None, instead_of: Iterable[bytes] = ()) -> None:
        """Read the access list at `path`; `text` is what stands there, if that is known.

        instead_of: where callers look for a list first; who may not see that there is none is refused.
        Raises OSError if it can't be read.
        """
        self.path = printable(path)
        self.files: list[ListFile] = []
        self.missing: list[Problem] = []
        self.closed: list[Problem] = []
        self._found: dict[bytes, tuple[tuple[Gate, ...], bytes | OSError]] = {}
        self._files: dict[tuple[bytes, bytes], ListFile] = {}
        self._wrong: list[Problem] = []
        self._mounts = Mounts()
        self._steps = 0
        try:
            self._read(path, text, instead_of)
        finally:
            self._mounts.close()

    def _read(self, path: bytes, text: bytes | None, instead_of: Iterable[bytes]) -> None:
        gates = [gate for other in instead_of for gate in self._follow(other)[0]]
        if text is None:
            on_the_way, found = self._follow(path)
            if isinstance(found, OSError):
                raise found
            gates += on_the_way
            text = found
        self._take(path, text, Way(None, Readers(gates), 0), frozenset())

    @property
    def problems(self) -> list[Problem]:
        """All that refuses everything to whoever meets it."""
        found = [problem for file in self.files for problem in file.problems] + _once(self._wrong)
        if sum(len(file.includes) for file in self.files) > access_list.INCLUDES_MAX:
            what = f"more than {access_list.INCLUDES_MAX} includes in all"
            found.append(Problem(self.path, 0, what, "`include' fewer files, one for a group of users"))
        return found

    @property
    def rules(self) -> list[Rule]:
        """The rules of all files."""
        return [rule for file in self.files for rule in file.rules]

    def _take(self, path: bytes, text: bytes, way: Way, met: frozenset[tuple[bytes, bytes]]) -> None:
        key = _key(path)
        if key not in self._files:
            self._files[key] = ListFile(printable(path), text)
            self.files.append(self._files[key])
        file = self._files[key]
        if any(way.depth <= known.depth and way.readers.are_among(known.readers) for known in file.ways):
            return
        file.ways.append(way)
        for include in file.includes:
            self._steps += 1
            target = access_list.target_of(include, path)
            if way.depth == access_list.DEPTH_MAX or self._steps > STEPS_MAX:
                self._complain(include, "too many includes", "include fewer files, or from fewer places")
                return
            # Who has read a file is told nothing new by it.
            if _key(target) not in met:
                self._include(include, target, way, met | {key})

    def _include(self, include: Include, target: bytes, way: Way, met: frozenset[tuple[bytes, bytes]]) -> None:
        if target not in self._found:
            self._found[target] = self._follow(target)
        gates, found = self._found[target]
        name = f"include `{printable(target)}'"
        if isinstance(found, bytes):
            readers = Readers((*way.readers.gates, *gates))
            self._take(target, found, Way(include.place, readers, way.depth + 1), met)
        elif isinstance(found, FileNotFoundError | NotADirectoryError):
            self._note(self.missing, include, f"{name}: {reason(found)}", "it is passed over until it is there")
        elif isinstance(found, PermissionError):
            self._note(self.closed, include, f"{name}: {reason(found)}", "run this as root to have it looked at")
        else:
            self._complain(include, f"{name}: {reason(found)}", "an include has to be a regular file of at most 1 MiB")

    def _complain(self, include: Include, what: str, hint: str) -> None:
        self._note(self._wrong, include, what, hint)

    def _note(self, notes: list[Problem], include: Include, what: str, hint: str) -> None:
        notes.append(Problem(include.place.path, include.place.line, what, hint))
        notes[:] = _once(notes)

    def _follow(self, path: bytes) -> tuple[tuple[Gate, ...], bytes | OSError]:
        """Go along `path` as the kernel does; return the gates on it, and the text at its end or what was met."""
        gates: list[Gate] = []
        walker = Walker(self._mounts)
        try:
            text = walker.read(os.path.join(os.getcwdb(), path), gates)
            return tuple(gates), text
        except OSError as error:
            return tuple(gates), error.with_traceback(None)
        finally:
            for one in walker.watched:
                os.close(one.fd)


def default_path() -> bytes:
    """Return the path of this host's access list, as it is found for a caller; the first where there is none."""
    for path in ACCESS_LISTS:
        try:
            os.stat(path)
        except FileNotFoundError:
            continue
        except OSError:
            pass
        return path
    return ACCESS_LISTS[0]


def of_host() -> Tree:
    """Return this host's access list.  Raises OSError if there is none, or it can't be read."""
    path = default_path()
    return Tree(path, instead_of=ACCESS_LISTS[: ACCESS_LISTS.index(path)])


def _key(path: bytes) -> tuple[bytes, bytes]:
    """Return the same for `d/./f` as for `d/f`; `..` may mean anything behind a symlink, as in access_list.load."""
    directory, name = split(path)
    return b"/".join(part for part in directory.split(b"/") if part not in (b"", b".")), name


def _once(problems: Iterable[Problem]) -> list[Problem]:
    return list({(problem.path, problem.line, problem.what): problem for problem in problems}.values())


def _hint(line: bytes) -> str:
    """Return what to write instead of a line that is not understood."""
    keyword = printable((line.split() or [b""])[0][:40])
    if keyword in WORDS:
        return "one word and one argument on a line, as `allow br0'; a comment has a line of its own"
    return nearest(keyword, WORDS)
