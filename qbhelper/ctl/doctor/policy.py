# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the policy, or the access list, can be read completely, by who has to, and is right."""

import errno
import os
from collections.abc import Iterator

from qbhelper.broker.permission import READ, SEARCH
from qbhelper.ctl import check
from qbhelper.ctl.doctor import helper
from qbhelper.ctl.doctor.access import Obstacle, obstacle
from qbhelper.ctl.doctor.bridges import all_bridges
from qbhelper.ctl.doctor.finding import Finding, State, Subject, word
from qbhelper.ctl.doctor.verdict import DROP_INS, POLICY, command_to_allow
from qbhelper.ctl.people import Person
from qbhelper.errors import Problem, QbError, printable
from qbhelper.sources import ACCESS_LISTS, UntrustedError, require_trust

STATION = "policy"
_MOST = 5
"""Problems to be told: who mends these looks again."""


def look(subject: Subject) -> Iterator[Finding]:
    """Say how things are with what rules this host.  Raises OSError."""
    report = check.report_of_host()
    # A directory that others may change is told of for each file in it.
    yield from dict.fromkeys(_finding(problem, subject) for problem in report.errors[:_MOST])
    if len(report.errors) > _MOST:
        yield Finding(
            STATION, State.PROBLEM, f"and {len(report.errors) - _MOST} more: qbhelperctl check tells them all"
        )
    closed = [*_closed(report, subject)]
    yield from closed
    if not (report.errors or closed):
        yield Finding(STATION, State.OK, check.summary(report))


def _finding(problem: Problem, subject: Subject) -> Finding:
    if problem.line == 0 and problem.what == os.strerror(errno.EACCES) and os.geteuid() != 0:
        if helper.takes_broker(subject.person):
            return Finding(STATION, State.UNKNOWN, f"{problem.path}: only root and the broker can read it")
        return Finding(STATION, State.PROBLEM, f"{problem.path}: {problem.what}", _command_to_open(problem, subject))
    if (untrusted := _untrusted(problem)) is not None:
        what = f"{untrusted}: others than root can change it, so it counts for nobody; look at what is in it, first"
        remedy = f"chown root {word(untrusted)} && chmod go-w {word(untrusted)}"
        return Finding(STATION, State.PROBLEM, what, remedy)
    remedy = _remedy(problem, subject)
    hint = "" if remedy else f"; {problem.hint}"
    place = f"{problem.path}:{problem.line}" if problem.line else problem.path
    return Finding(STATION, State.PROBLEM, f"{place}: {problem.what}{hint}", remedy)


def _untrusted(problem: Problem) -> str | None:
    """Return what a problem of a file as a whole is about, if it is that others may change it, or its directory."""
    is_policy = problem.path.startswith(f"{os.path.dirname(POLICY)}/")  # the access list is trusted as QEMU trusts it
    for path in (os.path.dirname(problem.path), problem.path) if problem.line == 0 and is_policy else ():
        try:
            require_trust(os.stat(path))
        except UntrustedError:
            return path
        except OSError:
            continue
    return None


def _remedy(problem: Problem, subject: Subject) -> str:
    """Return the command that mends a problem of a file as a whole, if one can."""
    if problem.line != 0 or os.path.lexists(problem.path):
        return ""
    if problem.path == POLICY:
        return f"echo '[end]' | install -D -m 0644 /dev/stdin {POLICY}"
    return _command_to_begin(subject) if problem.path in map(printable, ACCESS_LISTS) else ""


def _command_to_begin(subject: Subject) -> str:
    """Return what makes a first rule: for the bridge that is asked about, or the only one."""
    bridge = subject.bridge
    if bridge is None:
        try:
            names = all_bridges()
        except QbError:
            return ""
        if len(names) != 1:
            return ""
        bridge = names[0]
    return command_to_allow(subject.person, printable(bridge))


def _closed(report: check.Report, subject: Subject) -> Iterator[Finding]:
    """Say which files are closed to the person, of those that we may read and they have to.

    An access list rules whoever can read it, with or without a broker.  The policy the broker reads for all; without
    one the helper does, as its caller.
    """
    missing = [problem.path for problem in report.errors if problem.line == 0]
    checked = [(path, kind) for path, kind in report.checked if path not in missing]
    lists = [path for path, kind in checked if kind == check.ACCESS_LIST][:1]  # what it includes they may miss
    policies = [path for path, kind in checked if kind == check.POLICY]
    if os.path.isdir(DROP_INS) and DROP_INS not in missing:
        policies.insert(0, DROP_INS)
    told = set()
    for path in lists if helper.takes_broker(subject.person) else policies + lists:
        kept = _kept_from(path, subject.person)
        if kept is not None and kept.path not in told:
            told.add(kept.path)
            what = f"{subject.person.name} can't read {path}, but has to: {kept.path} does not let them"
            yield Finding(STATION, State.PROBLEM, what, kept.command(subject.person))


def _kept_from(path: str, person: Person) -> Obstacle | None:
    return obstacle(path, (READ, SEARCH) if os.path.isdir(path) else (READ,), person.caller)


def _command_to_open(problem: Problem, subject: Subject) -> str:
    kept = _kept_from(problem.path, subject.person)
    return kept.command(subject.person) if kept else ""
