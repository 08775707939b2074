# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl revoke`: ends leases: one, those of a user, those on a bridge.

What is ended is chosen here and ended by the broker, which knows who asks and takes a lease, never a name.
"""

import os

from qbhelper.ctl import client, people
from qbhelper.ctl.held import Held, leases
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, complain, say
from qbhelper.errors import QbError, UsageError, printable
from qbhelper.lease import is_lease
from qbhelper.wire import Code, Ending


def run(lease: str | None, user: str | None, bridge: str | None, *, detach: bool) -> int:
    """End what was chosen, and say what was; EXIT_NO unless there was something and all of it was ended.

    Raises QbError.
    """
    chosen = _chosen(lease, user, bridge)
    if not chosen:
        complain("there is no such lease; `qbhelperctl status' shows those that there are")
        return EXIT_NO
    ended = [end(held, detach=detach) for held in chosen]  # each, also after one that was refused
    return EXIT_YES if all(ended) else EXIT_NO


def end(held: Held, *, detach: bool = False, quiet: bool = False) -> bool:
    """Have one lease ended, and say so unless `quiet`; False, with a complaint, if the broker refused.

    Raises NoBrokerError.
    """
    try:
        client.ask_for_end(Ending(held.lease.identity, detach))
    except client.Refusal as refusal:
        if refusal.code != Code.NO_SUCH_LEASE.name:  # it has just ended by itself
            complain(printable(str(refusal)))
            return False
    if not quiet:
        where = f" on {printable(held.bridge)}" if held.bridge else ""
        done = "detached" if detach else "revoked"
        say(f"{done} {held.name} of {people.user_name(held.lease.uid)}{where} (lease {held.lease.identity})")
    return True


def _chosen(lease: str | None, user: str | None, bridge: str | None) -> list[Held]:
    if (lease is None) == (user is None and bridge is None):
        raise UsageError("say which: one LEASE, or --user, --bridge or both", "`qbhelperctl status' shows the leases")
    there = [held for held in leases() if not held.lease.revoked]
    if lease is not None:
        if not is_lease(os.fsencode(lease)):
            raise _no_lease(lease, there)
        return [held for held in there if held.lease.identity == lease]
    # Of others only root can end any; who is not root means their own.
    uid = people.person_named(user).caller.uid if user is not None else None if os.getuid() == 0 else os.getuid()
    return [
        held
        for held in there
        if uid in (None, held.lease.uid) and (bridge is None or held.bridge == os.fsencode(bridge))
    ]


def _no_lease(word: str, there: list[Held]) -> QbError:
    what = f"`{printable(word)}' is no lease: names change hands, so a lease is ended by its 16 digits"
    for held in there:
        if held.link.name == os.fsencode(word):
            return UsageError(what, f"that of {held.name} is {held.lease.identity}")
    return UsageError(what, "`qbhelperctl status' shows them")
