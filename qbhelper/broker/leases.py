# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps leases honest, from what the kernel says of the interfaces themselves.

Whoever holds a TAP's fd may set it persistent or give it another owner or group, without any privilege, and so
keep the port after the lease.  The kernel announces it; such a TAP is deleted at once.
"""

import errno

from qbhelper.broker.journal import Journal, Priority
from qbhelper.errors import printable
from qbhelper.kernel.message import Link, tap_of
from qbhelper.kernel.netlink import LinkEvents, Links
from qbhelper.lease import ALIAS_START, Lease, parse_alias

_OWNER = 0
"""The uid that kernel/tap.py gives every TAP to."""


class Leases:
    """The leases of this network namespace.  `events` is to be read whenever it can be."""

    def __init__(self, journal: Journal) -> None:
        """Take over from the broker before: its leases go on, what was kept against the rules is removed."""
        self._journal = journal
        self._links = Links()
        untampered = (tap_of(_OWNER, vnet_header=True), tap_of(_OWNER, vnet_header=False))
        self.events = LinkEvents(ALIAS_START, boring=untampered)  # before the dump, so that nothing falls between
        self._judge_all()

    def any(self) -> bool:
        """Whether somebody holds a lease now."""
        return any(parse_alias(link.alias) is not None for link in self._links.dump())

    def handle_events(self) -> None:
        """Read the waiting link events, and end the leases that were tampered with."""
        links = self.events.read()
        if links is None:
            self._judge_all()
            return
        for link in links:
            if _kept_lease(link) is not None:
                # Judge what is there: the event may be old, and the index another interface's by now.  And it tells
                # the owner as the user namespace of whoever caused it knows uids: nobody, in a container.
                now = self._links.get(link.index)
                if now is not None:
                    self._judge(now)

    def _judge_all(self) -> None:
        for link in self._links.dump():
            self._judge(link)

    def _judge(self, link: Link) -> None:
        lease = _kept_lease(link)
        if lease is not None:
            self._delete(link, lease)

    def _delete(self, link: Link, lease: Lease) -> None:
        try:
            self._links.delete(link.index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        self._journal.write(
            Priority.WARNING,
            f"port {printable(link.name)} of uid {lease.uid} deleted: its holder set it persistent or gave it away",
            EVENT="deleted",
            LEASE=lease.identity,
            UID=lease.uid,
            PID=lease.pid,
            INTERFACE=printable(link.name),
        )


def _kept_lease(link: Link) -> Lease | None:
    """Return the lease of ours that was made to outlive its holder, if that is what a link is."""
    if link.gone or link.kind != b"tun":
        return None
    is_kept = link.persistent or link.owner != _OWNER or link.group is not None
    return parse_alias(link.alias) if is_kept else None
