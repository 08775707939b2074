# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of a policy: text in, `Policy` out, or all that is wrong with them.

A file has to end with the table header [end].  TOML has no end of its own: cut off behind `bridge = "br0"`, a rule has
lost its `users`, and is a rule for everyone.  A file that has its [end] has all that stands above it.
"""

import tomllib

from qbhelper.errors import Problem, printable
from qbhelper.policy.combinations import faults_among, faults_in
from qbhelper.policy.decision import Place
from qbhelper.policy.places import HEADERS, Layout, Table, layout_of
from qbhelper.policy.port import PLAIN, PortSettings, Terms
from qbhelper.policy.rules import Policy, Rule, identity_of, scope_of
from qbhelper.policy.settings import ALLOW, BY_NAME, DENY, TOP, names_in
from qbhelper.policy.values import WrongValue, nearest
from qbhelper.policy.who import Who

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Source = tuple[str, bytes]
    """The path of a file, as it is named in messages, and its text."""

END = "[end]"


def parse(main: "Source | None", others: "Sequence[Source]" = ()) -> tuple[Policy | None, list[Problem]]:
    """Return the policy of the file `main` and the files `others`, and all that is wrong with them.

    There is a policy if and only if nothing is wrong.  qemu_acl may stand in `main` alone.
    """
    files = [_File(*source, is_main=source is main) for source in ([main] if main else []) + [*others]]
    problems = [problem for file in files for problem in file.problems]
    rules = [rule for file in files for rule in file.rules]
    problems += [Problem(place.path, place.line, what, hint) for place, what, hint in faults_among(rules)]
    if problems:
        return None, problems
    path = files[0].path if files else ""
    return Policy(path, tuple(rules), any(file.qemu_acl for file in files)), []


class _File:
    """One file: its rules, and its problems in the order of their lines."""

    def __init__(self, path: str, text: bytes, *, is_main: bool) -> None:
        self.path = path
        self.rules: list[Rule] = []
        self.qemu_acl = False
        self.problems: list[Problem] = []
        self._is_main = is_main
        source = ""
        try:
            source = text.decode().replace("\r\n", "\n")  # as tomllib does
            data = tomllib.loads(source)
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
            self._complain(line, f"byte {text[error.start]:#04x} is not UTF-8", "save the file as UTF-8")
        except tomllib.TOMLDecodeError as error:
            self._complain(*_told(str(error), source))
        except (ValueError, RecursionError):
            # What tomllib lets through of int() and of itself: a number of thousands of digits, brackets as deep.
            self._complain(0, "it is not TOML that can be read", "look for a number or a nesting that is far too long")
        else:
            self._take(data, layout_of(source))
            self.problems.sort(key=lambda problem: problem.line)

    def _complain(self, line: int, what: str, hint: str) -> None:
        self.problems.append(Problem(self.path, line, what, hint))

    def _take(self, data: "Mapping[str, Any]", layout: Layout) -> None:
        self._check_form(data, layout)
        top = layout.tables[0]
        written = {word: value for word, value in data.items() if word in top.keys and word not in _HEADER_OF}
        self.qemu_acl = self._values_of(written, top, TOP).get("qemu_acl", False)
        for scope in (ALLOW, DENY):
            tables = [table for table in layout.tables if table.header == _HEADER_OF[scope]]
            found = data.get(scope, [])
            if isinstance(found, list) and len(found) == len(tables):  # else it is in another form, and told already
                for table, of_rule in zip(tables, found, strict=True):
                    self._take_rule(scope, table, of_rule)
        self._check_end(layout)
        self.rules.sort(key=lambda rule: rule.place.line)

    def _check_form(self, data: "Mapping[str, Any]", layout: Layout) -> None:
        """Complain unless it is written as policies are: else the place of something might not be the true one."""
        strays = [(line, *_out_of_form(stray)) for line, stray in layout.strays]
        for word, line in layout.tables[0].keys.items():
            if word in _HEADER_OF:
                strays.append(
                    (line, f"`{word} =' is not how to write it", f"write {_HEADER_OF[word]}, on a line of its own")
                )
        if not strays and not _agree(data, layout):
            strays.append((0, "it is written in a way that is not understood", "write it as docs/policy.md does"))
        for stray in strays:
            self._complain(*stray)

    def _check_end(self, layout: Layout) -> None:
        last = layout.tables[-1]
        if last.header == END and not last.keys:
            return
        ends = [table for table in layout.tables if table.header == END]
        if ends:
            self._complain(ends[0].line, f"{END} is not the last statement", f"move {END} to the end of the file")
        else:
            self._complain(
                layout.lines,
                f"is it whole? its last line has to be {END}",
                "a file that was cut off could allow what its lost lines refuse",
            )

    def _values_of(self, written: "Mapping[str, Any]", table: Table, scope: str) -> "dict[str, Any]":
        """Return the parsed values of a table that are right, and complain of the others."""
        values: dict[str, Any] = {}
        for word, value in written.items():
            setting = BY_NAME.get(word)
            line = table.keys.get(word)
            if line is None:
                continue  # in another form than ours, and told already
            if setting is None:
                self._complain(line, f"`{printable(word[:40])}' is not known", nearest(word, names_in(scope)))
            elif scope not in setting.scopes:
                self._complain(line, *_misplaced(word, scope, setting.scopes))
            elif scope == TOP and not self._is_main:
                self._complain(line, f"`{word}' counts for all files", "write it at the top of policy.toml")
            else:
                try:
                    values[word] = setting.kind.parse(value)
                except WrongValue as error:
                    for what, hint in error.faults:
                        self._complain(line, f"{word}: {what}", hint)
        return values

    def _take_rule(self, scope: str, table: Table, written: "Mapping[str, Any]") -> None:
        before = len(self.problems)
        values = self._values_of(written, table, scope)
        if "bridge" not in written:
            self._complain(
                table.line, f"{table.header} without a bridge", 'say which: bridge = "br0", or "*" for every'
            )
        if len(self.problems) == before:
            for word, what, hint in faults_in(values):
                self._complain(table.keys[word], what, hint)
        if len(self.problems) == before:
            self.rules.append(_rule_of(scope == ALLOW, Place(self.path, table.line), values))


_HEADER_OF = {ALLOW: "[[allow]]", DENY: "[[deny]]", "end": END}
_OF_RULE = ("bridge", "users", "groups", "expires")
_OF_TERMS = ("queues", "max_ports", "max_ports_total", "other_network_namespaces", "vhost", "persistent")


def _rule_of(allow: bool, place: Place, values: "Mapping[str, Any]") -> Rule:
    """Return the rule with these values, which are parsed and go together."""
    of = {**values}
    bridges, users, groups, expires = (of.pop(word, None) for word in _OF_RULE)
    terms = {word: of.pop(word) for word in _OF_TERMS if word in of}
    who = Who(users, groups)
    identity = identity_of(scope_of(bridges, who))
    port = PortSettings(**of) if of else PLAIN
    return Rule(allow, bridges, who, place, Terms(identity, port, **terms), expires)


def _agree(data: "Mapping[str, Any]", layout: Layout) -> bool:
    """Whether the statements that we found are those that tomllib has read: else a place could be a wrong one."""
    expected: dict[str, Any] = dict.fromkeys(layout.tables[0].keys)
    for word, header in _HEADER_OF.items():
        tables = [[*table.keys] for table in layout.tables if table.header == header]
        if tables:
            expected[word] = tables[0] if word == "end" else tables
    found: dict[str, Any] = dict.fromkeys(data)
    for word in _HEADER_OF:
        value = data.get(word)
        if isinstance(value, dict):
            found[word] = [*value]
        elif isinstance(value, list):
            found[word] = [[*table] for table in value if isinstance(table, dict)]
    return found == expected


def _out_of_form(stray: str) -> tuple[str, str]:
    """Return what to say of a header or key that is not written our way, and what to write instead."""
    first = printable(stray.partition("\n")[0][:40])
    if not stray.startswith("["):
        return f"`{first}' is not how to write a setting", "write its name without quotes and dots: mtu = 1400"
    word = stray.strip("[] \t\"'")
    if word in _HEADER_OF:
        return f"`{first}' is not how to write it", f"write {_HEADER_OF[word]}, on a line of its own"
    return f"`{first}' is not known", nearest(stray, HEADERS)


def _misplaced(word: str, scope: str, scopes: tuple[str, ...]) -> tuple[str, str]:
    if TOP in scopes:
        return f"`{word}' has no place in a rule", "write it at the top of policy.toml, above the first rule"
    if scope == TOP:
        return f"`{word}' stands above the first rule", "move it below its [[allow]] or [[deny]]"
    return f"`{word}' has no place in a deny", "a deny has only " + ", ".join(names_in(DENY))


def _told(message: str, source: str) -> tuple[int, str, str]:
    """Return the line, the fault and the hint of what tomllib says."""
    what, _, where = message.rpartition(" (at ")
    words = where.rstrip(")").replace(",", "").split()  # `line 3, column 5`, or `end of document`
    if words[:1] == ["line"]:
        line, column = int(words[1]), f", column {words[3]}"
    else:
        line, column = source.count("\n") + (not source.endswith("\n")), ", end of file"
    hint = "a text stands in quotes, a list in [ ]"
    if "twice" in what:
        hint = "a rule begins with two brackets: [[allow]]"
    elif "overwrite" in what:
        hint = "each setting once in a rule; the next rule begins with [[allow]] or [[deny]]"
    elif source.startswith("\ufeff"):
        hint = "save the file without a byte order mark"
    what = printable(what[:1].lower() + what[1:])
    return line, f"not TOML: {what}{column}", hint
