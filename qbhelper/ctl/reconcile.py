# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl reconcile`: which leases would not be granted today as they are, and why; with --apply they end.

A change of the policy ends nobody's network by itself: guests run, and a mistake in a file must not stop them.
"""

import os
from collections import Counter
from typing import TYPE_CHECKING

from qbhelper.ctl import people, revoke
from qbhelper.ctl.explain import policy_for
from qbhelper.ctl.held import Held, leases
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, counted, say, say_json, table, width
from qbhelper.errors import UsageError, printable

if TYPE_CHECKING:
    from qbhelper.policy.decision import Decision, Verdicts


class Difference:
    """A lease that would not be granted as it is.  why: in words."""

    def __init__(self, held: Held, why: str) -> None:
        self.held = held
        self.why = why


def run(*, apply: bool, as_json: bool) -> int:
    """Print the differences, or end these leases; EXIT_NO if there are some left.  Raises QbError."""
    if os.geteuid() != 0:
        raise UsageError("only root can judge the leases of all: it counts what each may read", "sudo qbhelperctl ...")
    found = differences(leases())
    if as_json:
        say_json({"leases": [_as_json(difference) for difference in found]})
    elif found:
        rows = [("port", "user", "bridge", "why"), *map(_row, found)]
        for lines in table(rows, width()):
            for line in lines:
                say(line)
    else:
        say("every lease is as the policy has it")
    if apply:
        ended = [revoke.end(difference.held, quiet=as_json) for difference in found]  # each, also after a refusal
        return EXIT_YES if all(ended) else EXIT_NO
    return EXIT_NO if found else EXIT_YES


def differences(held: list[Held]) -> list[Difference]:
    """Return which of these leases would not be granted today, in their order.

    A user is judged with the groups that they have when they log in.  What is on no bridge is not judged: root has
    put it there.  Raises PolicyError or AccessListError where nothing can be said, as nothing could be granted.
    """
    found = []
    taken: Counter[tuple[str | None, int | None]] = Counter()
    policies: dict[int, Verdicts] = {}
    for each in held:
        uid = each.lease.uid
        if each.bridge is None or each.lease.revoked:
            continue
        if uid not in policies:
            policies[uid] = policy_for(people.person_named(str(uid)).caller)
        decision = policies[uid].decide(each.bridge)
        why = _why(each, decision)
        if not why:
            why = _why_too_many(decision, taken, uid)
        if why:
            found.append(Difference(each, why))
    return found


def _why(held: Held, decision: "Decision") -> str:
    terms, lease = decision.terms, held.lease
    if not decision.allowed:
        where = f"{decision.place} denies it" if decision.place else "nothing allows it"
        return f"{where} ({decision.note})" if decision.note else where
    if lease.settings != terms.port.identity:
        return f"{decision.place} says other settings than it was granted with"
    if lease.queues > terms.queues:
        return f"{decision.place} allows {counted(terms.queues, 'queue')}, and it has {lease.queues}"
    if lease.vhost and not terms.vhost:
        return f"{decision.place} does not allow that it has vhost"
    if lease.persistent and not terms.persistent:
        return f"{decision.place} does not allow that it is persistent"
    return ""


def _why_too_many(decision: "Decision", taken: "Counter[tuple[str | None, int | None]]", uid: int) -> str:
    """Count a lease; say why it is one too many, if it is: the later ones are."""
    terms = decision.terms
    mine, all_ = (terms.rule, uid), (terms.rule, None)
    if terms.max_ports is not None and taken[mine] >= terms.max_ports:
        return f"{decision.place} gives {terms.max_ports} ports to one user, and there are more"
    if terms.max_ports_total is not None and taken[all_] >= terms.max_ports_total:
        return f"{decision.place} gives {terms.max_ports_total} ports to all, and there are more"
    taken[mine] += 1
    taken[all_] += 1
    return ""


def _row(difference: Difference) -> tuple[str, ...]:
    held = difference.held
    return held.name, people.user_name(held.lease.uid), printable(held.bridge or b"-"), difference.why


def _as_json(difference: Difference) -> dict[str, object]:
    held = difference.held
    return {
        "lease": held.lease.identity,
        "name": held.name,
        "bridge": printable(held.bridge or b""),
        "user": {"uid": held.lease.uid, "name": people.name_of(held.lease.uid)},
        "why": difference.why,
    }
