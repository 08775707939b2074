# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl log`: who got which port, who was refused, and by which line, from the journal.

Anyone may write to the journal, fields of ours too.  What is believed is what the kernel says of who wrote it: the
broker's account is nobody else's, and others are believed about themselves alone.
"""

import json
import os
import pwd
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from qbhelper import record
from qbhelper.ctl import people
from qbhelper.ctl.journal import Entry, read
from qbhelper.ctl.output import EXIT_YES, complain, paint, say
from qbhelper.errors import printable

BROKER, STANDALONE = "broker", "standalone"
"""Who says so: the broker, or the helper alone, which runs as the user whom it speaks of."""

_LEFT_OUT = frozenset({"policy", "reload"})
"""Events that are nobody's.  What is wrong with a policy, `qbhelperctl check' tells."""
_OF_STANDALONE = frozenset({"granted", "refused"})
"""All that the helper alone says.  Other events tell in their writer's own words, perhaps of others."""
_STYLES = {"granted": "good", "refused": "bad", "deleted": "bad"}
_DENIED = "access denied by acl file: "
_DIGITS_MAX = 10
"""Of a uid or a pid."""


@dataclass(frozen=True)
class Told:
    """A record that is believed.  at: microseconds since 1970; source: BROKER or STANDALONE; None: it does not say."""

    at: int
    source: str
    event: str
    uid: int | None
    by_uid: int | None
    pid: int | None
    bridge: str | None
    interface: str | None
    lease: str | None
    code: str | None
    rule: str | None
    reason: str | None
    message: str


def run(user: str | None, bridge: str | None, since: str | None, *, following: bool, as_json: bool) -> int:
    """Print what is logged, of this user and on this bridge if they are given.  Raises QbError as `read` does."""
    matches = [f"SYSLOG_IDENTIFIER={name}" for name in (record.BROKER, record.STANDALONE)]
    if user is not None:
        matches.append(f"{record.PREFIX}UID={people.person_named(user).caller.uid}")
    if bridge is not None:
        matches.append(f"{record.PREFIX}BRIDGE={printable(os.fsencode(bridge))}")
    judge, shown = _Judge(), _Shown(as_json=as_json)
    found = judge.believed_of(read(matches, since, following=following))
    if not following:
        all_ = [*found]
        shown.make_room(all_)
        found = iter(all_)
        if not all_ and not judge.doubted and os.geteuid() != 0:
            complain("you can read of no grant or refusal; root and the group systemd-journal see those of all")
    for told in found:
        shown.add(told)
    if judge.doubted:
        missing = " (there is no such account on this host)" if judge.account is None else ""
        complain(
            f"left out {judge.doubted} that were written neither by `{record.ACCOUNT}', the broker's account{missing}, "
            "nor by the user whom they speak of"
        )
    return EXIT_YES


class _Judge:
    """Believes records or not.  account: the broker's uid, None if there is none; doubted: how many it does not."""

    def __init__(self) -> None:
        self.doubted = 0
        self.account: int | None = None
        with suppress(KeyError):
            self.account = pwd.getpwnam(record.ACCOUNT).pw_uid

    def believed_of(self, entries: Iterable[Entry]) -> Iterator[Told]:
        """Yield the records that are believed and of interest."""
        for entry in entries:
            if f"{record.PREFIX}EVENT" in entry:
                told = believed(entry, self.account)
                self.doubted += told is None
                if told and told.event not in _LEFT_OUT:
                    yield told


