# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the policy, or the access list, can be read completely, by who has to, and is right."""

import errno
import os
from collections.abc import Iterator

from qbhelper.broker.permission import READ
from qbhelper.ctl import check
from qbhelper.ctl.doctor import helper
from qbhelper.ctl.doctor.access import obstacle
from qbhelper.ctl.doctor.bridges import all_bridges
from qbhelper.ctl.doctor.finding import Finding, State, Subject, word
from qbhelper.ctl.doctor.verdict import POLICY, command_to_allow
from qbhelper.errors import Problem, QbError, printable
from qbhelper.sources import ACCESS_LISTS, UntrustedError, require_trust

STATION = "policy"
_MOST = 5
"""Problems to be told: who mends these looks again."""


def look(subject: Subject) -> Iterator[Finding]:
    """Say how things are with what rules this host.  Raises OSError."""
    report = check.report_of_host()
    for problem in report.errors[:_MOST]:
        yield _finding(problem, subject)
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
    remedy = _remedy(problem, subject)
    hint = "" if remedy else f"; {problem.hint}"
    place = f"{problem.path}:{problem.line}" if problem.line else problem.path
    return Finding(STATION, State.PROBLEM, f"{place}: {problem.what}{hint}", remedy)


def _remedy(problem: Problem, subject: Subject) -> str:
    """Return the command that mends a problem of a file as a whole, if one can."""
    if problem.line != 0:
        return ""
    try:
        require_trust(os.stat(problem.path))
    except UntrustedError:
        return f"chown root {word(problem.path)} && chmod go-w {word(problem.path)}"
    except FileNotFoundError:
        if os.path.lexists(problem.path):
            return ""
        if problem.path == POLICY:
            return f"echo '[end]' | install -D -m 0644 /dev/stdin {POLICY}"
        if problem.path in map(printable, ACCESS_LISTS):
            return _command_to_begin(subject)
    except OSError:
        pass
    return ""


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
    for path in lists if helper.takes_broker(subject.person) else policies + lists:
        kept = obstacle(path, (READ,), subject.person.caller)
        if kept is not None:
            what = f"{subject.person.name} can't read {path}, but has to: {kept.path} does not let them"
            yield Finding(STATION, State.PROBLEM, what, kept.remedy)


def _command_to_open(problem: Problem, subject: Subject) -> str:
    kept = obstacle(problem.path, (READ,), subject.person.caller)
    return kept.remedy if kept else ""
