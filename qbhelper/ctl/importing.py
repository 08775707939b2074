# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl import`: the policy that means what an access list means.

A line of the list counts for those who can read its file, and all files on the way to it.  Of each file it is worked
out who that is (readers.py), as a rule says it: each line becomes part of a rule for them.  Rules of an access list
have no order, nor have rules of a policy without settings, so lines for the same readers make one rule.
"""

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from qbhelper.ctl import people, writing
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, complain, say
from qbhelper.ctl.readers import MET, UNMET, Condition, Readers, all_but, one_of
from qbhelper.ctl.tree import ListFile, Tree, default_path, of_host
from qbhelper.errors import Problem, QbError, printable, reason
from qbhelper.policy import values
from qbhelper.policy.access_list import FILES_MAX, Rule
from qbhelper.policy.decision import Place
from qbhelper.policy.rules import scope_of
from qbhelper.policy.toml_file import parse
from qbhelper.policy.values import WrongValue
from qbhelper.policy.who import Ids, Who
from qbhelper.request import is_bridge_name


class NotToBeSaid(QbError):
    """No policy means the same; `problems` say where, and why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems
        super().__init__(str(problems[0]))


class NewRule:
    """A rule that is to be written.  bridges: None for all; places: the lines that it comes from."""

    def __init__(self, allow: bool, who: Who, note: str) -> None:
        self.allow = allow
        self.who = who
        self.note = note
        self.bridges: list[str] | None = []
        self.places: list[Place] = []

    def take(self, bridge: str | None, place: Place) -> None:
        """Have it speak of one more bridge, None for all."""
        self.places.append(place)
        if bridge is None:
            self.bridges = None
        elif self.bridges is not None and bridge not in self.bridges:
            self.bridges.append(bridge)


def run(file: str | None, *, name_users: bool) -> int:
    """Print the policy that means what the access list `file` means, by default that of this host."""
    try:
        tree = of_host() if file is None else Tree(os.path.abspath(os.fsencode(file)))
    except OSError as error:
        path = default_path() if file is None else os.fsencode(file)
        raise QbError(f"failed to read `{printable(path)}': {reason(error)}", "name an access list, as root") from error
    try:
        text = imported(tree, name_users=name_users)
    except NotToBeSaid as error:
        for problem in error.problems:
            complain(str(problem))
        return EXIT_NO
    say(text.removesuffix("\n"))
    return EXIT_YES


def imported(tree: Tree, *, name_users: bool = False) -> str:
    """Return the text of the policy that means what `tree` means.

    name_users: where no rule can say who reads a file, name the users of this host who can today.
    Raises NotToBeSaid if there is none.
    """
    if tree.problems or tree.closed:
        raise NotToBeSaid(tree.problems + tree.closed)
    importer = _Importer(tree, name_users)
    for file in tree.files:
        importer.take(file)
    if importer.problems:
        raise NotToBeSaid(importer.problems)
    text = "\n".join(_lines(tree, importer)) + "\n"
    _, problems = parse(("policy", text.encode()))
    if problems:
        raise QbError(f"internal error: {problems[0]}", "no policy was printed; please report this")
    return text


