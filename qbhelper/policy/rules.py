# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of a policy, and its verdict: default is deny, any deny wins, the first allow gives the terms.

Fail closed on names: an account that this host does not know is nobody to an allow, so that one that was deleted
locks out nobody else; to a deny it could be anybody, so everybody is refused whom the deny might mean.
"""

from zlib import crc32

from qbhelper.policy.decision import Decision, Place
from qbhelper.policy.port import PLAIN_TERMS, Terms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from qbhelper.policy.access_list import AccessList
    from qbhelper.policy.who import Accounts, Who
    from qbhelper.request import Caller

    Day = tuple[int, int, int]
    """Year, month, day."""


class Rule:
    """An allow or a deny.  bridges: by name, None for all; expires: the last day on which it counts."""

    __slots__ = ("allow", "bridges", "expires", "place", "terms", "who")

    def __init__(
        self,
        allow: bool,
        bridges: frozenset[bytes] | None,
        who: "Who",
        place: Place,
        terms: Terms = PLAIN_TERMS,
        expires: "Day | None" = None,
    ) -> None:
        self.allow: Final = allow
        self.bridges: Final = bridges
        self.who: Final = who
        self.place: Final = place
        self.terms: Final = terms
        self.expires: Final = expires

    def speaks_of(self, bridge: bytes) -> bool:
        """Whether this is a bridge of the rule's; names are compared byte by byte."""
        return self.bridges is None or bridge in self.bridges


def scope_of(bridges: frozenset[bytes] | None, who: "Who") -> str:
    """Return what a rule speaks of, the same for the same bridges and accounts however they are written."""
    names = ["*"] if bridges is None else sorted(name.decode() for name in bridges)
    users, groups = ("*" if ids is None else str(ids) for ids in (who.users, who.groups))
    return "\n".join(("/".join(names), users, groups))  # none of the three has a line feed in it, no bridge a slash


def identity_of(scope: str) -> str:
    """Return 8 hexadecimal digits for a scope.

    Ports that were granted are counted by them, so they depend on nothing that can change without another meaning of
    the rule: not on its line, and on no setting.  Two scopes may have the same; whoever reads rules has to look.
    """
    return f"{crc32(scope.encode()):08x}"


def _date(day: "Day") -> str:
    return "-".join((f"{day[0]:04}", f"{day[1]:02}", f"{day[2]:02}"))


class Policy:
    """All rules of this host in their order, the same for every caller.  `path` names it in messages."""

    __slots__ = ("path", "qemu_acl", "rules")

    def __init__(self, path: str, rules: "tuple[Rule, ...]", qemu_acl: bool = False) -> None:
        self.path: Final = path
        self.rules: Final = rules
        self.qemu_acl: Final = qemu_acl

    def decide(self, bridge: bytes, asked: bytes, caller: "Caller", accounts: "Accounts", today: "Day") -> Decision:
        """Return the verdict on `bridge`, which `caller` asked for by the name `asked`: it may be an altname."""
        for rule in self.rules:
            if not rule.allow and (rule.speaks_of(bridge) or rule.speaks_of(asked)):
                is_meant = rule.who.includes(caller, accounts)
                if is_meant is None:
                    return Decision(False, rule.place, note="it names an account that is not known on this host")
                if is_meant:
                    return Decision(False, rule.place)
        note = ""
        for rule in self.rules:
            if rule.allow and rule.speaks_of(bridge) and rule.who.includes(caller, accounts):
                if rule.expires is None or today <= rule.expires:
                    return Decision(True, rule.place, rule.terms)
                note = note or f"{rule.place} allowed it until {_date(rule.expires)}"
        return Decision(False, None, note=note)

    def for_caller(
        self,
        caller: "Caller",
        accounts: "Accounts",
        clock: "Callable[[], Day]",
        access_list: "AccessList | None" = None,
    ) -> "CallersPolicy":
        """Return the policy as it stands for `caller`; with `qemu_acl`, beside the access list as they may read it."""
        if self.qemu_acl != (access_list is not None):
            raise ValueError("an access list counts if and only if the policy says so")
        return CallersPolicy(self, caller, accounts, clock, access_list)


class CallersPolicy:
    """A policy as it stands for one caller.  May be kept: each verdict looks at the date and the accounts anew."""

    __slots__ = ("_access_list", "_accounts", "_caller", "_clock", "_policy", "path")

    def __init__(
        self,
        policy: Policy,
        caller: "Caller",
        accounts: "Accounts",
        clock: "Callable[[], Day]",
        access_list: "AccessList | None",
    ) -> None:
        self.path: Final = policy.path
        self._policy = policy
        self._caller = caller
        self._accounts = accounts
        self._clock = clock
        self._access_list = access_list

    def decide(self, bridge: bytes, asked: bytes | None = None) -> Decision:
        """Return the verdict on `bridge`, which was `asked` for by this name; a deny of either file wins."""
        asked = bridge if asked is None else asked
        ours = self._policy.decide(bridge, asked, self._caller, self._accounts, self._clock())
        if self._access_list is None or (not ours.allowed and ours.place):
            return ours
        listed = self._access_list.decide(bridge, asked)
        if not listed.allowed and listed.place:
            return listed
        return ours if ours.allowed or not listed.allowed else listed
