# SPDX-License-Identifier: GPL-2.0-or-later
"""What is printed: lines, tables of at most the terminal's width, JSON.  Colour is for terminals that want it."""

import json
import os
import sys
import textwrap
from collections.abc import Sequence

EXIT_YES = 0
EXIT_NO = 1
EXIT_UNANSWERED = 2
"""The question could not be answered, or was none."""

WIDTH = 80
WIDTH_MAX = 120
"""Beyond that, lines are hard to follow."""
TIED = "\xa0"
_NARROWEST = 6
_GAP = "  "
_STYLES = {"good": "32", "bad": "31", "doubtful": "33", "strong": "1", "quiet": "2"}


def say(text: str = "") -> None:
    """Print a line of the answer."""
    sys.stdout.write(text + "\n")


def say_json(answer: object) -> None:
    """Print the answer for a program."""
    say(json.dumps(answer, indent=2))


def complain(text: str) -> None:
    """Print, on stderr, why there is no answer."""
    sys.stdout.flush()
    sys.stderr.write(f"qbhelperctl: {text}\n")


def paint(text: str, style: str) -> str:
    """Return the text in a style: only on a terminal, and not if NO_COLOR is set (no-color.org)."""
    wanted = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    return f"\033[{_STYLES[style]}m{text}\033[0m" if wanted else text


def width() -> int:
    """Return how many columns there are to print in."""
    try:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return WIDTH
    # Some terminals, as serial consoles, say 0.
    return min(max(columns, WIDTH // 2), WIDTH_MAX) if columns else WIDTH


def table(rows: Sequence[Sequence[str]], room: int, *, right: frozenset[int] = frozenset()) -> list[list[str]]:
    """Lay out rows of cells in columns, in `room` characters; return the lines of each row.

    What is too long for its column goes on below; where TIED stands for a space no line ends, if it can be helped.
    right: columns whose cells are aligned there.
    """
    widths = _widths([*zip(*rows, strict=True)], room)
    found = []
    for row in rows:
        cells = [_wrapped(cell, wide) for cell, wide in zip(row, widths, strict=True)]
        lines = []
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            lines.append(
                _GAP.join(
                    part.rjust(wide) if column in right else part.ljust(wide)
                    for column, (part, wide) in enumerate(zip(parts, widths, strict=True))
                ).rstrip()
            )
        found.append(lines)
    return found


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int]:
    """Return how wide each column is: the widest give way first, as long as no word has to be broken."""
    widths = [max(map(len, cells)) for cells in columns]
    words = [max(len(word) for cell in cells for word in (cell.split(" ") or [""])) for cells in columns]
    for floors in (words, [_NARROWEST] * len(widths)):
        while sum(widths) + len(_GAP) * (len(widths) - 1) > room:
            spare = [wide if wide > floor else 0 for wide, floor in zip(widths, floors, strict=True)]
            if not any(spare):
                break
            widths[spare.index(max(spare))] -= 1
    return widths


def _wrapped(cell: str, wide: int) -> list[str]:
    return [line.replace(TIED, " ") for line in textwrap.wrap(cell, wide, break_on_hyphens=False)] or [""]


def counted(number: int, thing: str) -> str:
    """Return how many there are of a thing, which is named in the singular."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
