# SPDX-License-Identifier: GPL-2.0-or-later
"""How a command of qbhelperctl is made known to the parser: its help, its exit status, what all or several have.

And what several check of the words that they take.
"""

import argparse
from typing import Any, NoReturn

from qbhelper.ctl.output import EXIT_UNANSWERED, complain
from qbhelper.errors import UsageError, printable
from qbhelper.policy import values
from qbhelper.policy.values import WrongValue
from qbhelper.request import is_bridge_name

_EXIT_STATUS = "exit status: 0 {yes}, 1 {no}, 2 it could not be answered, or the words were wrong"


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the words in one line, as every message of ours is; takes what argparse's takes."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # Python 3.14 would paint the help, with FORCE_COLOR even where no terminal is: it is the same everywhere.
        self.color = False

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end."""
        complain(f"{printable(message)}; `{self.prog} --help' tells which words there are")
        raise SystemExit(EXIT_UNANSWERED)


Commands = argparse._SubParsersAction


def add(
    commands: "Commands[Parser]",
    word: str,
    help: str,  # noqa: A002  as argparse has it
    description: str,
    *,
    yes: str,
    no: str,
) -> argparse.ArgumentParser:
    """Add a command, and return its parser.  yes, no: what exit statuses 0 and 1 mean."""
    return commands.add_parser(
        word,
        help=help,
        description=description,
        epilog=_EXIT_STATUS.format(yes=yes, no=no),
        allow_abbrev=False,
    )


def add_json(command: argparse.ArgumentParser) -> None:
    """Add --json."""
    command.add_argument("--json", action="store_true", help="print the answer as JSON (docs/qbhelperctl.md)")


def require_bridge_name(name: bytes) -> None:
    """Raise UsageError if no bridge can have that name."""
    if not is_bridge_name(name):
        raise UsageError(
            f"`{printable(name)}' can't be the name of a bridge", "name one as `ip link show type bridge' prints it"
        )


def mac_of(word: str | None) -> bytes | None:
    """Return the MAC address that a word is; None for none.  Raises UsageError if it is none, or not for a guest."""
    if word is None:
        return None
    try:
        return values.macs(word)[0]
    except WrongValue as error:
        raise UsageError(*error.faults[0]) from None
