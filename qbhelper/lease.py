# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller holds after a grant, written where it can't get lost: into the alias of the interface.

The kernel is the database.  Who may write an alias has CAP_NET_ADMIN, and a lease ends with its interface.
"""

import re
from dataclasses import dataclass

_ALIAS = re.compile(rb"qbhelper lease=([0-9a-f]{16}) uid=([0-9]{1,10}) pid=([0-9]{1,10}) since=([0-9]{1,12})")
ALIAS_START = b"qbhelper lease="


@dataclass(frozen=True)
class Lease:
    """A port that was granted.

    identity: 16 hexadecimal digits, never used twice; uid and pid: of the caller, as the broker saw them;
    since: seconds since 1970.
    """

    identity: str
    uid: int
    pid: int
    since: int

    def alias(self) -> bytes:
        """Return the lease as the alias of its interface."""
        return f"qbhelper lease={self.identity} uid={self.uid} pid={self.pid} since={self.since}".encode()


def parse_alias(alias: bytes) -> Lease | None:
    """Return the lease that an alias tells of; None if it is no alias of ours, whole and exact."""
    found = _ALIAS.fullmatch(alias)
    if found is None:
        return None
    identity, uid, pid, since = found.groups()
    return Lease(identity.decode(), int(uid), int(pid), int(since))
