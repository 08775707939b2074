# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy answers: never a bare yes or no, always with the place that decided."""

from qbhelper.policy.port import PLAIN_TERMS, Terms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Protocol

    class Verdicts(Protocol):
        """A policy as it stands for one caller: an AccessList, or a CallersPolicy (policy/rules.py)."""

        @property
        def path(self) -> str:
            """The file to name where nothing allows."""

        def decide(self, bridge: bytes, asked: bytes | None = None) -> "Decision":
            """Return the verdict on `bridge` (its canonical name), which was `asked` for by this name."""


class Place:
    """A line in a policy file; lines count from 1."""

    __slots__ = ("line", "path")

    def __init__(self, path: str, line: int) -> None:
        self.path: Final = path
        self.line: Final = line

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Decision:
    """Whether a bridge is allowed, and the line that decided; None where no line speaks of it.

    terms: on which terms, if it is allowed.  note: what else the caller of a refusal may be told, or empty.
    """

    __slots__ = ("allowed", "note", "place", "terms")

    def __init__(self, allowed: bool, place: Place | None, terms: Terms = PLAIN_TERMS, note: str = "") -> None:
        self.allowed: Final = allowed
        self.place: Final = place
        self.terms: Final = terms
        self.note: Final = note

    def __bool__(self) -> bool:
        raise TypeError("ask a decision for .allowed: its truth value would hide a refusal")
