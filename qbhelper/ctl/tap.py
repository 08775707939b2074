# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl tap`: TAPs for programs that open one by its name, and that stay when no program has them open.

The broker makes such a TAP the caller's, and hands it over like any other; that it stays is then for us to set, as for
anybody who has a TAP open.  So if something fails before that, nothing is left.
"""

import os
import time
from contextlib import closing

from qbhelper.ctl import client, people, revoke
from qbhelper.ctl.held import Held, leases
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, complain, say, say_json, table, width
from qbhelper.errors import UsageError, printable
from qbhelper.kernel import tap
from qbhelper.request import Request


def create(bridge: bytes, queues: int) -> int:
    """Make a TAP on `bridge` that stays, and print its name.  Raises QbError."""
    with closing(client.ask_for_port(Request(bridge, True, queues, persistent=True))) as port:
        tap.keep(port.taps[0], port.name)
        say(printable(port.name))
    return EXIT_YES


def delete(name: str) -> int:
    """Delete the TAP of this name, if it is one that stays.  Raises QbError."""
    for held in _kept():
        if held.link.name == os.fsencode(name):
            if held.is_open:
                complain(f"`{held.name}' is in use; end the program that has it open (`qbhelperctl status' names it)")
                return EXIT_NO
            return EXIT_YES if revoke.end(held) else EXIT_NO
    complain(f"there is no persistent TAP `{printable(name)}'; `qbhelperctl tap list' lists those that there are")
    return EXIT_NO


def show(*, as_json: bool) -> int:
    """Print the TAPs that stay, of all users.  Raises KernelError."""
    kept = _kept()
    if as_json:
        say_json({"taps": [_as_json(held) for held in kept]})
        return EXIT_YES
    if not kept:
        say("no persistent TAPs")
        return EXIT_YES
    rows = [("tap", "bridge", "user", "queues", "open", "since")]
    rows += [
        (
            held.name,
            printable(held.bridge or b"-"),
            people.user_name(held.lease.uid),
            str(held.lease.queues),
            "yes" if held.is_open else "no",
            time.strftime("%Y-%m-%d", time.localtime(held.lease.since)),
        )
        for held in kept
    ]
    for lines in table(rows, width()):
        for line in lines:
            say(line)
    return EXIT_YES


def check_words(action: str, name: str | None, bridge: str | None, queues: int | None, *, as_json: bool) -> None:
    """Raise UsageError if the words of `tap` do not go together."""
    if queues is not None and action != "create":
        raise UsageError("--queues is for `tap create'", "leave it out")
    if as_json and action != "list":
        raise UsageError("--json is for `tap list'", "leave it out")
    if action == "create" and (bridge is None or name is not None):
        raise UsageError("`tap create' takes --bridge and no name: the rule gives the name")
    if action == "delete" and (name is None or bridge is not None):
        raise UsageError("`tap delete' takes the name of a TAP, and nothing else")
    if action == "list" and (name is not None or bridge is not None):
        raise UsageError("`tap list' lists all of them, and takes no name")


def _kept() -> list[Held]:
    return [held for held in leases() if held.lease.persistent]


def _as_json(held: Held) -> dict[str, object]:
    return {
        "name": held.name,
        "bridge": printable(held.bridge) if held.bridge else None,
        "user": {"uid": held.lease.uid, "name": people.name_of(held.lease.uid)},
        "lease": held.lease.identity,
        "queues": held.lease.queues,
        "since": held.lease.since,
        "open": held.is_open,
        "revoked": held.lease.revoked,
    }
