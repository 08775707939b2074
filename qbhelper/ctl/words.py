# SPDX-License-Identifier: GPL-2.0-or-later
"""How a command of qbhelperctl is made known to the parser: its help, its exit status, what all or several have."""

import argparse
from typing import Any, NoReturn

from qbhelper.ctl.output import EXIT_UNANSWERED, complain
from qbhelper.errors import printable

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
