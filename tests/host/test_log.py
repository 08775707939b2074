# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl log` where there is a journal: what it shows, whom it believes, and to whom it shows what."""

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qbhelper import record
from tests.host import service
from tests.support import caller, world
from tests.support.broker import PATIENCE

pytestmark = pytest.mark.inside("debian13", "debian12")

CTL = service.PREFIX / "bin/qbhelperctl"
STANDALONE = service.PREFIX / "bin/qbhelper-setuid"
ALICE, BOB = 4001, 4002
"""Uids of their own: what dynamic ones write is in the journal of the system (systemd's users.md)."""
RULE, DENY = "/etc/qemu/bridge.conf:1", "/etc/qemu/bridge.conf:2"
TUNSETPERSIST = 0x400454CB


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """Qbhelper, a copy of it that is setuid, two users, and a journal that is kept: it has a part for each user."""
    service.install_from_source()
    shutil.copy(service.HELPER, STANDALONE)
    STANDALONE.chmod(0o4755)
    for name, uid in (("alice", ALICE), ("bob", BOB)):
        world.run("useradd", "--uid", str(uid), "--no-create-home", name)
    Path("/var/log/journal").mkdir(exist_ok=True)
    world.run("systemd-tmpfiles", "--create", "--prefix=/var/log/journal")
    world.run("journalctl", "--flush")


@pytest.fixture(autouse=True)
def since() -> Iterator[str]:
    """A bridge that everybody may use, one that nobody may; the moment before the test."""
    world.write_access_list("allow all\ndeny br-mgmt\n")
    before = world.run("date", "+@%s.%6N").strip()
    with world.bridge("br0"), world.bridge("br1"):
        yield before


def said(*words: str, uid: int = 0) -> "subprocess.CompletedProcess[str]":
    """Run `qbhelperctl log` when all is written that was sent."""
    world.run("journalctl", "--sync")
    who = [] if uid == 0 else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return subprocess.run([*who, CTL, "log", *words], capture_output=True, text=True, timeout=60, check=False)


def logged(since: str, *words: str, uid: int = 0) -> list[dict[str, Any]]:
    """What is shown to a program, of all since a moment."""
    done = said("--json", f"--since={since}", *words, uid=uid)
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def ask(helper: Path, uid: int, bridge: str) -> str | None:
    """Ask for a port, and give it back; its name, None if it was refused."""
    with caller.call(helper, uid=uid, bridge=bridge) as outcome:
        assert outcome.granted or outcome.refused, outcome
        return outcome.tap().name if outcome.granted else None


def forge(uid: int, identifier: str, about: int, **fields: str) -> None:
    """Have a user write to the journal what looks like a record of ours, with all that they can write."""
    found = {"EVENT": "granted", "UID": str(about), "BRIDGE": "br0", "INTERFACE": "forged", "RULE": RULE}
    lines = {
        "MESSAGE": "forged",
        "SYSLOG_IDENTIFIER": identifier,
        "_UID": str(about),
        "_SYSTEMD_UNIT": service.SERVICE,
        **{f"QBHELPER_{name}": value for name, value in found.items()},
        **fields,
    }
    data = b"".join(
        f"{name}\n".encode() + struct.pack("<Q", len(value.encode())) + value.encode() + b"\n"
        for name, value in lines.items()
    )
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            os._exit(journal.sendto(data, record.JOURNAL) != len(data))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("helper", "source"), [(service.HELPER, "broker"), (STANDALONE, "standalone")])
def test_grants_and_refusals_are_shown_with_the_line_that_decided(since: str, helper: Path, source: str) -> None:
    """Both ways alike: who, what, where, by which line; and why not."""
    name = ask(helper, ALICE, "br0")
    assert ask(helper, ALICE, "br-mgmt") is None
    assert ask(helper, BOB, "br7") is None
    granted, denied, missing = logged(since)
    assert {each["source"] for each in (granted, denied, missing)} == {source}
    assert (granted["event"], granted["user"]) == ("granted", {"uid": ALICE, "name": "alice"})
    assert (granted["interface"], granted["bridge"], granted["rule"]) == (name, "br0", RULE)
    assert (granted["code"], granted["reason"], len(granted["lease"])) == ("GRANTED", None, 16)
    assert (denied["event"], denied["bridge"], denied["rule"], denied["code"]) == (
        "refused",
        "br-mgmt",
        DENY,
        "NOT_ALLOWED",
    )
    assert denied["reason"].startswith(f"access denied by acl file: {DENY} denies `br-mgmt'; ")
    assert (missing["event"], missing["user"]["name"], missing["bridge"], missing["rule"], missing["code"]) == (
        "refused",
        "bob",
        "br7",
        None,
        "NO_SUCH_BRIDGE",
    )
    lines = said(f"--since={since}").stdout.splitlines()
    assert [line[21:] for line in lines] == [
        f"alice  granted  {name} on br0 by {RULE}",
        f"alice  refused  {DENY} denies `br-mgmt'",
        "bob    refused  failed to get mtu of bridge `br7': No such device",
    ]
    assert max(map(len, lines)) <= 90


