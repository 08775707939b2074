# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor finds at one station of the way."""

import enum
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from qbhelper.ctl.people import Person
from qbhelper.errors import printable

_FEW = 4
"""Names in a sentence."""


class State(enum.Enum):
    """How things are; the values are what is printed."""

    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Finding:
    """station: what was looked at, one or two words, the same each time; what: how it is, one line, lower case.

    remedy: the one command that mends it, ready to be run by root unless it says otherwise; empty where all is well,
    or where no command can (then `what` says what to do).
    """

    station: str
    state: State
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Subject:
    """Whose way it is, and where to.  bridge: as it would be asked for, None: each that the person may use."""

    person: Person
    bridge: bytes | None


def listed(names: Sequence[bytes]) -> str:
    """Return names for people: the first few of them, and how many more there are."""
    few = ", ".join(map(printable, names[:_FEW]))
    return f"{few} and {len(names) - _FEW} more" if len(names) > _FEW else few


def word(name: bytes | str) -> str:
    """Return a name as one word of a remedy: whatever is in it, a shell takes it for a name."""
    return shlex.quote(printable(name))
