# SPDX-License-Identifier: GPL-2.0-or-later
"""What names of users and groups mean on this host: /etc/passwd, or whatever nsswitch.conf(5) says."""

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS_KNOWN = 10.0
"""How long an answer counts.  A broker asks for the same names with every request."""
SECONDS_UNKNOWN = 1.0
"""The same for a name that nobody knows: it may be there soon, and to ask may take a directory service its time."""


class HostAccounts:
    """The accounts of this host."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], tuple[float, int | None]] = {}

    def uid_of(self, name: str) -> int | None:
        """Return the uid of a user; None if there is none of this name, or nobody can tell just now."""
        return self._number("user", name, _uid_of)

    def gid_of(self, name: str) -> int | None:
        """Return the gid of a group; None if there is none of this name, or nobody can tell just now."""
        return self._number("group", name, _gid_of)

    def _number(self, kind: str, name: str, ask: "Callable[[str], int]") -> int | None:
        until, number = self._answers.get((kind, name), (0.0, None))
        if until < time.monotonic():
            try:
                number = ask(name)
            except (KeyError, ValueError):  # ValueError: no account can have such a name
                number = None
            lasts = SECONDS_UNKNOWN if number is None else SECONDS_KNOWN
            self._answers[kind, name] = (time.monotonic() + lasts, number)
        return number


def _uid_of(name: str) -> int:
    import pwd  # here and below, because a policy may do without names

    return pwd.getpwnam(name).pw_uid


def _gid_of(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid
