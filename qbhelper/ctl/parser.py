# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of qbhelperctl.  From the one tree that `parser` returns come its help, its manual page and completions.

A command is a module of this package with a function `run`; main.py knows which.
"""

import argparse
from typing import NoReturn

from qbhelper.ctl.output import EXIT_UNANSWERED, complain
from qbhelper.errors import printable

PROGRAM = "qbhelperctl"
_EXIT_STATUS = "exit status: 0 {yes}, 1 {no}, 2 it could not be answered, or the words were wrong"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the words in one line, as every message of ours is."""

    def error(self, message: str) -> NoReturn:
        complain(f"{printable(message)}; `{self.prog} --help' tells which words there are")
        raise SystemExit(EXIT_UNANSWERED)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; the name of the command is in `command`."""
    top = _Parser(
        prog=PROGRAM,
        description="Who may have ports on which bridges, by the policy of qbhelper or the access list of QEMU.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_check(commands)
    _add_doctor(commands)
    _add_explain(commands)
    _add_import(commands)
    _add_show(commands)
    _add_status(commands)
    return top


Commands = argparse._SubParsersAction


def _add_check(commands: "Commands[_Parser]") -> None:
    check = _add(
        commands,
        "check",
        "say what is wrong with the policy or the access list",
        "Says all that is wrong with the policy of this host, or with its access list where there is no policy; then "
        "what is allowed and surely a mistake (warning).",
        yes="nothing is wrong",
        no="something is wrong",
    )
    check.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="look at this file alone: *.toml is a policy, *.conf an access list, and of any other name, or - for "
        "standard input, what its first line says",
    )
    _add_json(check)


def _add_doctor(commands: "Commands[_Parser]") -> None:
    doctor = _add(
        commands,
        "doctor",
        "look for what keeps a guest off the network, and say what mends it",
        "Looks at each thing that a grant of a port, and then the frames of a guest, depend on, and says of each: ok, "
        "problem, or cannot tell; and below a problem the command that mends it, for root to run. It changes nothing.",
        yes="no problem was found",
        no="there is a problem",
    )
    doctor.add_argument(
        "--bridge",
        metavar="BRIDGE",
        help="the bridge, as it would be asked for (default: each that the user may use)",
    )
    doctor.add_argument(
        "--user", metavar="USER", help="a name or a uid; only root may ask about others (default: who calls)"
    )
    _add_json(doctor)


def _add_explain(commands: "Commands[_Parser]") -> None:
    explain = _add(
        commands,
        "explain",
        "say who may have a port on a bridge, and which line decides",
        "Says whether a user may have a port on a bridge, which line of which file decides, and what the port may do.",
        yes="yes, they may",
        no="no, they may not",
    )
    explain.add_argument("--bridge", metavar="BRIDGE", required=True, help="the bridge, as it would be asked for")
    explain.add_argument(
        "--user", metavar="USER", help="a name or a uid; only root may ask about others (default: who calls)"
    )
    explain.add_argument("--mac", metavar="MAC", help="say also whether a guest with this MAC address could be heard")
    _add_json(explain)


def _add_import(commands: "Commands[_Parser]") -> None:
    import_ = _add(
        commands,
        "import",
        "print a policy that means what an access list means",
        "Prints a policy with the verdicts of an access list, whose includes become rules for those who can read them. "
        "Run it as root.",
        yes="the policy was printed",
        no="no rule could say what the list says, or the list is wrong",
    )
    import_.add_argument(
        "file", metavar="FILE", nargs="?", help="the access list (default: the one of this host, /etc/qemu/bridge.conf)"
    )
    import_.add_argument(
        "--name-users",
        action="store_true",
        help="where no rule can say who can read a file, name the users of this host who can today",
    )


def _add_show(commands: "Commands[_Parser]") -> None:
    show = _add(
        commands,
        "show",
        "show the rules as a table",
        "Shows the rules of this host's policy in their order, or those of its access list.",
        yes="they were shown",
        no="something is wrong with them, and nothing is allowed",
    )
    _add_json(show)


def _add_status(commands: "Commands[_Parser]") -> None:
    status = _add(
        commands,
        "status",
        "show the bridges, their ports, and whose they are",
        "Shows the bridges and their ports; of those that qbhelper has granted also whose they are, which process has "
        "them open as far as the caller may look, their settings, since when they are there, and their traffic.",
        yes="it was shown",
        no="is not used",
    )
    status.add_argument(
        "--watch",
        action="store_true",
        help="keep showing it, with the traffic of now, until Ctrl-C; where there is no terminal: print it again "
        "whenever something changes, and with --json each time on one line",
    )
    _add_json(status)


def _add(
    commands: "Commands[_Parser]",
    word: str,
    help: str,  # noqa: A002  as argparse has it
    description: str,
    *,
    yes: str,
    no: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        word,
        help=help,
        description=description,
        epilog=_EXIT_STATUS.format(yes=yes, no=no),
        allow_abbrev=False,
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the answer as JSON (docs/qbhelperctl.md)")
