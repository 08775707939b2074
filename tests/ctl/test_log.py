# SPDX-License-Identifier: GPL-2.0-or-later
"""What `qbhelperctl log` believes of a journal, and how it shows it; tests/host has a real journal."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbhelper import record
from qbhelper.ctl import log
from qbhelper.ctl.journal import Entry
from qbhelper.ctl.log import BROKER, STANDALONE, Told, as_json_has_it, believed
from tests.ctl.host import ctl

ACCOUNT, ALICE = 998, 1000
NAMES = ("EVENT", "UID", "PID", "BY_UID", "BRIDGE", "INTERFACE", "LEASE", "CODE", "RULE", "REASON")
VALUES: st.SearchStrategy[object] = st.one_of(
    st.text(max_size=20),
    st.sampled_from([str(ACCOUNT), str(ALICE), "0", "-1", "٣", "granted", "refused", record.BROKER, record.STANDALONE]),
    st.lists(st.integers(0, 255) | st.text(max_size=3), max_size=5),
    st.none(),
)
ENTRIES = st.dictionaries(
    st.sampled_from(
        ["MESSAGE", "SYSLOG_IDENTIFIER", "_UID", "__REALTIME_TIMESTAMP", *(record.PREFIX + name for name in NAMES)]
    ),
    VALUES,
)
GRANT: Entry = {
    "__REALTIME_TIMESTAMP": "1795300158422928",
    "_UID": str(ACCOUNT),
    "SYSLOG_IDENTIFIER": record.BROKER,
    "MESSAGE": "the message",
    "QBHELPER_EVENT": "granted",
    "QBHELPER_UID": str(ALICE),
    "QBHELPER_BRIDGE": "br0",
    "QBHELPER_INTERFACE": "tap0",
    "QBHELPER_RULE": "/p:1",
}


def shown(entry: Entry, capsys: pytest.CaptureFixture[str]) -> str:
    """The line of an entry that is believed, without its time."""
    told = believed(entry, ACCOUNT)
    assert told is not None
    log._Shown(as_json=False).add(told)
    return capsys.readouterr().out[21:]


@pytest.mark.parametrize(
    ("writer", "identifier", "about", "source"),
    [
        (str(ACCOUNT), record.BROKER, ALICE, BROKER),
        (str(ALICE), record.STANDALONE, ALICE, STANDALONE),
        ("0", record.STANDALONE, 0, STANDALONE),
        (str(ALICE), record.BROKER, ALICE, None),
        (str(ALICE), record.STANDALONE, 0, None),
        ("0", record.BROKER, ALICE, None),
        ("0", record.STANDALONE, ALICE, None),
        (None, record.BROKER, ALICE, None),
        ([str(ACCOUNT)], record.BROKER, ALICE, None),
        (f"{ACCOUNT} ", record.BROKER, ALICE, None),
    ],
)
def test_who_wrote_it_decides(writer: object, identifier: str, about: int, source: str | None) -> None:
    """The broker's account is believed as the broker, everybody about themselves, nobody else."""
    told = believed({**GRANT, "_UID": writer, "SYSLOG_IDENTIFIER": identifier, "QBHELPER_UID": str(about)}, ACCOUNT)
    assert (told.source if told else None) == source


@pytest.mark.parametrize("event", ["revoked", "deleted", "error", "x" * 200])
def test_of_others_nobody_but_the_broker_is_believed(event: str) -> None:
    """Users write in their own name what the helper would, and nothing of bob in words of their own."""
    own = {**GRANT, "_UID": str(ALICE), "SYSLOG_IDENTIFIER": record.STANDALONE, "QBHELPER_BY_UID": "1001"}
    assert believed({**own, "QBHELPER_EVENT": event}, ACCOUNT) is None
    told = believed(own, ACCOUNT)
    assert told is not None
    assert told.by_uid is None


def test_without_the_account_there_is_no_broker() -> None:
    """Who serves as nobody could be anybody."""
    assert believed(GRANT, None) is None
    assert believed({**GRANT, "_UID": "65534"}, None) is None


