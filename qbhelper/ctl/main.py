# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of qbhelperctl: which command it is, and how each of them ends."""

import os
import signal
import sys
import time

from qbhelper.errors import AccessListError, PolicyError, QbError, printable, reason


def main(words: list[str] | None = None) -> int:
    """Run the command that `words` name, by default those of the command line; returns the exit status."""
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
        is_no = isinstance(error, PolicyError | AccessListError) or getattr(error, "exit_status", None) == EXIT_NO
        return EXIT_NO if is_no else EXIT_UNANSWERED
    except OSError as error:
        _write_nowhere()
        where = f"`{printable(os.fsencode(error.filename))}': " if error.filename else ""
        complain(f"{where}{reason(error)}")
    except Exception as error:  # noqa: BLE001  no traceback: who reads it could not use one
        complain(printable(f"internal error: {type(error).__name__}: {error}; please report this"))
    return EXIT_UNANSWERED


def _run(words: list[str] | None) -> int:
    from qbhelper.ctl.commands import COMMANDS
    from qbhelper.ctl.parser import parser

    try:
        found = parser().parse_args(words)
    except SystemExit as end:  # after --help, or what was wrong with the words
        return int(end.code or 0)
    if found.command != "run":  # whose command is to have all that its caller has
        # What has expired is seen by the day of the host, as the broker and the helper see it, not by that of who asks.
        os.environ.pop("TZ", None)
        time.tzset()
    return COMMANDS[found.command](found)


def _write_nowhere() -> None:
    """Have what is left in stdout's buffer go nowhere: Python would write it at the end, and say that it can't."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
