# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of qbhelperctl.  From the one tree that `parser` returns come its help, its manual page and completions.

A command is a module of this package; commands.py knows which.
"""

import argparse

from qbhelper.ctl import deeds
from qbhelper.ctl.words import Commands, Parser, add, add_json

PROGRAM = "qbhelperctl"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; the name of the command is in `command`."""
    top = Parser(
        prog=PROGRAM,
        description="Who may have ports on which bridges, who has them, why a guest has no network; ends ports, and "
        "gets them for what QEMU's helper has no words for.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    _add_check(commands)
    _add_doctor(commands)
    _add_explain(commands)
    _add_import(commands)
    _add_log(commands)
    _add_show(commands)
    _add_status(commands)
    deeds.add_all(commands)
    return top


def _add_check(commands: "Commands[Parser]") -> None:
    check = add(
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
    add_json(check)


def _add_doctor(commands: "Commands[Parser]") -> None:
    doctor = add(
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
    add_json(doctor)


def _add_explain(commands: "Commands[Parser]") -> None:
    explain = add(
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
    add_json(explain)


def _add_import(commands: "Commands[Parser]") -> None:
    import_ = add(
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


def _add_log(commands: "Commands[Parser]") -> None:
    log = add(
        commands,
        "log",
        "show who was granted or refused ports, and why",
        "Shows who was granted which port, who was refused, and the line that decided: what the journal has of that, "
        "as far as it is open to the caller.",
        yes="it was shown",
        no="is not used",
    )
    log.add_argument("--user", metavar="USER", help="of this user alone: a name or a uid")
    log.add_argument("--bridge", metavar="BRIDGE", help="on this bridge alone, as it was asked for")
    log.add_argument(
        "--since", metavar="TIME", help="not what is older, as for journalctl: today, '2h ago', 2026-01-31"
    )
    log.add_argument("--follow", action="store_true", help="begin with the last ones, and go on until Ctrl-C")
    log.add_argument("--json", action="store_true", help="print each as JSON on a line (docs/qbhelperctl.md)")


def _add_show(commands: "Commands[Parser]") -> None:
    show = add(
        commands,
        "show",
        "show the rules as a table",
        "Shows the rules of this host's policy in their order, or those of its access list.",
        yes="they were shown",
        no="something is wrong with them, and nothing is allowed",
    )
    add_json(show)


def _add_status(commands: "Commands[Parser]") -> None:
    status = add(
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
    add_json(status)
