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
        self._links = Links()
        self.events = Announcements()  # before the dump, so that nothing falls between
        self._judge_all()

    def any(self) -> bool:
        """Whether somebody holds a lease now."""
        return any(parse_alias(link.alias) is not None for link in self._links.dump())

    def handle_events(self) -> None:
        """Read the waiting link events, and end the leases that were tampered with."""
        announced = self.events.read()
        if announced is None:
            self._judge_all()
            return
        for before in {(link.index, link.alias, _has_our_mac(link)): link for link in announced}.values():
            # Judge what is there: the announcement may be old, and the index another interface's by now.  And it tells
            # the owner as the user namespace of whoever caused it knows uids: nobody, or root, in a container.
            link = self._links.get(before.index)
            if link is not None:
                # But for the MAC: it may be changed back, and what it took is gone.
                self._judge(link, mac=link if before.alias != link.alias or _has_our_mac(before) else before)

    def _judge_all(self) -> None:
        for link in self._links.dump():
            self._judge(link, mac=link)
        self._hold_macs(None)

    def _judge(self, link: Link, mac: Link) -> None:
        lease = parse_alias(link.alias) if link.kind == b"tun" else None
        trick = _trick_of(link, lease, mac) if lease else None
        if lease and trick:
            self._delete(link, lease, trick)
            if not _has_our_mac(mac):
                self._hold_macs(link.master)

    def _hold_macs(self, bridge: int | None) -> None:
        """See to it that ports with `macs` have them, on one bridge or on all: somebody may have taken them."""
        for link in self._links.dump():
            lease = parse_alias(link.alias) if link.kind == b"tun" else None
            settings = self._settings_of(lease.rule) if lease and lease.rule else None
            if not settings or not settings.macs or link.master == 0 or bridge not in (None, link.master):
                continue
            master = self._links.get(link.master)
            if master is not None:
                try:
                    port.hold_macs(link.index, link.name, Bridge.of(master), settings)
                except QbError as error:
                    self._journal.write(Priority.WARNING, str(error), EVENT="error", INTERFACE=printable(link.name))

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


def _trick_of(link: Link, lease: Lease, mac: Link) -> str | None:
    """Return what the holder has done to a TAP, if it is not as it was made.  `mac`: where its MAC is to be seen."""
    if link.persistent:
        return "set it persistent"
    if link.owner != _OWNER or link.group is not None:
        return "gave it away"
    if link.queues > lease.queues:
        return f"opened more queues than the {lease.queues} that were granted"
    if not _has_our_mac(mac):
        return f"changed its MAC to {mac.address.hex(':')}"
    return None


def _has_our_mac(link: Link) -> bool:
    return link.address.startswith(BRIDGE_PORT_MAC_START)
