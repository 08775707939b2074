# SPDX-License-Identifier: GPL-2.0-or-later
"""What `qbhelperctl doctor` draws for people: a paragraph for each finding, and below it the command that mends it."""

import re
import textwrap
from collections.abc import Iterator, Sequence

from qbhelper.ctl.doctor.finding import Finding, State
from qbhelper.ctl.output import counted, paint, width
from qbhelper.errors import printable

PROMPT = "# "
"""Root's, before a command.  To a shell that is given the whole line it is a comment, and nothing happens."""
_GAP = "  "
_STYLES = {State.OK: "good", State.PROBLEM: "bad", State.UNKNOWN: "doubtful"}
_STATE_WIDTH = max(len(state.value) for state in State)
_AFTER_AN_OPERATOR = re.compile(r"(?<= &&) |(?<= \|) | (?=# or: )")
"""Where a command can go on below and is still the same to a shell that gets both lines."""


def drawn(findings: Sequence[Finding]) -> list[str]:
    """Return the lines that show them, in the width of the terminal."""
    stations = max((len(finding.station) for finding in findings), default=0)
    lines = [line for finding in findings for line in _finding(finding, stations)]
    return [*lines, _summary(findings)]


def _finding(finding: Finding, stations: int) -> Iterator[str]:
    indent = " " * (stations + _STATE_WIDTH + 2 * len(_GAP))
    head = f"{finding.station:{stations}}{_GAP}"
    room = width() - len(indent)
    first, *others = textwrap.wrap(printable(finding.what), room, break_on_hyphens=False) or [""]
    state = paint(finding.state.value, _STYLES[finding.state])
    yield f"{head}{state}{' ' * (_STATE_WIDTH - len(finding.state.value))}{_GAP}{first}".rstrip()
    for line in others:
        yield indent + line
    yield from _remedy(printable(finding.remedy))


def _remedy(command: str) -> Iterator[str]:
    """Yield it in lines of which each can be copied; a word that is too long for the terminal stays whole."""
    if not command:
        return
    parts = [command]
    if len(command) > width() - len(_GAP + PROMPT):
        parts = _AFTER_AN_OPERATOR.split(command)
    yield _GAP + paint(PROMPT + parts[0], "strong")
    for part in parts[1:]:
        yield _GAP + " " * len(PROMPT) + paint(part, "strong")


def _summary(findings: Sequence[Finding]) -> str:
    problems, unknown = (
        sum(finding.state is state for finding in findings) for state in (State.PROBLEM, State.UNKNOWN)
    )
    text = paint(counted(problems, "problem"), "bad") if problems else ""
    if not problems:
        text = paint("no problem found", "good")
    return f"{text}, {paint(f'{unknown} that cannot be told', 'doubtful')}" if unknown else text
