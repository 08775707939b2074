# SPDX-License-Identifier: GPL-2.0-or-later
"""What is right by itself and wrong together: in one rule, and among the rules."""

from qbhelper.policy.port import NUMBER_IN_NAME, UID_IN_NAME
from qbhelper.policy.rules import scope_of
from qbhelper.policy.who import Ids
from qbhelper.request import IFNAMSIZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qbhelper.policy.decision import Place
    from qbhelper.policy.rules import Rule

    Fault = tuple[str, str, str]
    """The setting to change, what is wrong, what to write instead."""

UID_DIGITS = 5
"""For how many there has to be room in a name, where the rule does not say by number whose."""
NUMBER_DIGITS = 3
"""For `%d`: a bridge has room for 1023 ports, and few are as full as that."""


def faults_in(values: "Mapping[str, object]") -> "Iterator[Fault]":
    """Yield what does not go together among the parsed values of one rule."""
    vlan, trunk = values.get("vlan"), values.get("trunk", ())
    guards = values.get("guards", frozenset())
    most, total = values.get("max_ports"), values.get("max_ports_total")
    if isinstance(trunk, tuple) and vlan in trunk:
        yield "trunk", f"trunk: VLAN {vlan} is the rule's `vlan' already", "a VLAN is with a tag or without, not both"
    if trunk and isinstance(guards, frozenset) and "vlan-tags" in guards:
        yield "guards", "guards: `vlan-tags' keeps out every tag, and `trunk' needs them", "leave one of them away"
    if isinstance(most, int) and isinstance(total, int) and most > total:
        yield "max_ports", f"max_ports: more for one user ({most}) than for all together ({total})", "exchange them?"
    if values.get("learning") is False and values.get("unicast_flood") is False and not values.get("macs"):
        yield (
            "unicast_flood",
            "unicast_flood: nothing would ever reach the guest, whose MAC address is neither learned nor known",
            "name its `macs', or leave `learning' or `unicast_flood' away",
        )
    # Who opens a TAP by its name, or has vhost-net, decides whether its frames have a virtio-net header: see grant.py.
    for word in ("persistent", "vhost"):
        for filtering in ("macs", "addresses", "guards", "vlan", "trunk", "rate_from_guest"):
            if values.get(word) and values.get(filtering):
                yield word, f"{word}: not together with `{filtering}', which could be got round", "make two rules of it"
    if values.get("persistent") and most is None:
        yield (
            "persistent",
            "persistent: without a `max_ports' one user could take all places of a bridge, and keep them",
            "write max_ports = 4, or another number, beside it",
        )
    name = values.get("name")
    if isinstance(name, bytes):
        yield from _faults_of_name(name, values)


def _faults_of_name(name: bytes, values: "Mapping[str, object]") -> "Iterator[Fault]":
    longest = len(name)
    if UID_IN_NAME in name:
        longest += _uid_digits(values) - len(UID_IN_NAME)
    if NUMBER_IN_NAME in name:
        longest += NUMBER_DIGITS - len(NUMBER_IN_NAME)
    if longest >= IFNAMSIZ:
        yield (
            "name",
            f'name: "{name.decode()}" becomes {longest} bytes long, {IFNAMSIZ - 1} is the most',
            f"a shorter one; %d counts as {NUMBER_DIGITS}, {{uid}} as the longest number in `users', or {UID_DIGITS}",
        )
    is_one = values.get("max_ports_total") == 1 or (UID_IN_NAME in name and values.get("max_ports") == 1)
    if NUMBER_IN_NAME not in name and not is_one:
        yield (
            "name",
            f'name: "{name.decode()}" has no %d, and the rule may give more than one port',
            "add %d, or write max_ports_total = 1",
        )
    bridges = values.get("bridge")
    if isinstance(bridges, frozenset) and name in bridges:
        yield "name", f'name: "{name.decode()}" is the name of a bridge of the rule', 'another one, as "vm%d"'


def _uid_digits(values: "Mapping[str, object]") -> int:
    users = values.get("users")
    if "groups" in values or not isinstance(users, Ids) or users.names:
        return UID_DIGITS
    return max(len(str(high)) for _, high in users.ranges)


def faults_among(rules: "Sequence[Rule]") -> "Iterator[tuple[Place, str, str]]":
    """Yield what can't be together in one policy: where, what, and what to do."""
    seen: dict[tuple[bool, str], Place] = {}
    identities: dict[str | None, Place] = {}
    names: dict[bytes, Place] = {}
    for rule in rules:
        scope = (rule.allow, scope_of(rule.bridges, rule.who))
        if scope in seen:
            yield rule.place, f"the same bridges, users and groups as at {seen[scope]}", "make one rule of the two"
            continue
        seen[scope] = rule.place
        if not rule.allow:
            continue
        if rule.terms.rule in identities:
            yield (
                rule.place,
                f"its ports would be counted as those of {identities[rule.terms.rule]}: the two have one checksum",
                "write one of them as two rules",
            )
        identities[rule.terms.rule] = rule.place
        name = rule.terms.port.name
        if name is None or NUMBER_IN_NAME in name:
            continue
        if name in names:
            yield rule.place, f"its ports would have the name of those of {names[name]}", "another name, or one with %d"
        names[name] = rule.place
