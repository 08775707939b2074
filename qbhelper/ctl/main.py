# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of qbhelperctl: which command it is, and how each of them ends."""

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from qbhelper.errors import AccessListError, PolicyError, QbError, printable, reason

if TYPE_CHECKING:
    from argparse import Namespace


def main(words: list[str] | None = None) -> int:
    """Run the command that `words` name, by default those of the command line; returns the exit status."""
    # What has expired is seen by the day of the host, as the broker and the helper see it, not by that of who asks.
    os.environ.pop("TZ", None)
    time.tzset()
    # Ctrl-C ends a program that only reads, without a word.  One that was told to ignore it goes on doing so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A stream that was closed is None to Python.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  until the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    from qbhelper.ctl.output import EXIT_NO, EXIT_UNANSWERED, complain  # only now: Ctrl-C is quiet from here on

    try:
        status = _run(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _write_nowhere()
        return 128 + signal.SIGPIPE  # as for `head`: who read us has seen enough
    except QbError as error:
        problems = error.problems if isinstance(error, PolicyError) else ()
        for text in problems or (error,):
            complain(printable(str(text)))
        return EXIT_NO if isinstance(error, PolicyError | AccessListError) else EXIT_UNANSWERED
    except OSError as error:
        _write_nowhere()
        where = f"`{printable(os.fsencode(error.filename))}': " if error.filename else ""
        complain(f"{where}{reason(error)}")
    except Exception as error:  # noqa: BLE001  no traceback: who reads it could not use one
        complain(printable(f"internal error: {type(error).__name__}: {error}; please report this"))
    return EXIT_UNANSWERED


def _run(words: list[str] | None) -> int:
    from qbhelper.ctl.parser import parser

    try:
        found = parser().parse_args(words)
    except SystemExit as end:  # after --help, or what was wrong with the words
        return int(end.code or 0)
    return _run_command(found)


def _run_command(words: "Namespace") -> int:
    # Each is imported when it is wanted: one that asks the kernel for much brings much.
    match words.command:
        case "check":
            from qbhelper.ctl import check

            return check.run(words.file, as_json=words.json)
        case "doctor":
            from qbhelper.ctl.doctor import main as doctor

            bridge = None if words.bridge is None else os.fsencode(words.bridge)
            return doctor.run(words.user, bridge, as_json=words.json)
        case "explain":
            from qbhelper.ctl import explain

            return explain.run(words.user, os.fsencode(words.bridge), words.mac, as_json=words.json)
        case "import":
            from qbhelper.ctl import importing

            return importing.run(words.file, name_users=words.name_users)
        case "show":
            from qbhelper.ctl import show

            return show.run(as_json=words.json)
        case "status":
            from qbhelper.ctl import status

            return status.run(as_json=words.json, watching=words.watch)
    raise AssertionError(f"a command that the parser knows, and main does not: {words.command}")


def _write_nowhere() -> None:
    """Have what is left in stdout's buffer go nowhere: Python would write it at the end, and say that it can't."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