class _Importer:
    """Makes rules of the files of a tree.  remarks: what was left out; problems: what no rule can say."""

    def __init__(self, tree: Tree, name_users: bool) -> None:
        self.rules: dict[tuple[bool, str], NewRule] = {}
        self.remarks = [f"{problem.path}:{problem.line}: {problem.what}" for problem in tree.missing]
        self.problems: list[Problem] = []
        self._name_users = name_users
        self._of_all = frozenset(tree.files[0].ways[0].readers.gates)
        if len(tree.files) > FILES_MAX:
            self.remarks.append(f"who could read more than {FILES_MAX} files was refused everything, and is no more")

    def take(self, file: ListFile) -> None:
        """Make rules of what one file says."""
        for allow in (True, False):
            rules = [(rule, bridge) for rule in file.rules if rule.allow is allow for bridge in self._bridge_of(rule)]
            meant = self._who_of(file, allow) if rules else None
            if meant is None:
                continue
            who, note = meant
            if who.users is not None and who.groups is None and not who.users.ranges:
                self.remarks.append(f"{file.path}: nobody could read it")
                continue
            for rule, bridge in rules:
                key = (allow, scope_of(None, who))
                self.rules.setdefault(key, NewRule(allow, who, note)).take(bridge, rule.place)

    def _bridge_of(self, rule: Rule) -> Iterator[str | None]:
        """Yield the name of the rule's bridge as a policy has it, None for all; nothing if there can't be one."""
        if rule.bridge is None:
            yield None
        elif not is_bridge_name(rule.bridge):
            self.remarks.append(f"{rule.place}: `{printable(rule.bridge)}' can't be the name of a bridge")
        else:
            try:
                name = rule.bridge.decode()
                values.bridges(name)
                yield name
            except (UnicodeDecodeError, WrongValue):
                what = f"the name `{printable(rule.bridge)}' can't be written in a policy"
                hint = "take the line out, unless there is a bridge of this very name"
                self.problems.append(Problem(rule.place.path, rule.place.line, what, hint))

    def _who_of(self, file: ListFile, allow: bool) -> tuple[Who, str] | None:
        """Return whom the allows or the denies of a file are for, and what is to be said of that, or nothing."""
        who = file.who()
        if who is None and not allow:
            # Whoever can't read the list itself is refused everything, so a deny may count for them as well.
            whos = [Readers(gate for gate in way.readers.gates if gate not in self._of_all).who() for way in file.ways]
            who = None if None in whos else one_of(one for one in whos if one)
        if who is not None:
            return who, ""
        if self._name_users:
            return self._named(file, allow), f"the users of this host who could read {file.path} when this was written"
        way = next(way for way in file.main_ways() if way.readers.who() is None)
        place = way.include or Place(file.path, 0)
        what = f"no rule can say who reads `{file.path}' ({_in_words(way.readers)})"
        hint = "give it another mode or group; or import with --name-users, which names those who can today"
        if what not in [problem.what for problem in self.problems]:
            self.problems.append(Problem(place.path, place.line, what, hint))
        return None

    def _named(self, file: ListFile, allow: bool) -> Who:
        """Return those of this host's users who can read `file`; for a deny also all who are no users of it."""
        verdicts: dict[int, set[bool]] = {}
        for _, caller in people.people():
            can = any(all(gate.lets_pass(caller) for gate in way.readers.gates) for way in file.ways)
            verdicts.setdefault(caller.uid, set()).add(can)
        if allow:
            return Who(Ids((), [(uid, uid) for uid, found in verdicts.items() if found == {True}]))
        return all_but(uid for uid, found in verdicts.items() if found == {False})


def _in_words(readers: Readers) -> str:
    """Return in which groups who has to be to read what only `readers` can."""
    of_users = [f"{people.user_name(uid)}: {_condition(readers.condition(uid))}" for uid in sorted(readers.named)]
    return "; ".join([*of_users, f"others: {_condition(readers.condition(None))}"])


def _condition(condition: Condition) -> str:
    if condition in (MET, UNMET):
        return "always" if condition == MET else "never"
    clauses = sorted([sorted(map(people.group_name, groups)) for groups in clause] for clause in condition)
    return " and ".join(
        " or ".join([*(f"in {name}" for name in wanted), *(f"not in {name}" for name in unwanted)])
        for wanted, unwanted in clauses
    )


def _lines(tree: Tree, importer: _Importer) -> Iterator[str]:
    yield from _comment(f"What {tree.path} means, as a policy: by `qbhelperctl import'.")
    if importer.remarks:
        yield "#"
        yield "# Left out, because it says nothing:"
        for remark in importer.remarks:
            yield from _comment(f"  {remark}")
    for rule in importer.rules.values():
        yield ""
        yield from _comment(_told(rule.places))
        if rule.note:
            yield from _comment(f"For {rule.note}.")
        yield "[[allow]]" if rule.allow else "[[deny]]"
        yield from writing.setting("bridge", [(name, "") for name in rule.bridges or ["*"]])
        for word, ids, name_of in (
            ("users", rule.who.users, people.user_to_write),
            ("groups", rule.who.groups, people.group_to_write),
        ):
            if ids is not None:
                # By number in a deny: should the account be deleted one day, its name would mean everybody.
                yield from writing.setting(word, writing.entries_of(ids, name_of, by_name=rule.allow))
    yield ""
    yield "[end]"


def _told(places: Iterable[Place]) -> str:
    files = groupby(places, key=lambda place: place.path)
    return "; ".join(
        f"{path}: line{'s' if len(lines) > 1 else ''} {', '.join(lines)}"
        for path, lines in ((path, [str(place.line) for place in group]) for path, group in files)
    )


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, writing.WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False)
