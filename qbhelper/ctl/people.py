# SPDX-License-Identifier: GPL-2.0-or-later
"""The users and groups of this host, and who is asking."""

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from qbhelper.errors import QbError, UsageError, printable
from qbhelper.policy.values import WrongValue
from qbhelper.policy.who import ID_MAX, Who, parse_ids
from qbhelper.request import Caller

SUBUID = "/etc/subuid"
NO_GROUP = ID_MAX + 1
"""Nobody is in it."""


class Person:
    """Somebody who might ask.  name: printable, what to call them; note: what else is to be known of them, or empty."""

    def __init__(self, name: str, caller: Caller, note: str = "") -> None:
        self.name = name
        self.caller = caller
        self.note = note


def this_person() -> Person:
    """Return who runs this process, with the ids that a helper would have if they started it."""
    caller = Caller.of_this_process()
    try:
        account = pwd.getpwuid(caller.uid)
    except KeyError:
        return Person(f"uid {caller.uid}", caller)
    known = {caller.gid, *caller.groups}
    missing = sorted({*os.getgrouplist(account.pw_name, account.pw_gid)} - known)
    note = ""
    if missing:
        names = ", ".join(group_name(gid) for gid in missing)
        note = f"judged as this process is; it is not in {names}, as who logs in anew will be"
    return Person(printable(account.pw_name), caller, note)


def person_named(word: str) -> Person:
    """Return the user of this name or uid, with the groups that they have when they log in.  Raises QbError."""
    try:
        account = pwd.getpwuid(int(word)) if word.isascii() and word.isdigit() else pwd.getpwnam(word)
    except (KeyError, ValueError, OverflowError):
        if word.isascii() and word.isdigit() and len(word) <= len(str(ID_MAX)) and int(word) <= ID_MAX:
            note = "there is no account of this uid: judged as being in no group"
            return Person(f"uid {int(word)}", Caller(int(word), NO_GROUP, ()), note)
        raise QbError(
            f"there is no user `{printable(word)}' on this host", "`getent passwd' lists them; a number will do, too"
        ) from None
    return Person(printable(account.pw_name), _caller_of(account))


def asked_about(user: str | None, command: str) -> Person:
    """Return whom a question is about; who calls is judged with the groups that their process has now.

    Raises QbError if there is no such user, or who calls may not ask about them; `command` of ours is what they called.
    """
    if user is None:
        return this_person()
    person = person_named(user)
    if os.geteuid() == 0:
        return person
    if person.caller.uid != os.getuid():
        raise UsageError(
            f"only root may ask about {person.name}: it counts what they can read", f"sudo qbhelperctl {command} ..."
        )
    return this_person()


def people() -> Iterator[tuple[str, Caller]]:
    """Yield the name of each user of this host, and the ids that they have when they log in."""
    for account in pwd.getpwall():
        yield account.pw_name, _caller_of(account)


def with_subordinate_uids() -> Iterator[tuple[str, Caller]]:
    """Yield who has uids in /etc/subuid (subuid(5)): the printable name, and the first of these with their groups."""
    try:
        lines = Path(SUBUID).read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        owner, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        is_range = first.isdecimal() and len(first) <= len(str(ID_MAX)) and count.isdecimal() and count.strip("0")
        if is_range and int(first) <= ID_MAX:
            with suppress(QbError):
                person = person_named(owner)
                yield person.name, Caller(int(first), person.caller.gid, person.caller.groups)


def _caller_of(account: pwd.struct_passwd) -> Caller:
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return Caller(account.pw_uid, account.pw_gid, tuple(groups))


def name_of(uid: int) -> str | None:
    """Return the name of a user, printable; None if there is none."""
    name = user_name(uid)
    return None if name == str(uid) else name


@cache
def user_name(uid: int) -> str:
    """Return the name of a user, printable, or the number where there is none."""
    try:
        return printable(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return str(uid)


@cache
def group_name(gid: int) -> str:
    """Return the name of a group, printable, or the number where there is none."""
    try:
        return printable(grp.getgrgid(gid).gr_name)
    except (KeyError, OverflowError):
        return str(gid)


@cache
def user_to_write(uid: int) -> str | None:
    """Return the name by which a policy can speak of this uid; None if there is none."""
    with suppress(KeyError, OverflowError):
        name = pwd.getpwuid(uid).pw_name
        if pwd.getpwnam(name).pw_uid == uid:
            return _if_it_can_be_written(name)
    return None


@cache
def group_to_write(gid: int) -> str | None:
    """Return the name by which a policy can speak of this gid; None if there is none."""
    with suppress(KeyError, OverflowError):
        name = grp.getgrgid(gid).gr_name
        if grp.getgrnam(name).gr_gid == gid:
            return _if_it_can_be_written(name)
    return None


def _if_it_can_be_written(name: str) -> str | None:
    try:
        return name if parse_ids(name).names == (name,) else None
    except WrongValue:
        return None


def told(who: Who) -> str:
    """Return whom a rule speaks of, for people: by name where there is one."""
    found = []
    for word, ids, name_of in (("user", who.users, user_name), ("group", who.groups, group_name)):
        if ids is not None and ids.ranges:
            names = [name_of(low) if low == high else f"{low}-{high}" for low, high in ids.ranges]
            plural = "s" if len(names) > 1 or ids.ranges[0][0] != ids.ranges[0][1] else ""
            found.append(f"{word}{plural} {', '.join(names)}")
    if found:
        return " or ".join(found)
    return "everyone" if who.users is None and who.groups is None else "nobody"
