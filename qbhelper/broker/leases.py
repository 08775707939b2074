# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps leases honest, from what the kernel says of the interfaces themselves.

Whoever holds a TAP's fd may set it persistent or give it another owner or group, without any privilege, and so
keep the port after the lease, or open more queues of it; or give it the MAC of another guest, whose place in the
bridge's database it then takes.  The kernel announces it; such a TAP is deleted at once.  Of one that is down, as
after it was revoked, the kernel announces nothing: it is looked at every few seconds.
"""

import errno
from collections.abc import Mapping

from qbhelper.broker.endings import is_left_over
from qbhelper.broker.journal import Journal, Priority
from qbhelper.errors import QbError, printable
from qbhelper.kernel import port
from qbhelper.kernel.announcements import Announcements
from qbhelper.kernel.link import Bridge
from qbhelper.kernel.message import BRIDGE_PORT_MAC_START, Link
from qbhelper.kernel.netlink import Links
from qbhelper.kernel.tap import NOBODYS
from qbhelper.lease import Lease, lease_of
from qbhelper.policy.port import PortSettings

SECONDS_BETWEEN_LOOKS = 5.0


class Leases:
    """The leases of this network namespace.  `events` is to be read whenever it can be."""

    def __init__(self, journal: Journal, with_macs: Mapping[str, PortSettings], links: Links) -> None:
        """Take over from the broker before: its leases go on, what was kept against the rules is removed.

        with_macs: by the identity of a rule that has `macs`, what it says of its ports; links: to ask through.
        """
        self._journal = journal
        self._with_macs = with_macs
        self._last_thief = ""
        self._down: set[int] = set()  # ports of leases of which the kernel announces nothing
        self._has_missed = False  # whether some of all interfaces may not have been looked at
        self._next_look = 0.0
        self._links = links
        self.events = Announcements()  # before the dump, so that nothing falls between
        self._look_at_all()

    def any(self) -> bool:
        """Whether somebody holds a lease now, or may do so."""
        try:
            return any(_lease_of(link) is not None for link in self._links.dump())
        except InterruptedError:
            return True

    def handle_events(self) -> None:
        """Read the waiting announcements, and end the leases that were tampered with."""
        announced = self.events.read()
        if announced is None:
            self._look_at_all()
            return
        # A MAC may have been changed back, or the TAP be gone with it, and what it took is taken all the same.
        thefts = [link for link in announced if _lease_of(link) and not _has_our_mac(link)]
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

    def look_after(self, index: int) -> None:
        """Look at a port now and then, as one that was set down, until it is gone or up again."""
        self._down.add(index)

    def patience(self, now: float) -> float | None:
        """Return after how many seconds `look_again` is due; None: not until something is announced."""
        return max(0.0, self._next_look - now) if self._down or self._has_missed else None

    def look_again(self, now: float) -> None:
        """Look at the ports that are down, and at what was missed, if it is time.  now: time.monotonic."""
        if self.patience(now) == 0:
            self._next_look = now + SECONDS_BETWEEN_LOOKS
            if self._has_missed:
                self._look_at_all()
            for index in [*self._down]:
                link = self._links.get(index)
                if link is None:
                    self._down.discard(index)
                else:
                    self._judge(link)

    def _look_at_all(self) -> None:
        self._has_missed = False
        for link in self._dump():
            self._judge(link)
        self._hold_macs(None)

    def _dump(self) -> list[Link]:
        """Return all interfaces; none where they came and went all the while, and then look again later."""
        try:
            return self._links.dump()
        except InterruptedError:
            self._has_missed = True
            return []

    def _judge(self, link: Link) -> None:
        lease = _lease_of(link)
        trick = _trick_of(link, lease) if lease else None
        if lease and not link.up:
            self._down.add(link.index)
        else:
            self._down.discard(link.index)
        if lease and trick:
            self._delete(link)
            self._log(link, lease, "deleted", f"its holder {trick}")
        elif lease and is_left_over(link, lease):
            self._delete(link)

    def _end_thief(self, theft: Link) -> None:
        """End the lease that the announcement of a `theft` is about, and tell of it, also if it has ended already."""
        now, lease = self._links.get(theft.index), _lease_of(theft)
        is_there = now is not None and now.alias == theft.alias
        if is_there:
            self._delete(theft)
        if lease and (is_there or lease.identity != self._last_thief):  # what waits may tell of it a thousand times
            self._last_thief = lease.identity
            self._log(theft, lease, "deleted", f"its holder {_theft_in_words(theft)}")

    def _hold_macs(self, taken: set[bytes] | None) -> None:
        """See to it that ports with `macs` have them, all, or those whose are among these: somebody has taken them."""
        for link in self._dump() if self._with_macs else ():
            lease = _lease_of(link)
            settings = self._with_macs.get(lease.rule) if lease and lease.rule else None
            if not settings or (taken is not None and taken.isdisjoint(settings.macs)):
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
        bridge = self._links.get(link.master) if link.master else None
        self._journal.write(
            Priority.WARNING,
            f"port {printable(link.name)} of uid {lease.uid} {event}: {why}",
            EVENT=event,
            LEASE=lease.identity,
            UID=lease.uid,
            PID=lease.pid,
            INTERFACE=printable(link.name),
            **({"BRIDGE": printable(bridge.name)} if bridge else {}),
        )


def _trick_of(link: Link, lease: Lease) -> str | None:
    """Return what the holder has done to a TAP, if it is not as it was made."""
    if link.persistent and not lease.persistent:
        return "set it persistent"
    if link.owner != (lease.uid if lease.persistent else NOBODYS) or link.group is not None:
        return "gave it away"
    if link.queues > lease.queues:
        return f"opened {link.queues} queues, and was granted {lease.queues}"
    if not _has_our_mac(link):
        return _theft_in_words(link)
    return None


def _theft_in_words(link: Link) -> str:
    return f"changed its MAC to {link.address.hex(':')}"


def _lease_of(link: Link) -> Lease | None:
    return lease_of(link.kind, link.alias)


def _has_our_mac(link: Link) -> bool:
    return link.address.startswith(BRIDGE_PORT_MAC_START)
