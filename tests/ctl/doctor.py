# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks one station of `qbhelperctl doctor`, as a user of the host, and does what it says."""

import os
import pickle
import pwd
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qbhelper.ctl import people
from qbhelper.ctl.doctor.finding import Finding, State, Subject
from tests.support import world

Station = Callable[[Subject], Iterator[Finding]]


def found(
    station: Station, bridge: bytes | None = b"br0", *, user: str = "root", of: str | None = None
) -> list[Finding]:
    """Return what `user` is told by a station, of the way of another user (`of`) or of their own."""
    if user == "root":
        return _look(station, bridge, of)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # As who logs in; what is imported is imported already.
        try:
            account = pwd.getpwnam(user)
            os.initgroups(user, account.pw_gid)
            os.setresgid(*[account.pw_gid] * 3)
            os.setresuid(*[account.pw_uid] * 3)
            os.write(writer, pickle.dumps(_look(station, bridge, of)))
        except BaseException as error:  # noqa: BLE001  it is told in the parent
            os.write(writer, pickle.dumps(error))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        result = pickle.loads(answer.read())
    os.waitpid(child, 0)
    if isinstance(result, BaseException):
        raise result
    assert isinstance(result, list)
    return result


def _look(station: Station, bridge: bytes | None, of: str | None) -> list[Finding]:
    person = people.this_person() if of is None else people.person_named(of)
    findings = list(station(Subject(person, bridge)))
    for finding in findings:
        assert finding.what.isprintable(), finding
        assert bool(finding.remedy) <= (finding.state is not State.OK), finding
    return findings


def the_problem(station: Station, bridge: bytes | None = b"br0", *, of: str | None = None) -> Finding:
    """Return the only thing that is wrong there."""
    [problem] = [one for one in found(station, bridge, of=of) if one.state is not State.OK]
    assert problem.state is State.PROBLEM, problem
    return problem


def mend(finding: Finding) -> None:
    """Do what it says, to the letter, as root."""
    assert finding.remedy
    done = subprocess.run(["sh", "-c", finding.remedy], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (finding.remedy, done.stderr)


def is_well(station: Station, bridge: bytes | None = b"br0", *, of: str | None = None) -> bool:
    """Whether all that is found is all right."""
    return all(finding.state is State.OK for finding in found(station, bridge, of=of))


@contextmanager
def changeable(directory: str) -> Iterator[None]:
    """Have what is done to a directory of the host be seen in this private world alone, for the time of the block."""
    world.prepare()
    with tempfile.TemporaryDirectory(dir=world.WORLD) as place:
        for name in ("upper", "work"):
            os.mkdir(f"{place}/{name}")
        layers = f"lowerdir={directory},upperdir={place}/upper,workdir={place}/work"
        world.run("mount", "-t", "overlay", "-o", layers, "overlay", directory)
        try:
            yield
        finally:
            world.run("umount", "--lazy", directory)
