# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy answers: never a bare yes or no, always with the place that decided."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


class Place:
    """A line in a policy file; lines count from 1."""

    __slots__ = ("line", "path")

    def __init__(self, path: str, line: int) -> None:
        self.path: Final = path
        self.line: Final = line

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Decision:
    """Whether a bridge is allowed, and the line that decided; None where no line speaks of it."""

    __slots__ = ("allowed", "place")

    def __init__(self, allowed: bool, place: Place | None) -> None:
        self.allowed: Final = allowed
        self.place: Final = place

    def __bool__(self) -> bool:
        raise TypeError("ask a decision for .allowed: its truth value would hide a refusal")
