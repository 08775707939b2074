# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller holds after a grant, written where it can't get lost: into the alias of the interface.

The kernel is the database.  Who may write an alias has CAP_NET_ADMIN, and a lease ends with its interface.
"""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_HEXADECIMAL = frozenset("0123456789abcdef")


class Lease:
    """A port that was granted.

    identity: 16 hexadecimal digits, never used twice; uid and pid: of the caller; since: seconds since 1970;
    queues: at least 1; rule: the identity of the policy's rule that granted it, 8 hexadecimal digits, None for an
    access list; settings: that of the port's settings, None for a plain port; persistent: the TAP is the caller's, and
    may outlive the processes that have it open; vhost: fds of /dev/vhost-net came with it; revoked: it is ended, and
    the TAP waits for its processes to let go.
    """

    __slots__ = ("identity", "persistent", "pid", "queues", "revoked", "rule", "settings", "since", "uid", "vhost")

    def __init__(
        self,
        identity: str,
        uid: int,
        pid: int,
        since: int,
        queues: int,
        rule: str | None,
        settings: str | None = None,
        *,
        persistent: bool = False,
        vhost: bool = False,
        revoked: bool = False,
    ) -> None:
        self.identity: Final = identity
        self.uid: Final = uid
        self.pid: Final = pid
        self.since: Final = since
        self.queues: Final = queues
        self.rule: Final = rule
        self.settings: Final = settings
        self.persistent: Final = persistent
        self.vhost: Final = vhost
        self.revoked: Final = revoked

    @classmethod
    def begin(
        cls,
        uid: int,
        pid: int,
        queues: int,
        rule: str | None,
        settings: str | None = None,
        *,
        persistent: bool = False,
        vhost: bool = False,
    ) -> "Lease":
        """Return a lease that begins now."""
        identity = os.urandom(8).hex()
        return cls(identity, uid, pid, int(time.time()), queues, rule, settings, persistent=persistent, vhost=vhost)

    def alias(self) -> bytes:
        """Return the lease as the alias of its interface."""
        text = f"qbhelper lease={self.identity} uid={self.uid} pid={self.pid} since={self.since}"
        if self.queues > 1:
            text += f" queues={self.queues}"
        if self.rule is not None:
            text += f" rule={self.rule}"
        if self.settings is not None:
            text += f" settings={self.settings}"
        if self.persistent:
            text += " persistent=1"
        if self.vhost:
            text += " vhost=1"
        if self.revoked:
            text += " revoked=1"
        return text.encode()

    def ended(self) -> "Lease":
        """Return this lease, revoked."""
        return self._with(self.settings, revoked=True)

    def off_bridge(self) -> "Lease":
        """Return this lease of a port that was taken off its bridge, which then forgets the port's settings."""
        return self._with(None, revoked=self.revoked)

    def _with(self, settings: str | None, *, revoked: bool) -> "Lease":
        return Lease(
            self.identity,
            self.uid,
            self.pid,
            self.since,
            self.queues,
            self.rule,
            settings,
            persistent=self.persistent,
            vhost=self.vhost,
            revoked=revoked,
        )


def parse_alias(alias: bytes) -> Lease | None:
    """Return the lease that an alias tells of; None if it is no alias of ours, whole and exact."""
    try:
        words = dict(word.split("=") for word in alias.decode("ascii").split(" ")[1:])
        lease = Lease(
            words["lease"],
            int(words["uid"]),
            int(words["pid"]),
            int(words["since"]),
            int(words.get("queues", "1")),
            words.get("rule"),
            words.get("settings"),
            persistent="persistent" in words,
            vhost="vhost" in words,
            revoked="revoked" in words,
        )
    except (KeyError, ValueError):
        return None
    is_whole = (
        _is_hexadecimal(lease.identity, 16)
        and (lease.rule is None or _is_hexadecimal(lease.rule, 8))
        and (lease.settings is None or _is_hexadecimal(lease.settings, 8))
        and 0 <= lease.uid < 1 << 32
        and 0 <= lease.pid < 1 << 32
        and 0 <= lease.since < 10**12
        and lease.queues >= 1
    )
    return lease if is_whole and lease.alias() == alias else None


def lease_of(kind: bytes, alias: bytes) -> "Lease | None":
    """Return the lease of an interface of this kind; one that is no TAP has none, whatever its alias is."""
    return parse_alias(alias) if kind == b"tun" else None


def is_lease(word: bytes) -> bool:
    """Whether this could be the identity of a lease."""
    return word.isascii() and _is_hexadecimal(word.decode(), 16)


def _is_hexadecimal(text: str, digits: int) -> bool:
    return len(text) == digits and set(text) <= _HEXADECIMAL
