# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of qbhelperctl.  From the one tree that `parser` returns come its help, its manual page and completions.

A command is a module of this package; commands.py knows which.
"""

import argparse
from typing import NoReturn

from qbhelper.ctl.output import EXIT_UNANSWERED, complain
from qbhelper.errors import printable
from qbhelper.policy.settings import QUEUES_MAX

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
    _add_explain(commands)
    _add_import(commands)
    _add_show(commands)
    _add_status(commands)
    _add_revoke(commands)
    _add_reconcile(commands)
    _add_run(commands)
    _add_tap(commands)
    _add_attach(commands)
    _add_detach(commands)
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


def _add_revoke(commands: "Commands[_Parser]") -> None:
    revoke = _add(
        commands,
        "revoke",
        "end leases, so that their ports are dead",
        "Ends a lease, those of a user, or those on a bridge: the port is set down and taken off its bridge, and the "
        "program that has it open goes on without a network. Users can end their own leases, root those of all.",
        yes="there were some, and they are ended",
        no="there were none, or not all could be ended",
    )
    revoke.add_argument("lease", metavar="LEASE", nargs="?", help="the 16 digits that `status --json` shows")
    revoke.add_argument("--user", metavar="USER", help="all leases of a user, by name or uid")
    revoke.add_argument("--bridge", metavar="BRIDGE", help="all leases on a bridge; with --user, those of that user")
    revoke.add_argument(
        "--detach",
        action="store_true",
        help="take the port off its bridge, but keep the lease: root can put it back with ip(8)",
    )


def _add_reconcile(commands: "Commands[_Parser]") -> None:
    reconcile = _add(
        commands,
        "reconcile",
        "show which leases the policy of today would not grant",
        "Shows the leases that would not be granted as they are by the policy as it is now: because it has changed, or "
        "a rule has expired. Run it as root.",
        yes="there are none, or --apply has ended them",
        no="there are some, or not all could be ended",
    )
    reconcile.add_argument("--apply", action="store_true", help="end them, as revoke does")
    _add_json(reconcile)


class _OfCard(argparse.Action):
    """--bridge begins a network card; what follows is about that one."""

    def __call__(
        self, parser: argparse.ArgumentParser, found: argparse.Namespace, value: object, option: str | None = None
    ) -> None:
        if self.dest == "bridge":
            found.cards = [*(found.cards or ()), {"bridge": value}]
        elif not found.cards:
            parser.error(f"{option} stands before --bridge: say first which bridge it is about")
        elif self.dest in found.cards[-1]:
            parser.error(f"{option} stands twice for bridge {found.cards[-1]['bridge']}")
        else:
            found.cards[-1][self.dest] = True if self.nargs == 0 else value


def _add_run(commands: "Commands[_Parser]") -> None:
    run = _add(
        commands,
        "run",
        "get ports, and run a command with their fds",
        "Gets a port on each bridge, writes what is to be known of them into the words of a command, and becomes that "
        "command: `{fds}`, the fds of the queues, with colons between; `{fd}`, where it is one; `{vhostfds}`; "
        "`{ifname}`, the interface; `{mac}`, a MAC address for the guest. `{fds.2}` and the like are of the second "
        "--bridge. No port is left if the command can't be run.",
        yes="is the command's",
        no="a port was refused, 126 or 127 the command can't be run",
    )
    run.set_defaults(cards=None)
    run.add_argument(
        "--bridge", metavar="BRIDGE", required=True, action=_OfCard, help="a bridge to get a port on; once or more"
    )
    run.add_argument(
        "--queues", metavar="NUMBER", type=_count, action=_OfCard, help="how many queues the port has (default: 1)"
    )
    run.add_argument("--vhost", nargs=0, action=_OfCard, help="get fds of /dev/vhost-net as well, one for each queue")
    run.add_argument("--mac", metavar="MAC", action=_OfCard, help="the guest's MAC address (default: one it may have)")
    run.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its words, behind --")


def _add_tap(commands: "Commands[_Parser]") -> None:
    tap = _add(
        commands,
        "tap",
        "TAPs that stay, for programs that open one by its name",
        "Makes a TAP of the caller's on a bridge and prints its name; it stays when no program has it open. `delete` "
        "removes one of the caller's own, root's any; `list` shows those of all users.",
        yes="it was done",
        no="it was refused, or there is no such TAP",
    )
    tap.add_argument("action", choices=("create", "delete", "list"), help="what to do")
    tap.add_argument("name", metavar="TAP", nargs="?", help="for delete: its name")
    tap.add_argument("--bridge", metavar="BRIDGE", help="for create: the bridge to put it on")
    tap.add_argument("--queues", metavar="NUMBER", type=_count, default=1, help="for create: how many it may have (1)")
    _add_json(tap)


def _add_attach(commands: "Commands[_Parser]") -> None:
    attach = _add(
        commands,
        "attach",
        "plug a network card into a QEMU that runs",
        "Gets a port on a bridge and plugs a network card on it into a QEMU that runs, by its monitor; prints what the "
        "card is called, its interface and its MAC address. If any step fails, or on Ctrl-C, all is undone.",
        yes="the card is there",
        no="the port was refused, or QEMU refused the card",
    )
    _add_qmp(attach)
    attach.add_argument("--bridge", metavar="BRIDGE", required=True, help="the bridge to get a port on")
    attach.add_argument(
        "--queues", metavar="NUMBER", type=_count, default=1, help="how many queues it has (default: 1)"
    )
    attach.add_argument(
        "--vhost", action="store_true", help="have the host's kernel move the packets, by /dev/vhost-net"
    )
    attach.add_argument("--mac", metavar="MAC", help="the guest's MAC address (default: one it may have)")
    attach.add_argument(
        "--model", metavar="MODEL", default="virtio-net-pci", help="QEMU's word for the card (default: virtio-net-pci)"
    )
    attach.add_argument("--id", metavar="ID", help="what QEMU is to call it (default: qb0, or the next that is free)")


def _add_detach(commands: "Commands[_Parser]") -> None:
    detach = _add(
        commands,
        "detach",
        "take a network card out that attach has plugged in",
        "Asks the guest to let go of a network card that attach has plugged in, waits until it has, and takes the card "
        "out of QEMU; with it ends the port.",
        yes="the card is gone",
        no="there is no such card, or the guest has not let go of it within 20 s",
    )
    _add_qmp(detach)
    detach.add_argument("id", metavar="ID", help="what attach has called it")


def _add_qmp(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--qmp", metavar="SOCKET", required=True, help="the monitor, from QEMU's -qmp unix:SOCKET,server=on,wait=off"
    )


def _count(word: str) -> int:
    if not (word.isascii() and word.isdigit() and 1 <= int(word[:4]) <= QUEUES_MAX):
        raise argparse.ArgumentTypeError(f"`{printable(word)}' is no number from 1 to {QUEUES_MAX}")
    return int(word)


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
