# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl explain`: whether a user may have a port on a bridge, which line decides, and what the port may do.

The verdict is the one that a grant would have: from the same policy, read in the same way, by the same code.
"""

import errno
import os
import resource
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from qbhelper import quota, sources
from qbhelper.broker.snapshot import Snapshot
from qbhelper.ctl import people, terms
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, paint, say, say_json
from qbhelper.ctl.people import Person
from qbhelper.ctl.words import mac_of, require_bridge_name
from qbhelper.errors import AccessListError, Busy, KernelError, PolicyError, QbError, printable
from qbhelper.grant import why
from qbhelper.kernel.link import Bridge, Network
from qbhelper.lease import Lease, lease_of
from qbhelper.policy.decision import Decision

if TYPE_CHECKING:
    from qbhelper.policy.decision import Verdicts
    from qbhelper.request import Caller


class Answer:
    """What is to be said.

    why: who allows or denies, in words; bridge: what was found by the name that was asked for; taken: how many ports
    of the rule the person has now, and all have, where the rule counts them; is_decided: whether the rules were read,
    and have answered: what can't be read completely allows nothing.
    """

    def __init__(self, person: Person, asked: bytes, decision: Decision, why: str) -> None:
        self.person = person
        self.asked = asked
        self.decision = decision
        self.why = why
        self.bridge: Bridge | None = None
        self.taken: tuple[int, int] | None = None
        self.mac: bytes | None = None
        self.is_decided = True

    @property
    def mac_is_let_through(self) -> bool:
        """Whether frames from the MAC address that was asked about pass; True if none was."""
        macs = self.decision.terms.port.macs
        return self.mac is None or not macs or self.mac in macs

    @property
    def is_yes(self) -> bool:
        """Whether they may, with this MAC address if one was named."""
        return self.decision.allowed and self.mac_is_let_through


def run(user: str | None, bridge: bytes, mac: str | None, *, as_json: bool) -> int:
    """Answer for `user`, by default who calls; print the answer.  Raises QbError where there is none."""
    address = mac_of(mac)
    require_bridge_name(bridge)
    answer = answer_for(people.asked_about(user, "explain"), bridge)
    answer.mac = address
    if as_json:
        say_json(_as_json(answer))
    else:
        _print(answer)
    return EXIT_YES if answer.is_yes else EXIT_NO


def answer_for(person: Person, asked: bytes) -> Answer:
    """Return whether a person may have a port on the bridge that they ask for by this name.

    Raises QbError if that can't be told: the policy is closed to us, or the kernel does not tell.
    """
    with closing(Network()) as network:
        bridge = network.find(asked)
        try:
            policy = policy_for(person.caller)
        except (PolicyError, AccessListError) as error:
            _require_reading(error, person)
            answer = Answer(person, asked, Decision(False, None), str(error))
            answer.bridge, answer.is_decided = bridge, False
            return answer
        # As grant._decide has it.
        decision = policy.decide(bridge.name if bridge else asked, asked)
        text = f"{decision.place} allows it" if decision.allowed else why(decision, asked, policy, bridge)
        answer = Answer(person, asked, decision, text)
        answer.bridge = bridge
        if decision.allowed:
            answer.taken = _taken(person.caller, decision, network)
        return answer


def policy_for(caller: "Caller") -> "Verdicts":
    """Return the policy as it stands for `caller`.  Raises PolicyError or AccessListError."""
    if os.geteuid() != 0:
        return sources.load_policy(caller)
    # Root can read what the caller can't, so what counts for them is to be judged, as the broker does.  It keeps
    # each file open that it has met.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with closing(Snapshot()) as snapshot:
        return snapshot.policy_for(caller)


def _require_reading(error: QbError, person: Person) -> None:
    """Raise QbError if the policy is closed to us, and so nothing is known of it: the broker may read it."""
    for problem in error.problems if isinstance(error, PolicyError) else ():
        if problem.line == 0 and problem.what == os.strerror(errno.EACCES) and os.geteuid() != 0:
            raise QbError(
                f"you can't read {problem.path}: only root and the broker know what it says",
                f"ask the administrator to run: qbhelperctl explain --user {person.name} ...",
            )


def _taken(caller: "Caller", decision: Decision, network: Network) -> tuple[int, int] | None:
    """Return how many ports of the rule the caller and all have now; None if it does not count them, or none can."""
    if not decision.terms.is_counted:
        return None
    lease = Lease.begin(caller.uid, 0, 1, decision.terms.rule)
    links = None
    with suppress(Busy, KernelError):
        links = network.ports(quota.needles(lease))
    if links is None:
        return None
    found = [lease_of(link.kind, link.alias) for link in links]
    uids = [other.uid for other in found if other is not None and other.rule == lease.rule]
    return uids.count(caller.uid), len(uids)


def _print(answer: Answer) -> None:
    verdict = paint("may use", "good") if answer.decision.allowed else paint("may not use", "bad")
    say(f"{_who(answer.person)} {verdict} {printable(answer.asked)}: {answer.why}")
    if answer.decision.allowed:
        changes = terms.changes_of(answer.decision.terms)
        if not changes:
            say("  a plain port, as QEMU's own helper makes it")
        taken = dict(zip(("max_ports", "max_ports_total"), answer.taken or (), strict=False))
        for word, value in changes.items():
            now = paint(f"  ({taken[word]} taken now)", "quiet") if word in taken else ""
            say(f"  {word} = {value}{now}")
    for note in _notes(answer):
        say(f"{paint('note', 'doubtful')}: {note}")


def _who(person: Person) -> str:
    return person.name if person.name.startswith("uid ") else f"{person.name} (uid {person.caller.uid})"


def _notes(answer: Answer) -> list[str]:
    notes = [answer.person.note] if answer.person.note else []
    name = printable(answer.asked)
    if answer.decision.allowed:
        limits = (answer.decision.terms.max_ports, answer.decision.terms.max_ports_total)
        if any(limit is not None and taken >= limit for taken, limit in zip(answer.taken or (), limits, strict=False)):
            notes.append("all ports that the rule gives are taken: the next is refused until one ends")
        if not answer.mac_is_let_through:
            notes.append(f"a guest with {terms.mac(answer.mac or b'')} is not heard: the rule names other macs")
        if answer.bridge is None:
            notes.append(f"there is no bridge `{name}' on this host now")
        elif not answer.bridge.is_bridge:
            notes.append(f"`{name}' is no bridge, but another interface")
        elif answer.bridge.name != answer.asked:
            notes.append(f"`{name}' is another name of `{printable(answer.bridge.name)}'")
    return notes


def _as_json(answer: Answer) -> object:
    caller, decision = answer.person.caller, answer.decision
    return {
        "user": {
            "name": answer.person.name,
            "uid": caller.uid,
            "groups": sorted({caller.gid, *caller.groups} - {people.NO_GROUP}),
        },
        "asked": printable(answer.asked),
        "bridge": printable(answer.bridge.name) if answer.bridge else None,
        "allowed": decision.allowed,
        "rule": {"file": decision.place.path, "line": decision.place.line} if decision.place else None,
        "why": answer.why,
        "settings": terms.values_of(decision.terms) if decision.allowed else None,
        "taken": {"user": answer.taken[0], "all": answer.taken[1]} if answer.taken else None,
        "mac": {"address": terms.mac(answer.mac), "let_through": answer.mac_is_let_through} if answer.mac else None,
        "notes": _notes(answer),
    }
