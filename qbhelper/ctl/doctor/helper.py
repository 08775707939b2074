# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper's way to privilege: its own, by its file, or the broker's; which one QEMU would go, and if none, why.

What native/installation.c says to a caller who is refused, told before anybody asks.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator

from qbhelper.ctl.doctor import broker, this_process
from qbhelper.ctl.doctor.access import EXECUTE, command_to_close, first_changeable, obstacle
from qbhelper.ctl.doctor.finding import Finding, State, Subject
from qbhelper.ctl.doctor.privilege_of_file import Privilege, privilege_of
from qbhelper.ctl.people import Person
from qbhelper.wire import SOCKET_PATH

STATION = "helper"
WAY = "way"
USUAL = ("/usr/bin/qbhelper", "/usr/local/bin/qbhelper", "/run/wrappers/bin/qemu-bridge-helper")
_ELSEWHERE = "; install it where only root may write: make install"


def installed() -> str | None:
    """Return where the helper is: beside this program, as `make install` has it, or where packages put it."""
    beside = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), "qbhelper")
    return next((path for path in (beside, *USUAL) if os.path.isfile(path)), None)


def takes_broker(person: Person) -> bool | None:
    """Whether the helper of this person would ask the broker, if one answers; None if there is no helper.

    Raises OSError if that can't be told.
    """
    path = installed()
    if path is None:
        return None
    # Who has privilege anyway, as root, asks the broker first: native/qbhelper.c, main().
    return person.caller.uid == 0 or not _of(path, person).works


def _of(path: str, person: Person) -> Privilege:
    return privilege_of(path, is_of_this_process=person.caller.uid == os.getuid())


def look(subject: Subject) -> Iterator[Finding]:
    """Say how things are with the helper, the broker, and the way that is open.  Raises OSError."""
    person = subject.person
    path = installed()
    if path is None:
        yield Finding(
            STATION, State.PROBLEM, "there is no qbhelper beside qbhelperctl or in /usr/bin: install it again"
        )
        return
    privilege = _of(path, person)
    wrong = [*_wrong_with(path, person, privilege)]
    yield from wrong or [Finding(STATION, State.OK, f"{path}: {privilege.what}")]
    is_root = person.caller.uid == 0
    if privilege.works and not is_root:
        yield Finding(WAY, State.OK, f"the helper makes {person.name}'s ports itself")
        return
    of_broker = [*broker.look(subject)]
    yield from of_broker
    if broker.is_open_to(subject):
        yield Finding(WAY, State.OK, f"the broker makes {person.name}'s ports")
    elif is_root:
        yield Finding(WAY, State.OK, "the helper makes root's ports itself")
    elif not of_broker:
        yield _neither(path, privilege)


def _neither(path: str, privilege: Privilege) -> Finding:
    what = f"neither way is open: {broker.reach().value}, and {path} {privilege.fault}"
    start = broker.command_to_start()
    if not this_process.can_ever_have(this_process.CAP_NET_ADMIN):
        what += f"; mount the host's {SOCKET_PATH} into the container"
        return Finding(WAY, State.PROBLEM, what)
    remedy = f"{start} # or: {privilege.remedy}" if privilege.remedy else start
    return Finding(WAY, State.PROBLEM, what, remedy)


def _wrong_with(path: str, person: Person, privilege: Privilege) -> Iterator[Finding]:
    # Whoever has built one for themselves may try it; with privilege it would refuse to start what is theirs.
    trusted = () if privilege.again else (person.caller.uid,)
    part = first_changeable(path, trusted)
    if part is not None:
        what = f"{part} is not root's alone: others could put a program of theirs in the place of {path}"
        command = command_to_close(part, path)
        # A change of the owner takes both kinds of privilege away (chown(2)).
        again = f" && {privilege.again}" if part == os.path.realpath(path) and privilege.again else ""
        yield Finding(STATION, State.PROBLEM, f"{what}{'' if command else _ELSEWHERE}", command and command + again)
    if privilege.works:
        yield from _wrong_with_core()
    kept = obstacle(path, (EXECUTE,), person.caller)
    if kept is not None:
        what = f"{person.name} may not start {path}: {kept.path} does not let them"
        command = kept.command(person)
        yield Finding(STATION, State.PROBLEM, f"{what}{'' if command else _ELSEWHERE}", command)


def _wrong_with_core() -> Iterator[Finding]:
    """What the helper starts with its privilege has to be root's alone, or it refuses to: native/installation.c."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    prctl = importlib.util.find_spec("prctl")
    parts = [
        sys.executable,
        f"{package}/qbhelper/standalone.py",
        f"{package}/qbhelper/kernel",
        f"{package}/qbhelper/policy",
    ]
    if prctl is not None and prctl.origin:
        parts.append(os.path.dirname(prctl.origin))
    for path in parts:
        part = first_changeable(path)
        if part is not None:
            what = f"{part} is not root's alone: with privilege, the helper refuses to start what others could change"
            command = command_to_close(part, path)
            yield Finding(STATION, State.PROBLEM, f"{what}{'' if command else _ELSEWHERE}", command)
            return
