# SPDX-License-Identifier: GPL-2.0-or-later
"""What the doctor finds at one station of the way."""

import enum
from dataclasses import dataclass

from qbhelper.ctl.people import Person


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
