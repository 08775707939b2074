# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl show`: the rules in their order, as a table."""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from qbhelper import sources
from qbhelper.ctl import people, terms
from qbhelper.ctl.output import EXIT_YES, TIED, paint, say, say_json, table, width
from qbhelper.ctl.tree import Tree, default_path, of_host
from qbhelper.errors import AccessListError, printable, reason
from qbhelper.policy.decision import Place
from qbhelper.policy.rules import Policy
from qbhelper.policy.who import Ids, Who

if TYPE_CHECKING:
    from qbhelper.policy.port import Terms
    from qbhelper.policy.rules import Day

_HEAD = ("line", "rule", "bridges", "who", "terms")
_INDENT = "  "
_TIED_MAX = 24
"""Characters of a term that is kept on one line."""


class Row:
    """A rule as it is shown.

    bridges: `*` for all; who: in words; meant: the same for a program, None where no rule can say it; expires: the last
    day; given: the settings of an allow of the policy, None for any other.
    """

    def __init__(self, place: Place, allow: bool, bridges: Sequence[str], who: str, meant: Who | None) -> None:
        self.place = place
        self.allow = allow
        self.bridges = bridges
        self.who = who
        self.meant = meant
        self.expires: Day | None = None
        self.given: Terms | None = None

    def has_expired(self) -> bool:
        """Whether it counts no more."""
        return self.expires is not None and self.expires < time.localtime()[:3]

    def terms(self) -> str:
        """Return what it gives, in words."""
        words = terms.in_words(self.given) if self.given else []
        if self.expires:
            words = [f"{'expired' if self.has_expired() else 'until'} {_date(self.expires)}", *words]
        return ", ".join(word.replace(" ", TIED) if len(word) <= _TIED_MAX else word for word in words)


def run(*, as_json: bool) -> int:
    """Print the rules of this host.  Raises PolicyError or AccessListError where there is an error in them."""
    policy = sources.read_policy()
    rows = [*_rows_of_policy(policy)] if policy else []
    if policy is None or policy.qemu_acl:
        rows += _rows_of_tree(_tree())
    if as_json:
        ruled_by = (["policy"] if policy else []) + (["access list"] if policy is None or policy.qemu_acl else [])
        say_json({"ruled_by": ruled_by, "rules": [_as_json(row) for row in rows]})
    else:
        _print(rows)
    return EXIT_YES


def _rows_of_policy(policy: Policy) -> Iterator[Row]:
    for rule in policy.rules:
        bridges = ["*"] if rule.bridges is None else sorted(printable(name) for name in rule.bridges)
        row = Row(rule.place, rule.allow, bridges, printable(str(rule.who)), rule.who)
        row.expires = rule.expires
        row.given = rule.terms if rule.allow else None
        yield row


def _tree() -> Tree:
    try:
        tree = of_host()
    except OSError as error:
        raise AccessListError(
            f"{printable(default_path())}: {reason(error)}", "`qbhelperctl check' says more"
        ) from error
    if tree.problems:
        raise AccessListError(str(tree.problems[0]), "`qbhelperctl check' says all")
    return tree


def _rows_of_tree(tree: Tree) -> Iterator[Row]:
    for file in tree.files:
        who = file.who()
        told = "who can read the file" if who is None else people.told(who)
        for rule in file.rules:
            yield Row(rule.place, rule.allow, ["*" if rule.bridge is None else printable(rule.bridge)], told, who)


def _print(rows: Sequence[Row]) -> None:
    if not rows:
        say("there is no rule: nothing is allowed to anybody")
        return
    cells = [
        (str(row.place.line), "allow" if row.allow else "deny", ", ".join(row.bridges), row.who, row.terms())
        for row in rows
    ]
    columns = len(_HEAD) if any(cell[-1] for cell in cells) else len(_HEAD) - 1
    laid_out = table([cell[:columns] for cell in (_HEAD, *cells)], width() - len(_INDENT), right=frozenset({0}))
    head, *lines_of_rows = ([_INDENT + line for line in lines] for lines in laid_out)
    say(paint(head[0], "quiet"))
    for path, group in groupby(zip(rows, lines_of_rows, strict=True), key=lambda pair: pair[0].place.path):
        say(paint(path, "strong"))
        for row, lines in group:
            for line in lines:
                say(_painted(line, row))


def _painted(line: str, row: Row) -> str:
    if row.has_expired():
        return paint(line, "quiet")
    word, style = ("allow", "good") if row.allow else ("deny", "bad")
    return line.replace(f" {word} ", f" {paint(word, style)} ", 1)


def _date(day: "Day") -> str:
    return "{:04}-{:02}-{:02}".format(*day)


def _as_json(row: Row) -> object:
    users, groups = (row.meant.users, row.meant.groups) if row.meant else (Ids((), ()), Ids((), ()))
    return {
        "file": row.place.path,
        "line": row.place.line,
        "verdict": "allow" if row.allow else "deny",
        "bridges": [*row.bridges],
        "who": row.who,
        "users": _ids_as_json(users),
        "groups": _ids_as_json(groups),
        "expires": _date(row.expires) if row.expires else None,
        "settings": terms.values_of(row.given) if row.given else None,
    }


def _ids_as_json(ids: Ids | None) -> object:
    if ids is None:
        return None
    return [*ids.names, *(low if low == high else f"{low}-{high}" for low, high in ids.ranges)]