def test_a_value_that_is_there_twice_is_none() -> None:
    """Nor can a record be about two users."""
    told = believed({**GRANT, "QBHELPER_RULE": ["/p:1", "/p:2"]}, ACCOUNT)
    assert told is not None
    assert told.rule is None
    own = {**GRANT, "_UID": str(ALICE), "SYSLOG_IDENTIFIER": record.STANDALONE}
    assert believed({**own, "QBHELPER_UID": [str(ALICE), "0"]}, ACCOUNT) is None


@given(ENTRIES)
def test_whatever_is_read_it_is_printable_or_left_out(entry: Entry) -> None:
    """No entry of a journal is an internal error, or drives a terminal."""
    told = believed(entry, ACCOUNT)
    if told is None:
        return
    for value in dataclasses.asdict(told).values():
        assert not isinstance(value, str) or (value.isascii() and value.isprintable())
    assert log._what(told).isprintable()
    json.dumps(as_json_has_it(told))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "1000  granted  tap0 on br0 by /p:1"),
        ({"QBHELPER_INTERFACE": None}, "1000  granted  the message"),
        ({"QBHELPER_EVENT": "revoked"}, "1000  revoked  the message"),
        ({"QBHELPER_EVENT": "error", "QBHELPER_UID": None}, "-  error  the message"),
        (
            {"QBHELPER_EVENT": "refused", "QBHELPER_REASON": "access denied by acl file: /p:2 denies `br0'; ask"},
            "1000  refused  /p:2 denies `br0'",
        ),
        ({"QBHELPER_EVENT": "refused", "QBHELPER_REASON": "quota: no; ask"}, "1000  refused  br0: quota: no"),
        ({"QBHELPER_EVENT": "refused"}, "1000  refused  the message"),
        ({"QBHELPER_EVENT": "granted", "QBHELPER_RULE": None}, "1000  granted  tap0 on br0"),
    ],
)
def test_a_line_says_what_was_decided(
    fields: Entry, expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not what its user was told to do next; an event of a later broker is what that says of it."""
    monkeypatch.setattr("qbhelper.ctl.people.user_name", str)
    assert shown({**GRANT, **fields}, capsys) == f"{expected}\n"


def test_a_clock_that_is_far_off_is_no_error() -> None:
    """There is no such year."""
    assert log._time(10**18 * 1_000_000) == str(10**18 * 1_000_000)


def test_columns_are_as_wide_as_what_is_in_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that is shown; as things come, of what was shown."""
    monkeypatch.setattr("qbhelper.ctl.people.user_name", lambda uid: "x" * (uid - 990))
    records = [believed({**GRANT, "QBHELPER_UID": str(uid)}, ACCOUNT) for uid in (991, 999, 993)]
    all_: list[Told] = [told for told in records if told]
    for known, at in ((True, [32, 32, 32]), (False, [24, 32, 32])):
        printer = log._Shown(as_json=False)
        if known:
            printer.make_room(all_)
        for told in all_:
            printer.add(told)
        assert [line.index("granted") for line in capsys.readouterr().out.splitlines()] == at


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
class TestWithoutAJournal:
    """The private world of a test has none."""

    @pytest.mark.parametrize("words", [[], ["--json"], ["--follow"], ["--user=alice", "--bridge=br0", "--since=today"]])
    def test_it_says_where_to_look(self, words: list[str]) -> None:
        """With status 2: there was no answer."""
        said = ctl("log", *words)
        assert (said.status, said.out) == (2, "")
        assert said.err.startswith("qbhelperctl: there is no journal")
        assert said.err.endswith(
            "; look for `qbhelper[' in what syslog keeps (/dev/log, facility authpriv), and on the standard error of "
            "qbhelperd\n"
        )

    def test_a_user_that_is_not_there_is_told(self) -> None:
        """Before anything is read."""
        said = ctl("log", "--user=carol")
        assert (said.status, said.out) == (2, "")
        assert "there is no user `carol'" in said.err
