# SPDX-License-Identifier: GPL-2.0-or-later
"""What is allowed in a policy or an access list, and surely a mistake: names of nobody, rules that never decide."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from qbhelper.errors import Problem, printable
from qbhelper.kernel.link import Bridge
from qbhelper.policy import access_list
from qbhelper.policy.decision import Place
from qbhelper.policy.rules import Policy, Rule
from qbhelper.policy.who import Ids, Who
from qbhelper.request import Caller, is_bridge_name

if TYPE_CHECKING:
    from qbhelper.policy.rules import Day
    from qbhelper.policy.who import Accounts

Find = Callable[[bytes], Bridge | None]
"""Returns the interface of this name or altname, None if there is none."""

_LIST_THEM = "`ip link show type bridge' lists the bridges that are there"


def in_policy(
    policy: Policy, accounts: "Accounts", today: "Day", find: Find, subordinates: Sequence[tuple[str, Caller]] = ()
) -> list[Problem]:
    """Return the mistakes in a policy that has no errors, rule by rule.

    subordinates: whoever has subordinate uids, by name, and as they can ask by one of these.
    """
    found: list[Problem] = []
    for number, rule in enumerate(policy.rules):
        faults = [
            *_of_accounts(rule, accounts),
            *_of_bridges(rule.allow, rule.bridges, find),
            *_of_limits(rule, accounts, subordinates),
            *_of_time(rule, policy.rules[:number], policy.rules, accounts, today),
            *_of_vhost(rule, policy.rules, accounts, today),
        ]
        found += [Problem(rule.place.path, rule.place.line, what, hint) for what, hint in faults]
    return found


def in_access_list(top: str, rules: Sequence[access_list.Rule], find: Find) -> list[Problem]:
    """Return the mistakes in an access list, whose own path is `top`, and in what it includes."""
    found: list[Problem] = []
    for rule in rules:
        faults: list[tuple[str, str]] = []
        if rule.bridge is not None:
            if is_bridge_name(rule.bridge):
                faults += _of_bridges(rule.allow, [rule.bridge], find)
            else:
                what = f"`{printable(rule.bridge)}' can't be the name of a bridge: the line says nothing"
                faults.append((what, "one bridge on a line; a comment has a line of its own"))
        # Who reads the rule reads these as well: they stand in the same file, or in the list itself.
        denies = [deny for deny in rules if not deny.allow and deny.place.path in (top, rule.place.path)]
        if rule.allow and (deny := next((deny for deny in denies if deny.bridge in (None, rule.bridge)), None)):
            faults.append((f"allows nothing: {deny.place} denies it", "take one of the two out"))
        found += [Problem(rule.place.path, rule.place.line, what, hint) for what, hint in faults]
    return found


def _of_accounts(rule: Rule, accounts: "Accounts") -> Iterator[tuple[str, str]]:
    for kind, ids, number_of, table in (
        ("user", rule.who.users, accounts.uid_of, "passwd"),
        ("group", rule.who.groups, accounts.gid_of, "group"),
    ):
        for name in ids.names if ids else ():
            if number_of(name) is None:
                meaning = "it allows nobody" if rule.allow else "until it is, the deny counts for everybody"
                yield (
                    f"{kind} `{printable(name)}' is not known on this host: {meaning}",
                    f"`getent {table}' lists those that are; take the name out, or write a number",
                )


def _of_bridges(allow: bool, names: frozenset[bytes] | list[bytes] | None, find: Find) -> Iterator[tuple[str, str]]:
    for name in sorted(names or ()):
        bridge = find(name)
        word = printable(name)
        if bridge is None:
            yield f"there is no bridge `{word}' on this host now", _LIST_THEM
            continue
        canonical = printable(bridge.name)
        if not bridge.is_bridge:
            yield f"`{word}' is no bridge, but another interface", _LIST_THEM
        elif bridge.name != name and allow:
            yield f"`{word}' is another name of `{canonical}', and an allow counts for that one", f"write {canonical}"
        elif bridge.name != name:
            yield (
                f"`{word}' is another name of `{canonical}': only who asks by it is refused",
                f"write {canonical}, which refuses by all its names",
            )


def _of_limits(
    rule: Rule, accounts: "Accounts", subordinates: Sequence[tuple[str, Caller]]
) -> Iterator[tuple[str, str]]:
    """Yield who can have more ports than `max_ports`, which counts uids, where nothing else limits them."""
    if not rule.allow or rule.terms.max_ports is None or rule.terms.max_ports_total is not None:
        return
    names = list(dict.fromkeys(name for name, caller in subordinates if rule.who.includes(caller, accounts)))
    if names:
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield (
            f"max_ports counts {names[0]}{others} as many users: they have subordinate uids (/etc/subuid)",
            "write max_ports_total beside it, or name `users'",
        )


def _of_time(
    rule: Rule, earlier: Sequence[Rule], rules: Sequence[Rule], accounts: "Accounts", today: "Day"
) -> Iterator[tuple[str, str]]:
    """Yield why a rule never decides: it has expired, or others decide all that it speaks of."""
    if rule.expires is not None and _is_over(rule, today):
        yield "expired on {:04}-{:02}-{:02}, and allows nothing".format(*rule.expires), "a later date, or take it out"
        return
    denies = [other for other in (rules if rule.allow else earlier) if not other.allow]
    places = _cover(rule, denies, accounts)
    if places:
        what = "never allows anything" if rule.allow else "refuses nothing more"
        yield f"{what}: {_together(places, 'denies', 'deny')} all that it speaks of", "take it out, or narrow the deny"
        return
    allows = [other for other in earlier if rule.allow and other.allow and _lasts_as_long(other, rule)]
    places = _cover(rule, allows, accounts)
    if places:
        first = _together(places, "comes first and allows", "come first and allow")
        yield (
            f"never decides: {first} all that it speaks of",
            "the first allow that matches gives the settings: move the special one up, or take it out",
        )


def _of_vhost(rule: Rule, rules: Sequence[Rule], accounts: "Accounts", today: "Day") -> Iterator[tuple[str, str]]:
    """Yield what other rules filter, where their users may have `vhost` by this one: its fds serve any TAP."""
    if not (rule.allow and rule.terms.vhost and not _is_over(rule, today)):
        return
    places = [
        str(other.place)
        for other in rules
        if (other.allow and other.terms.port.is_filtered and not _is_over(other, today))
        and _may_share(rule.who, other.who, accounts)
        and _may_decide(rule, other.who, rules, accounts)
        and _may_decide(other, rule.who, rules, accounts)
    ]
    if places:
        filtered = f"{' and '.join(places)} filter{'s' if len(places) == 1 else ''}"
        yield (
            f"its `vhost' can get round what {filtered}, for who may have ports of both",
            "leave one of the two away, or deny its bridges to whom the other is for (docs/ports.md: vhost-net)",
        )


def _may_decide(rule: Rule, who: Who, rules: Sequence[Rule], accounts: "Accounts") -> bool:
    """Whether an allow may decide for somebody whom `who` means: not if others always do."""
    before = rules[: rules.index(rule)]
    others = [other for other in rules if not other.allow]
    others += [other for other in before if other.allow and _lasts_as_long(other, rule)]
    return not _cover(Rule(True, rule.bridges, who, rule.place), others, accounts)


def _is_over(rule: Rule, today: "Day") -> bool:
    return rule.expires is not None and rule.expires < today


def _lasts_as_long(other: Rule, rule: Rule) -> bool:
    return other.expires is None or (rule.expires is not None and rule.expires <= other.expires)


def _together(places: Sequence[Place], one: str, several: str) -> str:
    return f"{' and '.join(map(str, places))} {one if len(places) == 1 else several}"


def _cover(rule: Rule, others: Sequence[Rule], accounts: "Accounts") -> list[Place]:
    """Return the places of those of `others` that together speak of all that `rule` does; none if they do not."""
    places: list[Place] = []
    for bridge in sorted(rule.bridges) if rule.bridges else (None,):
        found = next(
            (
                other.place
                for other in others
                if (other.bridges is None or bridge in other.bridges) and _includes(other.who, rule.who, accounts)
            ),
            None,
        )
        if found is None:
            return []
        if found not in places:
            places.append(found)
    return places


def _includes(who: Who, other: Who, accounts: "Accounts") -> bool:
    """Whether all that `other` means are surely meant by `who`."""
    if who.users is None and who.groups is None:
        return True
    if other.users is None and other.groups is None:
        return False
    return _have(who.users, other.users, accounts.uid_of) and _have(who.groups, other.groups, accounts.gid_of)


def _may_share(who: Who, other: Who, accounts: "Accounts") -> bool:
    """Whether somebody may be meant by both: who is in a group can be seen of nobody but who asks."""
    if who.users is None or other.users is None or who.groups is not None or other.groups is not None:
        return True
    ours, theirs = _in_numbers(who.users, accounts.uid_of), _in_numbers(other.users, accounts.uid_of)
    return not {*ours.names}.isdisjoint(theirs.names) or any(
        low <= end and begin <= high for low, high in ours.ranges for begin, end in theirs.ranges
    )


def _have(ids: Ids | None, others: Ids | None, number_of: Callable[[str], int | None]) -> bool:
    if others is None:
        return True
    if ids is None:
        return False
    ours, theirs = _in_numbers(ids, number_of), _in_numbers(others, number_of)
    return {*theirs.names} <= {*ours.names} and all(
        any(low <= begin and end <= high for low, high in ours.ranges) for begin, end in theirs.ranges
    )


def _in_numbers(ids: Ids, number_of: Callable[[str], int | None]) -> Ids:
    """Return the same accounts, by name only those that this host does not know."""
    numbers = {name: number_of(name) for name in ids.names}
    known = [(number, number) for number in numbers.values() if number is not None]
    return Ids((name for name, number in numbers.items() if number is None), [*ids.ranges, *known])
