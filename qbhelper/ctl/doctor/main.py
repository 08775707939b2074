# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor's round: each station in the order in which a grant, and then a frame, comes by."""

from collections.abc import Callable, Iterator

from qbhelper.ctl import people
from qbhelper.ctl.doctor.finding import Finding, State, Subject
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, say, say_json

Station = Callable[[Subject], Iterator[Finding]]

STATIONS: tuple[Station, ...] = ()


def run(user: str | None, bridge: bytes | None, *, as_json: bool) -> int:
    """Look at each station and print what was found; EXIT_NO if there is a problem.  Raises QbError."""
    person = people.this_person() if user is None else people.person_named(user)
    found = [finding for station in STATIONS for finding in station(Subject(person, bridge))]
    if as_json:
        say_json({"findings": [{"station": each.station, "state": each.state.value} for each in found]})
    else:
        for finding in found:
            say(f"{finding.state.value}: {finding.what}")
    return EXIT_NO if any(finding.state is State.PROBLEM for finding in found) else EXIT_YES
