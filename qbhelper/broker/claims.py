# SPDX-License-Identifier: GPL-2.0-or-later
"""Removes claims to a port that come to nothing, and are in everybody's way (quota.py).

A helper of its own claims a port, counts and goes on, all within the ten seconds that it gives itself.  But whoever
called it may stop it (SIGSTOP), and by claims that are never decided could keep the last ports of a rule from all.
"""

import time
from contextlib import suppress

from qbhelper.broker.journal import Journal, Priority
from qbhelper.errors import printable
from qbhelper.kernel.message import named_with
from qbhelper.kernel.netlink import Links
from qbhelper.quota import CLAIM, uid_of_claim

STALE_SECONDS = 15
"""More than a helper takes that was not stopped."""
LOOK_SECONDS = 1
"""Between two looks: many who wait for the last ports at once cost one look."""


class Claims:
    """The claims of this network namespace, and since when each has been seen."""

    def __init__(self, journal: Journal, links: Links) -> None:
        self._journal = journal
        self._links = links
        self._seen: dict[int, float] = {}
        self._next_look = 0.0

    def end_stale(self) -> None:
        """Look for claims, and remove those that were seen long ago already.  For when some are in a caller's way."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        try:
            found = self._links.dump_taps((named_with(CLAIM),))
        except OSError:  # interfaces came and went: who waits asks again
            return
        # What root has named so with `ip tuntap add` is persistent, and not for us to remove.
        claims = [link for link in found if uid_of_claim(link.name) is not None and not link.persistent]
        self._seen = {link.index: self._seen.get(link.index, now) for link in claims}
        for link in claims:
            if now - self._seen[link.index] >= STALE_SECONDS:
                with suppress(OSError):  # it is gone
                    self._links.delete(link.index)
                self._journal.write(
                    Priority.WARNING,
                    f"claim {printable(link.name)} deleted: uid {uid_of_claim(link.name)} has stopped its helper",
                    EVENT="deleted",
                    UID=uid_of_claim(link.name) or 0,
                    INTERFACE=printable(link.name),
                )
