# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps leases honest, from what the kernel says of the interfaces themselves.

Whoever holds a TAP's fd may set it persistent or give it another owner or group, without any privilege, and so
keep the port after the lease, or open more queues of it; or give it the MAC of another guest, whose place in the
bridge's database it then takes.  The kernel announces it; such a TAP is deleted at once.
"""

import errno
from collections.abc import Callable

from qbhelper.broker.journal import Journal, Priority
from qbhelper.errors import QbError, printable
from qbhelper.kernel import port
from qbhelper.kernel.announcements import Announcements
from qbhelper.kernel.link import Bridge
from qbhelper.kernel.message import BRIDGE_PORT_MAC_START, Link
from qbhelper.kernel.netlink import Links
from qbhelper.lease import Lease, parse_alias
from qbhelper.policy.port import PortSettings

_OWNER = 0
"""The uid that kernel/tap.py gives every TAP to."""


class Leases:
    """The leases of this network namespace.  `events` is to be read whenever it can be."""

    def __init__(self, journal: Journal, settings_of: Callable[[str], PortSettings | None]) -> None:
        """Take over from the broker before: its leases go on, what was kept against the rules is removed.

        settings_of: what the rule of this identity says of its ports; None if there is no such rule any more.
        """
        self._journal = journal
        self._settings_of = settings_of
        self._last_thief = ""
        self._links = Links()
        self.events = Announcements()  # before the dump, so that nothing falls between
        self._judge_all()
        self._hold_macs(None)

    def any(self) -> bool:
        """Whether somebody holds a lease now."""
        return any(parse_alias(link.alias) is not None for link in self._links.dump())

    def handle_events(self) -> None:
        """Read the waiting announcements, and end the leases that were tampered with."""
        announced = self.events.read()
        if announced is None:
            self._judge_all()
            self._hold_macs(None)
            return
        # A MAC may have been changed back, or the TAP be gone with it, and what it took is taken all the same.
        thefts = [link for link in announced if parse_alias(link.alias) and not _has_our_mac(link)]
        for theft in {link.alias: link for link in thefts}.values():
            self._end_thief(theft)
        if thefts:
            self._hold_macs({link.address for link in thefts})
        for index in {link.index for link in announced}:
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
            self._delete(link)
            self._log(link, lease, "deleted", f"its holder {trick}")

    def _end_thief(self, theft: Link) -> None:
        """End the lease that the announcement of a `theft` is about, and tell of it, also if it has ended already."""
        now, lease = self._links.get(theft.index), parse_alias(theft.alias)
        is_there = now is not None and now.alias == theft.alias
        if is_there:
            self._delete(theft)
        if lease and (is_there or lease.identity != self._last_thief):  # what waits may tell of it a thousand times
            self._last_thief = lease.identity
            self._log(theft, lease, "deleted", f"its holder changed its MAC to {theft.address.hex(':')}")

    def _hold_macs(self, taken: set[bytes] | None) -> None:
        """See to it that ports with `macs` have them, all, or those whose are among these: somebody has taken them."""
        for link in self._links.dump():
            lease = parse_alias(link.alias) if link.kind == b"tun" else None
            settings = self._settings_of(lease.rule) if lease and lease.rule else None
            if not settings or not settings.macs or (taken is not None and taken.isdisjoint(settings.macs)):
                continue
            master = self._links.get(link.master) if link.master else None
            if lease and master:
                try:
                    port.hold_macs(link.index, link.name, Bridge.of(master), settings)
                except QbError as error:
                    if self._links.get(link.index) is not None:
                        self._log(link, lease, "error", str(error))

    def _delete(self, link: Link) -> None:
        try:
            self._links.delete(link.index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise

    def _log(self, link: Link, lease: Lease, event: str, why: str) -> None:
        self._journal.write(
            Priority.WARNING,
            f"port {printable(link.name)} of uid {lease.uid} {event}: {why}",
            EVENT=event,
            LEASE=lease.identity,
            UID=lease.uid,
            PID=lease.pid,
            INTERFACE=printable(link.name),
        )


def _trick_of(link: Link, lease: Lease) -> str | None:
    """Return what the holder has done to a TAP, if it is not as it was made."""
    if link.persistent:
        return "set it persistent"
    if link.owner != _OWNER or link.group is not None:
        return "gave it away"
    if link.queues > lease.queues:
        return f"opened more queues than the {lease.queues} that were granted"
    if not _has_our_mac(link):
        return f"changed its MAC to {link.address.hex(':')}"
    return None


def _has_our_mac(link: Link) -> bool:
    return link.address.startswith(BRIDGE_PORT_MAC_START)
