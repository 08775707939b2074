# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom a rule speaks of: users or groups, by name, number or range of numbers."""

from qbhelper.policy.values import WrongValue, integer, listed, show, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final, Protocol

    from qbhelper.request import Caller

    class Accounts(Protocol):
        """What names of accounts mean on this host."""

        def uid_of(self, name: str) -> int | None:
            """Return the uid of a user, None if there is none of this name."""

        def gid_of(self, name: str) -> int | None:
            """Return the gid of a group, None if there is none of this name."""


ID_MAX = 2**32 - 2
"""The kernel keeps the number above for "no change" (chown(2))."""
_EXAMPLE = '["alice", 1000, "2000-2999"]'
_IN_NUMBERS = frozenset("0123456789-.: ")
_IN_NO_NAME = frozenset(":/,*\x7f")


class Ids:
    """Some accounts: names, and ranges of numbers with both ends, ascending and apart from each other."""

    __slots__ = ("names", "ranges")

    def __init__(self, names: "Iterable[str]", ranges: "Iterable[tuple[int, int]]") -> None:
        self.names: Final = tuple(sorted(names))
        self.ranges: Final = _merged(ranges)

    def __str__(self) -> str:
        ranges = (str(low) if low == high else f"{low}-{high}" for low, high in self.ranges)
        return ", ".join((*self.names, *ranges))

    def have(self, numbers: "Iterable[int]", number_of: "Callable[[str], int | None]") -> bool | None:
        """Whether one of `numbers` is among these; None if none was found, and a name among these is not known."""
        numbers = frozenset(numbers)
        if any(low <= number <= high for low, high in self.ranges for number in numbers):
            return True
        meant = [number_of(name) for name in self.names]
        if not numbers.isdisjoint(number for number in meant if number is not None):
            return True
        return None if None in meant else False


def _merged(ranges: "Iterable[tuple[int, int]]") -> tuple[tuple[int, int], ...]:
    """Return the same numbers in the fewest ranges: what a rule means, however it is written."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


class Who:
    """The callers that a rule speaks of: everyone, or who is among its users or in one of its groups."""

    __slots__ = ("groups", "users")

    def __init__(self, users: Ids | None = None, groups: Ids | None = None) -> None:
        self.users: Final = users
        self.groups: Final = groups

    def __str__(self) -> str:
        users, groups = (
            f"{word} {ids}" if ids else "" for word, ids in (("users", self.users), ("groups", self.groups))
        )
        return " or ".join(filter(None, (users, groups))) or "everyone"

    def includes(self, caller: "Caller", accounts: "Accounts") -> bool | None:
        """Whether `caller` is meant; None if they are not, as far as the names are known, and some are not known."""
        if self.users is None and self.groups is None:
            return True
        answers: list[bool | None] = []
        if self.users is not None:
            answers.append(self.users.have((caller.uid,), accounts.uid_of))
        if self.groups is not None and True not in answers:
            answers.append(self.groups.have((caller.gid, *caller.groups), accounts.gid_of))
        return True if True in answers else None if None in answers else False


def parse_ids(value: object) -> Ids:
    """Parse the names, numbers and ranges of `users` or `groups`.  Raises WrongValue."""
    names: list[str] = []
    ranges: list[tuple[int, int]] = []
    for entry in listed(value, _parse_entry, _EXAMPLE):
        if isinstance(entry, str):
            names.append(entry)
        else:
            ranges.append(entry)
    return Ids(names, ranges)


def _parse_entry(entry: object) -> str | tuple[int, int]:
    if isinstance(entry, int):
        number = integer(0, ID_MAX)(entry)
        return number, number
    word = text(entry, _EXAMPLE)
    begin, dash, end = word.partition("-")
    if _is_number(begin) and (_is_number(end) if dash else True):
        low, high = (integer(0, ID_MAX)(int(part)) for part in (begin, end if dash else begin))
        if low > high:
            raise WrongValue((f"{show(entry)} ends before it begins", f'write "{high}-{low}"'))
        return low, high
    if word == "*":
        raise WrongValue(('"*" is no account', "for everyone leave `users' and `groups' away"))
    if word[:1] in ("@", "%", "+"):
        raise WrongValue((f"{show(entry)} is no account", f'for a group: groups = ["{word[1:]}"]'))
    if _IN_NUMBERS.issuperset(word):
        raise WrongValue((f"{show(entry)} is no number, and no range of them", f"as {_EXAMPLE}"))
    # Blanks are left: domains have groups like `domain users`.
    if word != word.strip() or not word.isprintable() or not _IN_NO_NAME.isdisjoint(word):
        raise WrongValue(
            (f"{show(entry)} can't be the name of an account", f"each in quotes of its own, as {_EXAMPLE}")
        )
    return word


def _is_number(part: str) -> bool:
    """Whether these are digits: at most as many as an id has, and not begun with a zero, which to some means octal."""
    return part.isascii() and part.isdigit() and len(part) <= 10 and (part == "0" or part[0] != "0")
