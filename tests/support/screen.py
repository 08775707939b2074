# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demo shows: headings, progress, a drawing of the bridge.  At most 80 columns.

Colour and live lines are for terminals only; a locale without these characters gets ASCII.
"""

import locale
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 80
INDENT = "   "

COLOURS = {"heading": "1;36", "good": "32", "bad": "1;31", "quiet": "2", "strong": "1", "busy": "33"}

IN_ASCII = str.maketrans(
    {"✓": "ok", "✗": "FAILED", "─": "-", "│": "|", "●": "*", "○": "o", "→": ">", "…": "...", "·": "-"}
    | dict.fromkeys("┌┐└┘┬┴", "+")
)
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
SPINNER_IN_ASCII = "|/-\\"


@dataclass(frozen=True)
class Port:
    """One port of the bridge in the drawing, and the machine behind it."""

    name: str
    mac: str
    is_up: bool
    machine: Sequence[str]
    """The lines in the box of the machine."""


class Screen:
    """Where the demo is printed."""

    def __init__(self, colour: str = "auto") -> None:
        """`colour` is always, never or auto: when it is a terminal that wants it."""
        locale.setlocale(locale.LC_CTYPE, "")
        # Python itself may write UTF-8 under LC_ALL=C; what the terminal shows, the locale says.
        self._ascii = locale.nl_langinfo(locale.CODESET).upper().replace("-", "") != "UTF8"
        # With colour asked for, a pipe is still no place to move the cursor in.
        self._live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        wants_colour = self._live and "NO_COLOR" not in os.environ
        self._colour = wants_colour if colour == "auto" else colour == "always"
        self._live_lines = 0
        self._frame = 0

    def paint(self, text: str, style: str) -> str:
        """The text in a style of ours, where there is colour."""
        return f"\033[{COLOURS[style]}m{text}\033[0m" if self._colour else text

    def line(self, text: str = "", style: str | None = None) -> None:
        """One line; one that is too long is cut."""
        if len(text) > WIDTH - len(INDENT) and "\033" not in text:
            text = text[: WIDTH - len(INDENT) - len("...")] + "…"
        if style is not None:
            text = self.paint(text, style)
        self._print(INDENT + text if text else "")

    def _print(self, text: str) -> None:
        print(text.translate(IN_ASCII) if self._ascii else text, flush=True)

    def title(self, text: str) -> None:
        """The first line of all."""
        self._print("")
        self._print(self.paint(text, "strong"))

    def heading(self, text: str) -> None:
        """The heading of a step, as a rule across the screen."""
        self._print("")
        self._print(self.paint(f"── {text} ".ljust(WIDTH, "─"), "heading"))

    def quote(self, text: str) -> None:
        """What a program said, whole: what is too long goes on in the next line."""
        for line in text.splitlines():
            for part in textwrap.wrap(line, WIDTH - 2 * len(INDENT), subsequent_indent="  "):
                self.line(INDENT + part, "busy")

    def command(self, text: str) -> None:
        """A command, as a reader would type it."""
        self.line(f"$ {text}", "quiet")

    def verdict(self, text: str, *, holds: bool) -> None:
        """A claim, ticked or crossed."""
        mark = self.paint("✓", "good") if holds else self.paint("✗", "bad")
        self._print(f"{INDENT}{mark} {text}")

    def trouble(self, text: str) -> None:
        """Why something failed, whole."""
        for line in text.splitlines():
            for part in textwrap.wrap(line, WIDTH - len(INDENT) - 2) or [""]:
                self._print(INDENT + self.paint("│ ", "bad") + part)

    def live(self, lines: Sequence[str]) -> None:
        """Show these lines in place of the last live ones; on anything but a terminal do nothing."""
        if not self._live:
            return
        if self._live_lines:
            sys.stdout.write(f"\033[{self._live_lines}A\033[J")
        for line in lines:
            self.line(line)
        self._live_lines = len(lines)

    def live_ends(self) -> None:
        """Take the live lines away; what comes next stands in their place."""
        self.live([])

    def spinner(self) -> str:
        """One character that is another one each time."""
        self._frame += 1
        frames = SPINNER_IN_ASCII if self._ascii else SPINNER
        return frames[self._frame % len(frames)]

    def draw_bridge(self, title: str, ports: Sequence[Port]) -> None:
        """Draw the bridge with its ports side by side, and a box for the machine behind each."""
        room = (WIDTH - 2 * len(INDENT)) // len(ports)
        box = room - 4
        centre = (room - 1) // 2
        edge = "".join("┬" if place % room == centre else "─" for place in range(room * len(ports)))

        def row(*cells: str) -> None:
            self.line("  " + "".join(_centred(cell, room, centre) for cell in cells).rstrip())

        self.line(f" ┌{'─' * len(edge)}┐")
        self.line(f" │{title.center(len(edge))}│")
        self.line(f" └{edge}┘")
        states = [(f"{port.name} {'● up' if port.is_up else '○ down'}", port.is_up) for port in ports]
        names = "  " + "".join(_centred(state, room, centre) for state, _ in states).rstrip()
        for state, is_up in states:
            names = names.replace(state, self.paint(state, "good" if is_up else "bad"), 1)
        self.line(names)
        row(*(port.mac for port in ports))
        row(*("│" for _ in ports))
        row(*("┌" + "─" * ((box - 3) // 2) + "┴" + "─" * ((box - 2) // 2) + "┐" for _ in ports))
        for number in range(max(len(port.machine) for port in ports)):
            texts = (port.machine[number] if number < len(port.machine) else "" for port in ports)
            row(*(f"│{_centred(text, box - 2, (box - 3) // 2)}│" for text in texts))
        row(*(f"└{'─' * (box - 2)}┘" for _ in ports))


def _centred(text: str, room: int, centre: int) -> str:
    """The text in a field of this width, its middle at `centre`."""
    before = max(centre - (len(text) - 1) // 2, 0)
    return (" " * before + text).ljust(room)
