# SPDX-License-Identifier: GPL-2.0-or-later
"""What the policy, or the access list, says of this person: which line decides, and whether ports are left."""

import os
import re
from collections.abc import Iterator

from qbhelper import sources
from qbhelper.ctl import people
from qbhelper.ctl.doctor.bridges import verdicts
from qbhelper.ctl.doctor.finding import Finding, State, Subject, listed, word
from qbhelper.ctl.explain import Answer
from qbhelper.ctl.people import Person
from qbhelper.ctl.tree import default_path
from qbhelper.errors import printable

STATION = "verdict"
POLICY = os.fsdecode(sources.DIRECTORY + b"/" + sources.POLICY)
DROP_INS = os.fsdecode(sources.DIRECTORY + b"/" + sources.DROP_INS)
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""Of a bridge or a user, if it can be written into a command and a policy without a second thought."""


def look(subject: Subject) -> Iterator[Finding]:
    """Say what the person may.  Raises QbError if that can't be told."""
    answers = verdicts(subject)
    allowed = [answer for answer in answers if answer.decision.allowed]
    for answer in allowed:
        yield _of_allowed(answer)
    if not allowed:
        if subject.bridge is None:
            yield _of_none(subject.person, answers)
        else:
            yield _of_denied(subject.person, answers[0])


def _of_allowed(answer: Answer) -> Finding:
    terms = answer.decision.terms
    what = f"{answer.person.name} may use {printable(answer.asked)}: {answer.why}"
    for taken, most, whose in zip(
        answer.taken or (), (terms.max_ports, terms.max_ports_total), ("they have", "there are"), strict=False
    ):
        if most is not None and taken >= most:
            what += f", but {whose} all {most} ports of it now: end one of the guests (qbhelperctl status)"
            return Finding(STATION, State.PROBLEM, what)
        if most is not None:
            what += f"; {whose} {taken} of {most} ports now"
    return Finding(STATION, State.OK, what)


def _of_none(person: Person, answers: list[Answer]) -> Finding:
    if not answers:
        return Finding(STATION, State.UNKNOWN, "there is no bridge that the policy could allow")
    if len(answers) == 1 or not answers[0].is_decided:
        return _of_denied(person, answers[0])
    names = [answer.asked for answer in answers]
    what = f"{person.name} may use none of {listed(names)}; name one, and see what to do: --bridge {word(names[0])}"
    return Finding(STATION, State.PROBLEM, f"{what}{_note(person)}")


def _of_denied(person: Person, answer: Answer) -> Finding:
    if not answer.is_decided:
        what = f"{person.name} may use no bridge as long as the policy can't be read completely"
        return Finding(STATION, State.PROBLEM, what)
    what = f"{person.name} may not use {printable(answer.asked)}: {answer.why}{_note(person)}"
    if answer.decision.place is not None:
        return Finding(STATION, State.PROBLEM, f"{what}; if they should, change that line")
    name = printable(answer.bridge.name if answer.bridge else answer.asked)
    return Finding(STATION, State.PROBLEM, what, "" if answer.decision.note else command_to_allow(person, name))


def _note(person: Person) -> str:
    return f" ({person.note})" if person.note else ""


def command_to_allow(person: Person, bridge: str) -> str:
    """Return what has the policy, or the access list, allow a bridge; empty if no command can."""
    user = people.user_to_write(person.caller.uid) or str(person.caller.uid)
    if not (_NAME.fullmatch(bridge) and _NAME.fullmatch(user)):
        return ""
    who = user if user.isdecimal() else f'"{user}"'
    rule = f"printf '[[allow]]\\nbridge = \"{bridge}\"\\nusers = {who}\\n[end]\\n'"
    install = "install -D -m 0644 /dev/stdin"
    if os.path.lexists(POLICY):
        path = f"{DROP_INS}/allow-{user}-{bridge}.toml"
        return "" if os.path.lexists(path) else f"{rule} | {install} {path}"
    path = os.fsdecode(default_path())
    if not os.path.lexists(path):
        return f"{rule} | {install} {POLICY}"
    return f"printf '\\nallow {bridge}\\n' >>{word(path)}"
