# SPDX-License-Identifier: GPL-2.0-or-later
"""What the broker's log says of each request: who asked for what, how it went, and which line decided."""

from qbhelper.broker.journal import Journal, Priority
from qbhelper.errors import printable
from qbhelper.grant import Port
from qbhelper.kernel.message import Link
from qbhelper.lease import Lease
from qbhelper.request import Caller, Request
from qbhelper.wire import Code, Ending, Reply


def answered(journal: Journal, request: Request, caller: Caller, port: Port | None, reply: Reply) -> None:
    """Write that a port was granted, or refused; not that nothing was decided."""
    bridge = printable(request.bridge)
    fields: dict[str, str | int] = {
        "UID": caller.uid,
        "PID": caller.pid,
        "BRIDGE": bridge,
        "CODE": reply.code.name,
    }
    if port and reply.code is Code.GRANTED:
        name = printable(port.name)
        journal.write(
            Priority.INFO,
            f"uid {caller.uid} has port {name} on {bridge} by {port.decision.place}",
            EVENT="granted",
            LEASE=port.lease.identity,
            INTERFACE=name,
            RULE=str(port.decision.place),
            **fields,
        )
    elif reply.code is not Code.BUSY:
        journal.write(
            Priority.NOTICE,
            f"uid {caller.uid} refused on {bridge}: {reply.message}",
            EVENT="refused",
            **fields,
        )


def ended(journal: Journal, ending: Ending, caller: Caller, link: Link, lease: Lease) -> None:
    """Write that a lease was revoked, or its port detached."""
    what = "detached" if ending.detach else "revoked"
    name = printable(link.name)
    journal.write(
        Priority.NOTICE,
        f"port {name} of uid {lease.uid} {what} by uid {caller.uid}",
        EVENT=what,
        LEASE=lease.identity,
        UID=lease.uid,
        PID=lease.pid,
        INTERFACE=name,
        BY_UID=caller.uid,
    )
