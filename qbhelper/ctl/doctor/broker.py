# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether there is a broker to ask."""

import enum
import os
import socket
import stat
import sys
from collections.abc import Iterator
from functools import cache

from qbhelper.ctl.doctor.access import WRITE, Obstacle, command_to_close, first_changeable, obstacle
from qbhelper.ctl.doctor.finding import Finding, State, Subject, word
from qbhelper.ctl.people import Person
from qbhelper.wire import SOCKET_PATH

STATION = "broker"
_SECONDS = 5.0
"""A broker that is started by our knock takes a third of one."""


class Reach(enum.Enum):
    """How far a connection comes."""

    ANSWERS = "it answers"
    ABSENT = "no broker runs"
    DEAF = "nobody listens on it"
    SILENT = "it does not answer"
    CLOSED = "its socket is closed to who calls"


@cache
def reach() -> Reach:
    """Knock at the broker, and say how far that comes.  Nothing is asked of it; systemd starts it for whoever knocks.

    Raises OSError if that can't be told.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(_SECONDS)
        try:
            connection.connect(SOCKET_PATH)
        except FileNotFoundError:
            return Reach.ABSENT
        except ConnectionRefusedError:
            return Reach.DEAF
        except PermissionError:
            return Reach.CLOSED
        except (BlockingIOError, TimeoutError):
            return Reach.SILENT
        # It hangs up on who has nothing to say.  A kernel that took the connection for it does not.
        try:
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
        except TimeoutError:
            return Reach.SILENT
        except OSError:
            pass  # it was quicker than we
    return Reach.ANSWERS


def obstacle_for(person: Person) -> Obstacle | None:
    """Return what keeps a person from the broker's socket, which is there; None if nothing does.  Raises OSError."""
    return obstacle(SOCKET_PATH, (WRITE,), person.caller)


def is_open_to(person: Person) -> bool:
    """Whether a broker answers, and to this person.  Raises OSError if that can't be told."""
    return reach() is Reach.ANSWERS and obstacle_for(person) is None


def look(subject: Subject) -> Iterator[Finding]:
    """Say how things are with a broker that is there; whether one is needed, the helper's station says."""
    found = reach()
    if found is Reach.ABSENT:
        return
    if (mine := _of_its_place()) is not None:
        yield mine
    if found in (Reach.DEAF, Reach.SILENT):
        what = f"{SOCKET_PATH} is there, but {found.value}"
        if found is Reach.SILENT:
            what += (
                f" within {_SECONDS:.0f} seconds: have it started again; its log may say why (journalctl -u qbhelper)"
            )
        yield Finding(STATION, State.PROBLEM, what, command_to_start(is_stuck=found is Reach.SILENT))
        return
    kept = obstacle_for(subject.person)
    if kept is not None:
        what = f"{kept.path} keeps {subject.person.name} from the broker's socket"
        yield Finding(STATION, State.PROBLEM, what, kept.command(subject.person))
    elif found is Reach.CLOSED:
        yield Finding(STATION, State.UNKNOWN, f"{SOCKET_PATH} is closed to us, whatever its mode says")
    else:
        yield Finding(STATION, State.OK, f"answers on {SOCKET_PATH}")


def _of_its_place() -> Finding | None:
    """Whoever can put a socket in its place is asked instead of it, and is told who wants what."""
    directory = os.path.dirname(SOCKET_PATH)
    part = first_changeable(directory)
    if part is None:
        return None
    what = f"{part} is not root's alone: others could put a socket of theirs in the broker's place"
    return Finding(STATION, State.PROBLEM, what, command_to_close(part, directory))


def command_to_start(*, is_stuck: bool = False) -> str:
    """Return what starts the broker on this host, so that it stays; empty if no command can.

    is_stuck: somebody listens already.
    """
    if os.path.isdir("/run/systemd/system"):
        return "systemctl restart qbhelper.socket" if is_stuck else "systemctl enable --now qbhelper.socket"
    if os.path.isdir("/run/openrc"):
        return f"rc-service qbhelper {'restart' if is_stuck else 'start'}"
    return "" if is_stuck else f"setsid -f {word(_daemon())}"


def _daemon() -> str:
    """Return where qbhelperd is: in sbin, beside the bin that we are in."""
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(sys.argv[0]))), "sbin", "qbhelperd")
    for path in (beside, "/usr/sbin/qbhelperd", "/usr/local/sbin/qbhelperd"):
        try:
            if stat.S_ISREG(os.stat(path).st_mode):
                return path
        except OSError:
            continue
    return "qbhelperd"
