# SPDX-License-Identifier: GPL-2.0-or-later
"""What the log has of a grant or a refusal, and how a record is written: for the journal, and for syslog.

The broker and the standalone way use the same fields, so that one search finds both (qbhelper/ctl/log.py).  Plain
functions on what costs nothing to import: QEMU waits for the end of the standalone way.
"""

import struct

from qbhelper.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Fields = Mapping[str, str | int]
    Record = tuple[int, str, Fields]

ACCOUNT = "qbhelper"
"""Whom the broker serves as.  Nobody else does, so the journal's _UID tells its records from what others write."""
BROKER = "qbhelperd"
STANDALONE = "qbhelper"
"""Who says it: SYSLOG_IDENTIFIER in the journal, the tag in syslog."""

JOURNAL = "/run/systemd/journal/socket"
SYSLOG = "/dev/log"
PREFIX = "QBHELPER_"
"""Of the names of our fields in the journal."""

NOTICE = 5
INFO = 6
"""How much it matters (syslog(3))."""
_AUTHPRIV = 10 << 3
"""The facility of syslog for who was let in: its file is for the administrator."""


def granted(uid: int, pid: int, bridge: bytes, interface: bytes, lease: str, rule: str) -> "Record":
    """Return the priority, the text and the fields of a grant; lease: its identity; rule: the line that allowed it."""
    fields = _fields("granted", uid, pid, bridge, "GRANTED", rule)
    name = printable(interface)
    text = f"uid {uid} has port {name} on {printable(bridge)} by {rule}"
    return INFO, text, {**fields, "LEASE": lease, "INTERFACE": name}


def refused(uid: int, pid: int, bridge: bytes | None, code: str, rule: str, reason: str) -> "Record":
    """Return the priority, the text and the fields of a refusal; bridge: None if none was named."""
    where = f" on {printable(bridge)}" if bridge is not None else ""
    text = f"uid {uid} refused{where}: {printable(reason)}"
    return NOTICE, text, {**_fields("refused", uid, pid, bridge, code, rule), "REASON": printable(reason)}


def _fields(event: str, uid: int, pid: int, bridge: bytes | None, code: str, rule: str) -> "dict[str, str | int]":
    fields: dict[str, str | int] = {"EVENT": event, "UID": uid, "PID": pid, "CODE": code}
    if bridge is not None:
        fields["BRIDGE"] = printable(bridge)
    if rule:
        fields["RULE"] = printable(rule)
    return fields


def for_journal(identifier: str, priority: int, text: str, fields: "Fields") -> bytes:
    """Return the datagram that takes a record to the journal (systemd's Journal Native Protocol)."""
    return b"".join(
        (
            _field("MESSAGE", printable(text)),
            _field("PRIORITY", str(priority)),
            _field("SYSLOG_IDENTIFIER", identifier),
            *(_field(PREFIX + name, str(value)) for name, value in fields.items()),
        )
    )


def for_syslog(identifier: str, pid: int, priority: int, text: str, fields: "Fields") -> bytes:
    """Return the datagram that takes a record to syslog, which adds the time.  pid: of who writes it."""
    return f"<{_AUTHPRIV | priority}>{identifier}[{pid}]: {in_one_line(text, fields)}".encode()


def in_one_line(text: str, fields: "Fields") -> str:
    """Return a record for where there are only lines: printable, the fields behind the text; a REASON stands in it."""
    words = [f"{name.lower()}={value}" for name, value in fields.items() if name != "REASON"]
    return printable(" ".join([text, *words]))


def _field(name: str, value: str) -> bytes:
    # With its length, so that no value can look like another field.
    data = value.encode("utf-8", "backslashreplace")
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
