# SPDX-License-Identifier: GPL-2.0-or-later
"""What names of users and groups mean on this host: /etc/passwd, or whatever nsswitch.conf(5) says."""

import time

SECONDS_KEPT = 10.0
"""How long an answer counts.  A broker asks for the same names with every request."""


class HostAccounts:
    """The accounts of this host.  A name that is not known is asked for anew each time: it may be there soon."""

    __slots__ = ("_gids", "_since", "_uids")

    def __init__(self) -> None:
        self._uids: dict[str, int] = {}
        self._gids: dict[str, int] = {}
        self._since = 0.0

    def uid_of(self, name: str) -> int | None:
        """Return the uid of a user; None if there is none of this name, or nobody can tell just now."""
        self._forget_the_old()
        if name not in self._uids:
            import pwd  # here and below, because a policy may do without names

            try:
                self._uids[name] = pwd.getpwnam(name).pw_uid
            except (KeyError, ValueError):  # ValueError: no account can have such a name
                return None
        return self._uids[name]

    def gid_of(self, name: str) -> int | None:
        """Return the gid of a group; None if there is none of this name, or nobody can tell just now."""
        self._forget_the_old()
        if name not in self._gids:
            import grp

            try:
                self._gids[name] = grp.getgrnam(name).gr_gid
            except (KeyError, ValueError):
                return None
        return self._gids[name]

    def _forget_the_old(self) -> None:
        now = time.monotonic()
        if now - self._since > SECONDS_KEPT:
            self._uids.clear()
            self._gids.clear()
            self._since = now
