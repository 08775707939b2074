# SPDX-License-Identifier: GPL-2.0-or-later
"""Which helper libvirt starts for a user's own guests, those of qemu:///session.

Its system instance makes TAPs itself, and starts none.
"""

import errno
import os
import pwd
import re
import shlex
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from qbhelper.ctl.doctor.finding import Finding, State, Subject
from qbhelper.ctl.doctor.kind_of_helper import Kind, installed, kind_of
from qbhelper.ctl.people import Person
from qbhelper.errors import printable, reason
from qbhelper.sources import NOT_REGULAR, read_source

STATION = "libvirt"

DAEMONS = ("/usr/sbin/virtqemud", "/usr/bin/virtqemud", "/usr/sbin/libvirtd", "/usr/bin/libvirtd")
NAME = "qemu-bridge-helper"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a session that was begun by logging in looks for programs."""
DIRECTORIES = ("/usr/libexec/qemu", "/usr/libexec", "/usr/lib/qemu", "/usr/lib")
"""Where libvirt looks then; an older one looked in all but the first, when it was built."""
SEARCHES_SINCE = (11, 3)
FIXED_UNTIL = (9, 0)
"""The libvirts that were looked at: the first searches when it starts a helper, the second did when it was built."""

_SETTING = re.compile(r"""^[ \t]*bridge_helper[ \t]*=[ \t]*(["'])(.*?)\1""", re.MULTILINE)
_LIBRARY = re.compile(r"libvirt\.so\.0\.(\d+)(\d{3})\.\d+")
_LIBRARIES = ("lib*/libvirt.so.0.*", "lib/*/libvirt.so.0.*")


def look(subject: Subject) -> Iterator[Finding]:
    """Say what a guest of this user's own would get."""
    person = subject.person
    if not any(os.path.exists(path) for path in DAEMONS):
        yield Finding(STATION, State.OK, "there is no libvirt here that runs QEMU")
        return
    if person.caller.uid == 0:
        yield Finding(STATION, State.OK, "for root libvirt makes ports itself, without a helper")
        return
    path = _settings_of(person)
    if path is None:
        yield Finding(STATION, State.OK, f"{person.name} has no home, and no guests of libvirt's there")
        return
    try:
        told = _SETTING.search(_read(path))
    except (FileNotFoundError, NotADirectoryError):
        told = None
    except OSError as error:
        what = f"what libvirt starts for {person.name} stands in {printable(path)}: {reason(error)}"
        yield Finding(STATION, State.UNKNOWN, what, f"qbhelperctl doctor --user {shlex.quote(person.name)}")
        return
    if told is not None:
        yield _of_setting(told[2], path, person)
    else:
        yield _by_default(path, person)


def _read(path: str) -> str:
    """Return the text of a user's file.  Raises OSError, and opens nothing but a regular file.

    Root may ask, and a user's link may lead to a device that does something when it is opened.
    """
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        return read_source(f"/proc/self/fd/{fd}".encode()).decode(errors="replace")
    finally:
        os.close(fd)


def _of_setting(helper: str, path: str, person: Person) -> Finding:
    """Say what comes of a helper that the user has chosen: the first such line counts (libvirt's virconf.c)."""
    if "/" not in helper:
        helper = shutil.which(helper, path=PATH) or helper
    # What is in the file stays its reader's: this process has read it with the rights of who runs it.
    return _judged(helper, f"{printable(path)} says so", _command_to_change(path, person), person)


def _by_default(path: str, person: Person) -> Finding:
    searched = shutil.which(NAME, path=PATH) or _first(DIRECTORIES)
    fixed = _first(DIRECTORIES[1:])
    version = _version()
    set_it = _command_to_set(path, person)
    if version is not None and version <= FIXED_UNTIL:
        return _judged(fixed, "this one was built to", set_it, person)
    if version is not None and version >= SEARCHES_SINCE:
        # The link that `make install-libvirt' makes: for all users, and found before all others.
        link = f"ln -sf {shlex.quote(installed())} /usr/bin/{NAME}"
        return _judged(
            searched, "it finds that first", link if searched in (fixed, _first(DIRECTORIES)) else set_it, person
        )
    if searched == fixed:
        return _judged(fixed, "wherever it looks", set_it, person)
    shown = "unknown" if version is None else ".".join(map(str, version))
    what = f"libvirt (version {shown}) starts {searched} for {person.name}, or {fixed}: it is not known how it looks"
    return Finding(STATION, State.UNKNOWN, what, set_it)


def _first(directories: tuple[str, ...]) -> str:
    """Return the first helper there; where there is none, what is looked for last."""
    paths = [f"{directory}/{NAME}" for directory in directories]
    return next((path for path in paths if os.access(path, os.X_OK)), paths[-1])


def _judged(helper: str, why: str, remedy: str, person: Person) -> Finding:
    what = f"libvirt starts {printable(helper)} for {person.name}'s own guests ({why}): "
    kind = kind_of(helper)
    if kind is Kind.OURS:
        return Finding(STATION, State.OK, f"{what}qbhelper")
    if kind in (Kind.SETUID, Kind.CAPABLE):
        return Finding(STATION, State.OK, f"{what}{kind.value}; it works, and asks neither policy nor broker")
    if kind is Kind.UNKNOWN:
        return Finding(STATION, State.UNKNOWN, f"{what}it can't be looked at", f"ls -lL {shlex.quote(helper)}")
    fault = "there is none" if kind is Kind.MISSING else kind.value
    return Finding(STATION, State.PROBLEM, f"{what}{fault}", remedy)


def _settings_of(person: Person) -> str | None:
    """Return the path of the user's settings for libvirt; None for who has no home."""
    try:
        home = pwd.getpwuid(person.caller.uid).pw_dir
    except (KeyError, OverflowError):
        return None
    return os.path.join(home, ".config/libvirt/qemu.conf") if os.path.isabs(home) else None


def _command_to_set(path: str, person: Person) -> str:
    directory = shlex.quote(os.path.dirname(path))
    line = shlex.quote(_line())
    return _as(person, f"mkdir -p {directory} && echo {line} >>{shlex.quote(path)}")


def _command_to_change(path: str, person: Person) -> str:
    change = shlex.quote(f"s|^[ \t]*bridge_helper[ \t]*=.*|{_line()}|".replace("\t", "\\t"))
    return _as(person, f"sed -i {change} {shlex.quote(path)}")


def _line() -> str:
    return f'bridge_helper = "{installed()}"'


def _as(person: Person, command: str) -> str:
    """Return the command for root to run as the user, whose file it is; for themselves as it is."""
    if os.geteuid() != 0:
        return command
    return (
        f"setpriv --reuid {person.caller.uid} --regid {person.caller.gid} --clear-groups sh -c {shlex.quote(command)}"
    )


def _version() -> tuple[int, int] | None:
    """Return the version of the installed libvirt, by the name of its library; None if it can't be told."""
    names = [path.name for pattern in _LIBRARIES for path in Path("/usr").glob(pattern)]
    found = [match for match in map(_LIBRARY.fullmatch, names) if match]
    return max(((int(match[1]), int(match[2])) for match in found), default=None)