def test_a_user_and_a_bridge_can_be_picked_out(since: str) -> None:
    """By name or uid, and both together; who is not known is an error."""
    for helper in (service.HELPER, STANDALONE):
        for uid, bridge in ((ALICE, "br0"), (ALICE, "br1"), (BOB, "br0")):
            ask(helper, uid, bridge)
    picked = {
        ("--user=alice",): 4,
        (f"--user={BOB}",): 2,
        ("--bridge=br0",): 4,
        ("--user=alice", "--bridge=br1"): 2,
        ("--user=bob", "--bridge=br1"): 0,
        ("--bridge=br\n0",): 0,
    }
    for words, number in picked.items():
        assert len(logged(since, *words)) == number, words
    assert {each["user"]["name"] for each in logged(since, "--user=alice")} == {"alice"}
    assert {each["bridge"] for each in logged(since, "--bridge=br0")} == {"br0"}
    done = said("--user=carol")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no user `carol'" in done.stderr


def test_what_others_write_is_not_believed(since: str) -> None:
    """Nobody can speak as the broker, nor about others; that somebody has tried is said."""
    forge(BOB, "qbhelperd", ALICE)
    forge(BOB, "qbhelperd", BOB)
    forge(BOB, "qbhelper", ALICE)
    forge(BOB, "qbhelper", 0)
    forge(65534, "qbhelperd", ALICE)
    done = said("--json", f"--since={since}")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "qbhelperctl: left out 5 that were written neither by `qbhelper', the broker's account, nor by the user whom "
        "they speak of\n"
    )


def test_who_writes_of_themselves_is_believed_and_marked(since: str) -> None:
    """That is what the standalone way does, as the user; nothing in it can drive a terminal."""
    forge(
        BOB, "qbhelper", BOB, QBHELPER_BRIDGE="\033[31m", QBHELPER_RULE="a\nb\xff", QBHELPER_PID="-1", MESSAGE="\033[2J"
    )
    [told] = logged(since)
    assert (told["source"], told["user"]["name"]) == ("standalone", "bob")
    assert (told["bridge"], told["rule"], told["pid"]) == ("\\x1b[31m", "a\\nb\\xff", None)
    [line] = said(f"--since={since}").stdout.splitlines()
    assert line.endswith("bob  granted  forged on \\x1b[31m by a\\nb\\xff")


def test_events_that_are_new_are_shown_by_their_message(since: str) -> None:
    """A later broker may know more of them."""
    account = int(world.run("id", "-u", record.ACCOUNT))
    forge(account, "qbhelperd", ALICE, QBHELPER_EVENT="revoked", QBHELPER_BY_UID=str(BOB), MESSAGE="revoked by bob")
    [told] = logged(since)
    assert (told["event"], told["by"]) == ("revoked", {"uid": BOB, "name": "bob"})
    assert said(f"--since={since}").stdout[21:] == "alice  revoked  revoked by bob\n"