def believed(entry: Entry, account: int | None) -> Told | None:
    """Return what an entry of the journal says if who wrote it is to be believed; account: the broker's uid."""
    # Journald has this from the kernel, with the record itself.  Not _SYSTEMD_UNIT: that is looked up later, by a pid
    # that may be another's by then.
    writer = _number(entry.get("_UID"))
    uid, event = _number(entry.get(f"{record.PREFIX}UID")), _text(entry, f"{record.PREFIX}EVENT")
    at = entry.get("__REALTIME_TIMESTAMP")
    if writer is None or not event or not isinstance(at, str) or not at.isdecimal():
        return None
    if writer == account and entry.get("SYSLOG_IDENTIFIER") == record.BROKER:
        source = BROKER
    elif writer == uid and entry.get("SYSLOG_IDENTIFIER") == record.STANDALONE and event in _OF_STANDALONE:
        source = STANDALONE
    else:
        return None
    bridge, interface, lease, code, rule, reason = (
        _text(entry, record.PREFIX + name) for name in ("BRIDGE", "INTERFACE", "LEASE", "CODE", "RULE", "REASON")
    )
    by_uid, pid = (_number(entry.get(record.PREFIX + name)) for name in ("BY_UID", "PID"))
    if source == STANDALONE:
        by_uid = None  # that somebody else has ended a lease, only the broker can know
    message = _text(entry, "MESSAGE") or event
    return Told(int(at), source, event, uid, by_uid, pid, bridge, interface, lease, code, rule, reason, message)


def _text(entry: Entry, name: str) -> str | None:
    """Return a value for any terminal; None if there is none, or several, or one that journalctl finds too long."""
    value = entry.get(name)
    if isinstance(value, list):  # its bytes, if it is not all text
        with suppress(TypeError, ValueError):
            return printable(bytes(value))
    return printable(value) if isinstance(value, str) else None


def _number(value: object) -> int | None:
    is_number = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _DIGITS_MAX
    return int(str(value)) if is_number else None


# For people, and for programs: docs/qbhelperctl.md says what it means ----------------------------------------------


class _Shown:
    """Prints records, one on a line.  Columns are as wide as what was in them so far."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._users = self._events = 0

    def make_room(self, all_: list[Told]) -> None:
        """Make the columns wide enough for all that will come."""
        self._users = max((len(_user(told)) for told in all_), default=0)
        self._events = max((len(told.event) for told in all_), default=0)

    def add(self, told: Told) -> None:
        """Print one."""
        if self._as_json:
            say(json.dumps(as_json_has_it(told)))
            return
        self._users, self._events = max(self._users, len(_user(told))), max(self._events, len(told.event))
        event = paint(told.event, _STYLES.get(told.event, "strong")) + " " * (self._events - len(told.event))
        say(f"{_time(told.at)}  {_user(told):{self._users}}  {event}  {_what(told)}")


def _time(at: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at // 1_000_000))
    except (OverflowError, ValueError, OSError):  # a clock that is far off
        return str(at)


def _user(told: Told) -> str:
    return "-" if told.uid is None else people.user_name(told.uid)


def _what(told: Told) -> str:
    """Return in words what was granted or why it was not; of other events, what their writer says."""
    if told.event == "granted" and told.interface and told.bridge:
        return f"{told.interface} on {told.bridge}" + (f" by {told.rule}" if told.rule else "")
    if told.event == "refused" and told.reason:
        # What the user was to do next is nothing to whoever reads this.
        reason = told.reason.partition("; ")[0].removeprefix(_DENIED)
        is_named = told.bridge is None or f"`{told.bridge}'" in reason
        return reason if is_named else f"{told.bridge}: {reason}"
    return told.message


def as_json_has_it(told: Told) -> dict[str, object]:
    """Return a record for a program."""
    return {
        "time": told.at / 1_000_000,
        "source": told.source,
        "event": told.event,
        "user": _who(told.uid),
        "by": _who(told.by_uid),
        "pid": told.pid,
        "bridge": told.bridge,
        "interface": told.interface,
        "lease": told.lease,
        "code": told.code,
        "rule": told.rule,
        "reason": told.reason,
        "message": told.message,
    }


def _who(uid: int | None) -> dict[str, object] | None:
    return None if uid is None else {"uid": uid, "name": people.name_of(uid)}
