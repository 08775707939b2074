# SPDX-License-Identifier: GPL-2.0-or-later
"""The doctor's round: each station in the order in which a grant, and then a frame, comes by."""

import os
from collections.abc import Callable, Iterator

from qbhelper.ctl import people
from qbhelper.ctl.doctor import bridge as bridge_itself
from qbhelper.ctl.doctor import (
    confinement,
    device,
    drawing,
    firewall,
    helper,
    libvirt,
    managers,
    policy,
    qemu,
    verdict,
)
from qbhelper.ctl.doctor.finding import Finding, State, Subject
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, say, say_json
from qbhelper.ctl.words import require_bridge_name
from qbhelper.errors import QbError, printable, reason

Station = Callable[[Subject], Iterator[Finding]]

STATIONS: tuple[Station, ...] = (
    device.look,
    helper.look,
    policy.look,
    verdict.look,
    qemu.look,
    libvirt.look,
    confinement.look,
    bridge_itself.look,
    firewall.look,
    managers.look,
)
"""First what has to be there for a grant, then what its frames meet."""


def run(user: str | None, bridge: bytes | None, *, as_json: bool) -> int:
    """Look at each station and print what was found; EXIT_NO if there is a problem.  Raises QbError."""
    if bridge is not None:
        require_bridge_name(bridge)
    subject = Subject(people.asked_about(user, "doctor"), bridge)
    found = [finding for station in STATIONS for finding in _visit(station, subject)]
    if as_json:
        say_json({"findings": [_as_json(finding) for finding in found]})
    else:
        for line in drawing.drawn(found):
            say(line)
    return EXIT_NO if any(finding.state is State.PROBLEM for finding in found) else EXIT_YES


def _visit(station: Station, subject: Subject) -> Iterator[Finding]:
    """Yield what is found there.  Where one can't go on, it is said, and the others are still visited."""
    name = station.__module__.rpartition(".")[2]
    try:
        yield from station(subject)
    except QbError as error:
        yield Finding(name, State.UNKNOWN, str(error))
    except OSError as error:
        where = f"`{printable(os.fsencode(error.filename))}': " if error.filename else ""
        yield Finding(name, State.UNKNOWN, f"{where}{reason(error)}")
    except Exception as error:  # noqa: BLE001  a host that nobody thought of must not hide what else was found
        what = f"internal error: {type(error).__name__}: {error}; please report this"
        yield Finding(name, State.UNKNOWN, what)


def _as_json(finding: Finding) -> dict[str, object]:
    return {
        "station": finding.station,
        "state": finding.state.value,
        "what": printable(finding.what),
        "remedy": printable(finding.remedy) or None,
    }