def test_a_plain_user_sees_what_journald_lets_them_see(since: str) -> None:
    """Of their own what the helper alone has written; not what the broker has of them, nor what others have."""
    for uid in (ALICE, BOB):
        for helper in (service.HELPER, STANDALONE):
            ask(helper, uid, "br0")
    assert len(logged(since)) == 4
    assert [(each["user"]["name"], each["source"]) for each in logged(since, uid=ALICE)] == [("alice", "standalone")]
    done = said(f"--since={since}", "--user=bob", uid=ALICE)
    assert (done.returncode, done.stdout) == (0, "")
    assert "root and the group systemd-journal" in done.stderr


def test_a_port_that_the_broker_takes_away_is_shown(since: str) -> None:
    """Whose it was, on which bridge, and what they had done."""
    with caller.call(service.HELPER, uid=ALICE) as outcome:
        name = outcome.tap().name
        fcntl.ioctl(outcome.fds[0], TUNSETPERSIST, 1)
        world.run("sh", "-c", f"timeout {PATIENCE:g} sh -c 'while test -e /sys/class/net/{name}; do :; done'")
    granted, deleted = logged(since, "--user=alice", "--bridge=br0")
    assert (deleted["event"], deleted["lease"], deleted["interface"]) == ("deleted", granted["lease"], name)
    assert deleted["message"] == f"port {name} of uid {ALICE} deleted: its holder set it persistent"


def test_what_comes_is_shown_as_it_comes(since: str) -> None:
    """With --follow, until nobody reads it any more: then it ends, and leaves no journalctl."""
    ask(STANDALONE, ALICE, "br0")
    world.run("journalctl", "--sync")
    with subprocess.Popen(
        [CTL, "log", "--follow", "--json", f"--since={since}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["user"]["name"] == "alice"
        ask(service.HELPER, BOB, "br1")
        told = json.loads(following.stdout.readline())
        assert (told["user"]["name"], told["bridge"], told["source"]) == ("bob", "br1", "broker")
        children = Path(f"/proc/{following.pid}/task/{following.pid}/children").read_text().split()
        assert len(children) == 1
        following.stdout.close()
        assert following.wait(60) == 128 + 13
        assert following.stderr is not None
        assert following.stderr.read() == ""
    assert not Path("/proc", children[0]).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_it_ends_journalctl(since: str, number: signal.Signals) -> None:
    """Nobody reads what that writes any more, and it sees so without having to write."""
    ask(STANDALONE, ALICE, "br0")
    world.run("journalctl", "--sync")
    with subprocess.Popen([CTL, "log", "--follow", f"--since={since}"], stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert b"alice" in following.stdout.readline()
        [child] = Path(f"/proc/{following.pid}/task/{following.pid}/children").read_text().split()
        handle = os.pidfd_open(int(child))
        following.send_signal(number)
        assert following.wait(60) == -number
        ended = select.select([handle], [], [], PATIENCE)[0]
        os.close(handle)
    assert ended


def test_a_time_that_is_none_is_an_error() -> None:
    """Told in journalctl's words, with status 2."""
    done = said("--since=whenever")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("qbhelperctl: journalctl: Failed to parse timestamp: whenever")
    assert done.stderr.count("\n") == 1


def test_nothing_of_the_callers_chooses_what_is_run(since: str, tmp_path: Path) -> None:
    """Neither PATH nor a pager nor journalctl's own variables."""
    ask(STANDALONE, ALICE, "br0")
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho '{}'\n")
    (tmp_path / "journalctl").chmod(0o755)
    world.run("journalctl", "--sync")
    variables = {"PATH": str(tmp_path), "SYSTEMD_PAGER": "cat", "SYSTEMD_LESS": "x", "SYSTEMD_LOG_LEVEL": "debug"}
    done = subprocess.run(
        [CTL, "log", f"--since={since}"], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


def test_where_no_journal_is_syslog_is_named() -> None:
    """As after journald was stopped for good: where to look instead, and for what."""
    journal = Path(record.JOURNAL)
    aside = journal.rename(journal.with_name("aside"))
    try:
        done = subprocess.run([CTL, "log"], capture_output=True, text=True, timeout=60, check=False)
    finally:
        aside.rename(journal)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("qbhelperctl: there is no journal on this host; look for `qbhelper['")
