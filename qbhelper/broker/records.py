# SPDX-License-Identifier: GPL-2.0-or-later
"""What the broker's log says of each request: who asked for what, how it went, and which line decided."""

from typing import TYPE_CHECKING

from qbhelper import record
from qbhelper.broker.endings import Ended
from qbhelper.broker.journal import Journal, Priority
from qbhelper.errors import printable
from qbhelper.grant import Port
from qbhelper.request import Caller, Request
from qbhelper.wire import Code, Ending, Reply

if TYPE_CHECKING:
    from qbhelper.record import Record


def answered(journal: Journal, request: Request, caller: Caller, port: Port | None, reply: Reply, rule: str) -> None:
    """Write that a port was granted, or refused by `rule`, if one decided; not that nothing was decided."""
    who = (caller.uid, caller.pid, request.bridge)
    if port and reply.code is Code.GRANTED:
        _write(journal, record.granted(*who, port.name, port.lease.identity, str(port.decision.place)))
    elif reply.code is not Code.BUSY:
        _write(journal, record.refused(*who, reply.code.name, rule, reply.message))


def ended(journal: Journal, ending: Ending, caller: Caller, end: Ended) -> None:
    """Write that a lease was revoked, or its port detached."""
    what = "detached" if ending.detach else "revoked"
    name, lease = printable(end.name), end.lease
    fields: dict[str, str | int] = {
        "EVENT": what,
        "LEASE": lease.identity,
        "UID": lease.uid,
        "PID": lease.pid,
        "INTERFACE": name,
        "BY_UID": caller.uid,
    }
    if end.bridge is not None:
        fields["BRIDGE"] = printable(end.bridge)
    _write(journal, (record.NOTICE, f"port {name} of uid {lease.uid} {what} by uid {caller.uid}", fields))


def _write(journal: Journal, what: "Record") -> None:
    priority, text, fields = what
    journal.write(Priority(priority), text, **fields)
