# SPDX-License-Identifier: GPL-2.0-or-later
"""Who gets through the gates on the way to a file, as a rule of a policy says it: users, or members of groups.

The modes and ACLs on a path can ask for more than a rule can say: to be in two groups, or not to be in one.  So for
each uid that they name, and for all others, it is worked out which groups open them; if that is the same groups for
all, or none are needed, a rule can say it.
"""

from collections.abc import Iterable

from qbhelper.broker.permission import Gate
from qbhelper.policy.who import ID_MAX, Ids, Who

Clause = tuple[frozenset[int], frozenset[int]]
"""Fulfilled by who is in one of the first groups, or is not in one of the second."""
Condition = frozenset[Clause]
"""Clauses all of which have to be fulfilled."""

_NONE: frozenset[int] = frozenset()
MET: Condition = frozenset()
UNMET: Condition = frozenset({(_NONE, _NONE)})

_USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x02, 0x04, 0x08, 0x10, 0x20
"""Tags in an ACL (linux/posix_acl.h)."""

EVERYONE = Who()
NOBODY = Who(Ids((), ()))


class Readers:
    """Those who get through all of `gates`."""

    def __init__(self, gates: Iterable[Gate] = ()) -> None:
        # Most gates let everybody pass, and the others stand on several ways.
        self.gates = tuple(dict.fromkeys(gate for gate in gates if not _is_open(gate)))
        self.named = _NONE.union(*map(_uids_in, self.gates))

    def condition(self, uid: int | None) -> Condition:
        """Return in which groups the user `uid` has to be; None stands for each of those that no gate names."""
        return _simple(clause for gate in self.gates for clause in condition_of(gate, uid))

    def are_among(self, others: "Readers") -> bool:
        """Whether all of these are surely among `others`."""
        return all(
            any(_is_within(mine, clause) for mine in self.condition(uid))
            for uid in (None, *self.named, *others.named)
            for clause in others.condition(uid)
        )

    def who(self) -> Who | None:
        """Return these as a rule says it; None if no rule can."""
        of_others, of_named = self.condition(None), {uid: self.condition(uid) for uid in self.named}
        conditions = {of_others, *of_named.values()}
        of_groups = conditions - {MET, UNMET}
        groups = _NONE
        if of_groups:
            # In the rule it is enough for everybody to be in one of its groups.
            [condition, *different] = of_groups
            if different or UNMET in conditions or len(condition) > 1:
                return None
            [(groups, unwanted)] = condition
            if unwanted:
                return None
        if of_others == MET:
            users = _all_but(uid for uid, condition in of_named.items() if condition != MET)
        else:
            users = Ids((), [(uid, uid) for uid, condition in of_named.items() if condition == MET])
        return _who(users, groups)


def condition_of(gate: Gate, uid: int | None) -> Condition:
    """Return what `gate` asks of a user; None stands for each of those that it does not name."""
    if uid == gate.uid:
        return MET if gate.mode >> 6 & gate.want else UNMET
    other = bool(gate.mode & gate.want)
    mask = True
    granting, refusing = _NONE, frozenset({gate.gid})
    # As Gate.lets_pass has it, and acl(5).
    if gate.acl and gate.mode & 0o070:
        mask = bool(next((entry.bits for entry in gate.acl if entry.tag == _MASK), 7) & gate.want)
        for entry in gate.acl:
            if entry.tag == _USER and entry.number == uid:
                return MET if entry.bits & gate.want and mask else UNMET
        of_groups = [
            (gate.gid if entry.tag == _GROUP_OBJ else entry.number, bool(entry.bits & gate.want))
            for entry in gate.acl
            if entry.tag in (_GROUP_OBJ, _GROUP)
        ]
        granting = frozenset(gid for gid, grants in of_groups if grants)
        refusing = frozenset(gid for gid, _ in of_groups) - granting
        other = any(entry.bits & gate.want for entry in gate.acl if entry.tag == _OTHER)
    elif gate.mode >> 3 & gate.want:
        granting, refusing = refusing, granting
    if not mask:
        granting, refusing = _NONE, granting | refusing
    if not other:
        return frozenset({(granting, _NONE)})
    return frozenset((granting, frozenset({gid})) for gid in refusing)


def one_of(several: Iterable[Who]) -> Who:
    """Return who is meant by at least one of `several`."""
    whos = list(several)
    if any(who.users is None and who.groups is None for who in whos):
        return EVERYONE
    users, groups = (
        Ids((), [bounds for ids in each if ids for bounds in ids.ranges])
        for each in ((who.users for who in whos), (who.groups for who in whos))
    )
    return Who(users if users.ranges or not groups.ranges else None, groups if groups.ranges else None)


def _who(users: Ids, groups: frozenset[int]) -> Who:
    if users.ranges == ((0, ID_MAX),):
        return EVERYONE
    members = Ids((), [(gid, gid) for gid in groups]) if groups else None
    return Who(users if users.ranges or members is None else None, members)


def _all_but(uids: Iterable[int]) -> Ids:
    ranges, begin = [], 0
    for uid in sorted(uids):
        if begin < uid:
            ranges.append((begin, uid - 1))
        begin = uid + 1
    return Ids((), [*ranges, (begin, ID_MAX)] if begin <= ID_MAX else ranges)


def all_but(uids: Iterable[int]) -> Who:
    """Return everyone but these users."""
    return _who(_all_but(uids), _NONE)


def _uids_in(gate: Gate) -> frozenset[int]:
    return frozenset({gate.uid, *(entry.number for entry in gate.acl if entry.tag == _USER)})


def _is_open(gate: Gate) -> bool:
    return all(condition_of(gate, uid) == MET for uid in (None, *_uids_in(gate)))


def _is_within(clause: Clause, wider: Clause) -> bool:
    return clause[0] <= wider[0] and clause[1] <= wider[1]


def _simple(clauses: Iterable[Clause]) -> Condition:
    """Return the same condition without what follows from the rest of it."""
    left = {clause for clause in clauses if clause[0].isdisjoint(clause[1])}
    # Who must not be in a group fulfils nothing by being in it.
    excluded = _NONE.union(*(unwanted for wanted, unwanted in left if not wanted and len(unwanted) == 1))
    left = {(wanted - excluded, unwanted) for wanted, unwanted in left}
    return frozenset(
        clause for clause in left if not any(other != clause and _is_within(other, clause) for other in left)
    )
