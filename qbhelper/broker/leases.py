# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps leases honest, from what the kernel says of the interfaces themselves.

Whoever holds a TAP's fd may set it persistent or give it another owner or group, without any privilege, and so
keep the port after the lease, or open more queues of it; or give it the MAC of another guest, whose place in the
bridge's database it then takes.  The kernel announces it; such a TAP is deleted at once.
"""

import errno

from qbhelper.broker.journal import Journal, Priority
from qbhelper.errors import printable
from qbhelper.kernel.announcements import Announcements
from qbhelper.kernel.message import BRIDGE_PORT_MAC_START, Link
from qbhelper.kernel.netlink import Links
from qbhelper.lease import Lease, parse_alias

_OWNER = 0
"""The uid that kernel/tap.py gives every TAP to."""


class Leases:
    """The leases of this network namespace.  `events` is to be read whenever it can be."""

    def __init__(self, journal: Journal) -> None:
        """Take over from the broker before: its leases go on, what was kept against the rules is removed."""
        self._journal = journal
        self._links = Links()
        self.events = Announcements()  # before the dump, so that nothing falls between
        self._judge_all()

    def any(self) -> bool:
        """Whether somebody holds a lease now."""
        return any(parse_alias(link.alias) is not None for link in self._links.dump())

    def handle_events(self) -> None:
        """Read the waiting link events, and end the leases that were tampered with."""
        suspects = self.events.read()
        if suspects is None:
            self._judge_all()
            return
        for index in suspects:
            # Judge what is there: the announcement may be old, and the index another interface's by now.  And it tells
            # the owner as the user namespace of whoever caused it knows uids: nobody, or root, in a container.
            link = self._links.get(index)
            if link is not None:
                self._judge(link)

    def _judge_all(self) -> None:
        for link in self._links.dump():
            self._judge(link)

    def _judge(self, link: Link) -> None:
        lease = parse_alias(link.alias) if link.kind == b"tun" else None
        trick = _trick_of(link, lease) if lease else None
        if lease and trick:
            self._delete(link, lease, trick)

    def _delete(self, link: Link, lease: Lease, trick: str) -> None:
        try:
            self._links.delete(link.index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        self._journal.write(
            Priority.WARNING,
            f"port {printable(link.name)} of uid {lease.uid} deleted: its holder {trick}",
            EVENT="deleted",
            LEASE=lease.identity,
            UID=lease.uid,
            PID=lease.pid,
            INTERFACE=printable(link.name),
        )


def _trick_of(link: Link, lease: Lease) -> str | None:
    """Return what the holder has done to a TAP that it is not as it was made, if it is not."""
    if link.persistent:
        return "set it persistent"
    if link.owner != _OWNER or link.group is not None:
        return "gave it away"
    if link.queues > lease.queues:
        return f"opened more queues than the {lease.queues} that were granted"
    if not link.address.startswith(BRIDGE_PORT_MAC_START):
        return f"changed its MAC to {link.address.hex(':')}"
    return None
