# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether there is a broker to ask."""

import enum
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache

from qbhelper.ctl.doctor.access import WRITE, Obstacle, command_to_close, first_changeable, obstacle
from qbhelper.ctl.doctor.bridges import verdicts
from qbhelper.ctl.doctor.finding import Finding, State, Subject, word
from qbhelper.ctl.people import Person
from qbhelper.errors import QbError
from qbhelper.wire import SOCKET_PATH

STATION = "broker"
_UNIX_SOCKETS = "/proc/self/net/unix"
_LISTENS = b"00010000"
"""__SO_ACCEPTCON among the flags of a socket in that list."""
_WORDS = 8
"""In a line of it, where the name has no white space."""
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


def is_open_to(subject: Subject) -> bool:
    """Whether a broker answers, and serves this person.  Raises OSError if that can't be told."""
    return reach() is Reach.ANSWERS and obstacle_for(subject.person) is None and not _is_closed_as_elsewhere(subject)


@cache
def is_elsewhere() -> bool:
    """Whether the broker, which answers, is in another network namespace than we are.  Raises OSError.

    A process sees the Unix sockets of its own; of those with this name, one listens (net/unix/af_unix.c).
    """
    path = os.fsencode(SOCKET_PATH)
    with open(_UNIX_SOCKETS, "rb") as sockets:
        # The kernel writes names as they are, and anybody may make one with line breaks and all else in it.
        found = [line.split() for line in sockets]
    return not any(len(words) == _WORDS and words[3] == _LISTENS and words[-1] == path for words in found)


def _is_closed_as_elsewhere(subject: Subject) -> bool:
    if not is_elsewhere():
        return False
    with suppress(QbError):  # then nobody knows of a rule
        return not any(
            answer.decision.allowed and answer.decision.terms.other_network_namespaces for answer in verdicts(subject)
        )
    return True


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
    elif found is Reach.ANSWERS and is_elsewhere():
        yield _of_another_network(subject)
    elif found is Reach.CLOSED:
        yield Finding(STATION, State.UNKNOWN, f"{SOCKET_PATH} is closed to us, whatever its mode says")
    else:
        yield Finding(STATION, State.OK, f"answers on {SOCKET_PATH}")


def _of_another_network(subject: Subject) -> Finding:
    what = f"answers on {SOCKET_PATH}, but from another network namespace: its bridges are not those of this one"
    if subject.person.caller.uid == 0 or not _is_closed_as_elsewhere(subject):
        return Finding(STATION, State.OK, what)
    what += f", and it refuses {subject.person.name} here; run QEMU in its network (a container: --network=host)"
    return Finding(STATION, State.PROBLEM, what)


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
