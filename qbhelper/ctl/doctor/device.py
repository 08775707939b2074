# SPDX-License-Identifier: GPL-2.0-or-later
"""/dev/net/tun, of which each TAP is made: whether it is there, is what it should be, and opens."""

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from qbhelper.broker.permission import READ
from qbhelper.ctl.doctor import broker, helper, this_process
from qbhelper.ctl.doctor.access import WRITE, obstacle
from qbhelper.ctl.doctor.finding import Finding, State, Subject
from qbhelper.ctl.people import NO_GROUP, Person
from qbhelper.errors import reason
from qbhelper.kernel.tap import TUN_DEVICE, TUN_NUMBER
from qbhelper.record import ACCOUNT
from qbhelper.request import Caller

STATION = "device"
ACCOUNTS = (ACCOUNT, "nobody")
"""As whom the broker serves: the first of these that there is (broker/main.py)."""
_MAKE = f"mknod -m 0666 {TUN_DEVICE} c 10 200"
_IN_A_CONTAINER = "and no device can be made here: start the container with --device /dev/net/tun"


def look(subject: Subject) -> Iterator[Finding]:
    """Say how things are with the device.  Raises OSError if that can't be told."""
    try:
        if not _is_it():
            what = f"{TUN_DEVICE} is not the device that TAPs are made of (character device 10, 200)"
            yield _to_be_made(what, f"mv {TUN_DEVICE} {TUN_DEVICE}.wrong && {_MAKE}")
            return
    except (FileNotFoundError, NotADirectoryError):
        yield _missing()
        return
    person = _opener(subject)
    kept = obstacle(TUN_DEVICE, (READ, WRITE), person.caller)
    if kept is not None:
        what = f"{person.name} can't open {TUN_DEVICE}, which the TAP is made of: {kept.path} does not let them"
        # As udev has it: without CAP_NET_ADMIN, who opens it can make nothing of it.
        command = f"chmod 0666 {TUN_DEVICE}" if kept.path == TUN_DEVICE else kept.command(person)
        yield Finding(STATION, State.PROBLEM, what, command)
        return
    yield _opened(person)


def _is_it() -> bool:
    try:
        status = os.stat(TUN_DEVICE)
    except PermissionError:
        return True  # so there is something: what is in our way is looked for next
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == TUN_NUMBER


def _opener(subject: Subject) -> Person:
    """Return who opens the device for a port of the person's: the broker, or the helper, which acts as them."""
    person = subject.person
    if helper.takes_broker(person) is not True or not broker.is_open_to(subject):
        return person
    for name in ACCOUNTS:
        with suppress(KeyError):
            account = pwd.getpwnam(name)
            groups = os.getgrouplist(name, account.pw_gid)
            return Person("the broker", Caller(account.pw_uid, account.pw_gid, tuple(groups)))
    return Person("the broker", Caller(NO_GROUP, NO_GROUP, ()))


def _missing() -> Finding:
    what = f"there is no {TUN_DEVICE}"
    if not _has_driver():
        return Finding(STATION, State.PROBLEM, f"{what}: the kernel's module `tun' is not loaded", "modprobe tun")
    return _to_be_made(what, f"mkdir -p {os.path.dirname(TUN_DEVICE)} && {_MAKE}")


def _to_be_made(what: str, command: str) -> Finding:
    if this_process.can_ever_have(this_process.CAP_MKNOD):
        return Finding(STATION, State.PROBLEM, what, command)
    return Finding(STATION, State.PROBLEM, f"{what}, {_IN_A_CONTAINER}")


def _has_driver() -> bool:
    """Whether the kernel has the driver now, built in or loaded.  It may load it when the device is opened."""
    lines = Path("/proc/misc").read_text().splitlines()
    return any(line.split() == ["200", "tun"] for line in lines)


def _opened(person: Person) -> Finding:
    """Open it, if we may: for a node without a driver behind it the kernel loads the module, as for a grant."""
    try:
        os.close(os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError as error:
        if person.caller.uid == os.geteuid():
            # Not its mode, then: the device controller of a container's cgroup.
            what = f"{TUN_DEVICE} is closed to this container: start it with --device {TUN_DEVICE}"
            return Finding(STATION, State.PROBLEM, what)
        return Finding(STATION, State.UNKNOWN, f"{TUN_DEVICE}: {reason(error)}: run this as root")
    except OSError as error:
        if error.errno not in (errno.ENODEV, errno.ENXIO):
            raise
        what = f"{TUN_DEVICE} is there, but the kernel's module `tun' behind it is not"
        return Finding(STATION, State.PROBLEM, what, "modprobe tun")
    return Finding(STATION, State.OK, f"{TUN_DEVICE} is there, and {person.name} can open it")
