# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of those commands of qbhelperctl that get ports, or end them."""

import argparse

from qbhelper.ctl.words import Commands, Parser, add, add_json
from qbhelper.errors import printable
from qbhelper.policy.settings import QUEUES_MAX


def add_all(commands: "Commands[Parser]") -> None:
    """Add them, in the order of the help."""
    _add_revoke(commands)
    _add_reconcile(commands)
    _add_run(commands)
    _add_tap(commands)
    _add_attach(commands)
    _add_detach(commands)


def _add_revoke(commands: "Commands[Parser]") -> None:
    revoke = add(
        commands,
        "revoke",
        "end leases, so that their ports are dead",
        "Ends a lease, those of a user, or those on a bridge: the port is set down, so that its bridge passes nothing, "
        "and the program that has it open goes on without a network. Users can end their own, root those of all.",
        yes="there were some, and they are ended",
        no="there were none, or not all could be ended",
    )
    revoke.add_argument("lease", metavar="LEASE", nargs="?", help="the 16 digits that `status` shows")
    revoke.add_argument("--user", metavar="USER", help="all leases of a user, by name or uid")
    revoke.add_argument("--bridge", metavar="BRIDGE", help="all leases on a bridge; with --user, those of that user")
    revoke.add_argument(
        "--detach",
        action="store_true",
        help="as root: take the port off its bridge, but keep the lease; ip(8) can put it back, without its settings",
    )


def _add_reconcile(commands: "Commands[Parser]") -> None:
    reconcile = add(
        commands,
        "reconcile",
        "show which leases the policy of today would not grant",
        "Shows the leases that would not be granted as they are by the policy as it is now: because it has changed, or "
        "a rule has expired. Run it as root.",
        yes="there are none, or --apply has ended them",
        no="there are some, or not all could be ended",
    )
    reconcile.add_argument("--apply", action="store_true", help="end them, as revoke does")
    add_json(reconcile)


class OfCard(argparse.Action):
    """--bridge begins a network card; what follows is about that one."""

    def __call__(
        self, parser: argparse.ArgumentParser, found: argparse.Namespace, value: object, option: str | None = None
    ) -> None:
        """Note the value of an option in the dictionary of its card."""
        if self.dest == "bridge":
            found.cards = [*(found.cards or ()), {"bridge": value}]
        elif not found.cards:
            parser.error(f"{option} stands before --bridge: say first which bridge it is about")
        elif self.dest in found.cards[-1]:
            parser.error(f"{option} stands twice for bridge {found.cards[-1]['bridge']}")
        else:
            found.cards[-1][self.dest] = True if self.nargs == 0 else value


def _add_run(commands: "Commands[Parser]") -> None:
    run = add(
        commands,
        "run",
        "get ports, and run a command with their fds",
        "Gets a port on each bridge, writes what is to be known of them into the words of a command, and becomes that "
        "command: `{fds}`, the fds of the queues, with colons between; `{fdlist}`, with commas; `{fd}`, where it is "
        "one; `{vhostfds}`; `{ifname}`, the interface; `{mac}`, a MAC address for the guest. `{fds.2}` and the like "
        "are of the second --bridge. No port is left if the command can't be run.",
        yes="is the command's",
        no="a port was refused, 126 or 127 the command can't be run",
    )
    # Of its own, argparse would write three dots for the command, and that each option stands once.
    run.usage = (
        "%(prog)s --bridge BRIDGE [--queues NUMBER] [--vhost] [--mac MAC]\n"
        "                       [--bridge ...] -- COMMAND ..."
    )
    run.set_defaults(cards=None)
    run.add_argument(
        "--bridge", metavar="BRIDGE", required=True, action=OfCard, help="a bridge to get a port on; once or more"
    )
    run.add_argument(
        "--queues", metavar="NUMBER", type=_count, action=OfCard, help="how many queues the port has (default: 1)"
    )
    run.add_argument("--vhost", nargs=0, action=OfCard, help="get fds of /dev/vhost-net as well, one for each queue")
    run.add_argument("--mac", metavar="MAC", action=OfCard, help="the guest's MAC address (default: one it may have)")
    run.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER, help="the command and its words, behind --")


def _add_tap(commands: "Commands[Parser]") -> None:
    tap = add(
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
    tap.add_argument("--queues", metavar="NUMBER", type=_count, help="for create: how many it may have (1)")
    tap.add_argument("--json", action="store_true", help="for list: print it as JSON (docs/qbhelperctl.md)")


def _add_attach(commands: "Commands[Parser]") -> None:
    attach = add(
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


def _add_detach(commands: "Commands[Parser]") -> None:
    detach = add(
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
    # Of more digits Python would make no number, or a larger one than fits into a request.
    is_short = word.isascii() and word.isdigit() and len(word) <= len(str(QUEUES_MAX))
    if not (is_short and 1 <= int(word) <= QUEUES_MAX):
        raise argparse.ArgumentTypeError(f"`{printable(word)}' is no number from 1 to {QUEUES_MAX}")
    return int(word)
