# SPDX-License-Identifier: GPL-2.0-or-later
"""What the standalone way logs: byte by byte, as whom, when; and that no log can stop it or fail it."""

import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from qbhelper import record
from tests.kernel import traced
from tests.kernel.ways import Way, granted, refused
from tests.support import world

CREDENTIALS = struct.Struct("3i")
"""The pid, uid and gid of who sent a datagram (unix(7))."""
JOURNAL, SYSLOG = Path(record.JOURNAL), Path(record.SYSLOG)


def remove(path: Path) -> None:
    """Remove what a test has put where a log is."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """In our own /run and /dev nobody keeps a log, unless a test does."""
    if os.path.lexists(SYSLOG):
        pytest.skip("there is a /dev/log here, which is not ours")
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    yield
    remove(JOURNAL)
    remove(SYSLOG)


@contextmanager
def log_at(path: Path, kind: socket.SocketKind = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
    """A log that everybody may write to, and that we read."""
    with socket.socket(socket.AF_UNIX, kind) as log:
        log.bind(str(path))
        path.chmod(0o666)
        if kind is socket.SOCK_STREAM:
            log.listen(1)
        else:
            log.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        log.setblocking(False)
        try:
            yield log
        finally:
            path.unlink()


def taken(log: socket.socket) -> tuple[bytes, int, int]:
    """The one datagram that waits, and the pid and uid of who sent it; no fd came with it, and no other waits."""
    data, ancillary, _, _ = log.recvmsg(1 << 16, 1024)
    [(_, kind, credentials)] = ancillary
    assert kind == socket.SCM_CREDENTIALS
    assert not select.select([log], [], [], 0)[0]
    pid, uid, _ = CREDENTIALS.unpack(credentials)
    return data, pid, uid


def written(fields: dict[str, str]) -> bytes:
    """A record as systemd's Journal Native Protocol has it, each value with its length."""
    return b"".join(
        name.encode() + b"\n" + struct.pack("<Q", len(value)) + value.encode() + b"\n" for name, value in fields.items()
    )


def uid_of(way: Way) -> int:
    """Who calls."""
    return os.getuid() if way.uid is None else way.uid


def test_a_grant_is_a_record_of_the_callers(way: Way, br0: str) -> None:
    """Who has which port on which bridge, by which line; from a process that is the caller, nobody else."""
    with log_at(JOURNAL) as log, way.call() as outcome:
        name, uid = granted(outcome), uid_of(way)
        data, _, sender = taken(log)
        lease = Path("/sys/class/net", name, "ifalias").read_text().split()[1].removeprefix("lease=")
    rule = "/etc/qemu/bridge.conf:1"
    assert sender == uid
    assert data == written(
        {
            "MESSAGE": f"uid {uid} has port {name} on br0 by {rule}",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "qbhelper",
            "QBHELPER_EVENT": "granted",
            "QBHELPER_UID": f"{uid}",
            "QBHELPER_PID": f"{os.getpid()}",
            "QBHELPER_CODE": "GRANTED",
            "QBHELPER_BRIDGE": "br0",
            "QBHELPER_RULE": rule,
            "QBHELPER_LEASE": lease,
            "QBHELPER_INTERFACE": name,
        }
    )


@pytest.mark.parametrize(
    ("text", "bridge", "code", "rule"),
    [
        ("allow br0\n", "br7", "NOT_ALLOWED", None),
        ("allow br0\ndeny br7\n", "br7", "NOT_ALLOWED", "/etc/qemu/bridge.conf:2"),
        ("allow all\n", "br7", "NO_SUCH_BRIDGE", None),
        ("oops\n", "br0", "NOT_ALLOWED", None),
        ("allow all\n", "lo", "NO_SUCH_BRIDGE", None),
    ],
    ids=["no line", "a deny", "no bridge", "broken list", "not a bridge"],
)
def test_a_refusal_is_a_record_with_the_line_that_decided(
    way: Way, br0: str, text: str, bridge: str, code: str, rule: str | None
) -> None:
    """The reason is what was said on stderr; the line is told where there is one."""
    world.write_access_list(text)
    with log_at(JOURNAL) as log:
        with way.call(bridge=bridge) as outcome:
            said = refused(outcome)
        data, _, sender = taken(log)
    uid = uid_of(way)
    assert sender == uid
    assert data == written(
        {
            "MESSAGE": f"uid {uid} refused on {bridge}: {said}",
            "PRIORITY": "5",
            "SYSLOG_IDENTIFIER": "qbhelper",
            "QBHELPER_EVENT": "refused",
            "QBHELPER_UID": f"{uid}",
            "QBHELPER_PID": f"{os.getpid()}",
            "QBHELPER_CODE": code,
            "QBHELPER_BRIDGE": bridge,
            **({"QBHELPER_RULE": rule} if rule else {}),
            "QBHELPER_REASON": said,
        }
    )


@pytest.mark.parametrize("line", ["max_ports = 1", "max_ports_total = 1"])
def test_a_quota_names_its_rule(setuid: Way, br0: str, line: str) -> None:
    """A rule that allows no more has decided as well as one that denies."""
    with world.rule(line), setuid.call(), log_at(JOURNAL) as log, setuid.call() as outcome:
        assert outcome.refused, outcome
        data, _, _ = taken(log)
    assert written({"QBHELPER_CODE": "QUOTA"}) in data
    assert written({"QBHELPER_RULE": "/etc/qbhelper/policy.toml:1"}) in data


@pytest.mark.parametrize("name", [b"a\nPRIORITY=0", b"\x1b[2J\n_PID=1\n", b"\xff\xfe=\n=", b"=\n="])
def test_no_name_can_look_like_a_field_or_a_line(setuid: Way, br0: str, name: bytes) -> None:
    """What the native part lets through is escaped; what it refuses is in no log."""
    for path in (JOURNAL, SYSLOG):
        with log_at(path) as log:
            assert setuid.call(bridge=name).refused
            with suppress(BlockingIOError):
                data, _, _ = taken(log)
                assert data.count(b"PRIORITY\n") <= 1
                assert b"\x1b" not in data


def test_without_a_journal_it_is_a_line_in_syslog(way: Way, br0: str) -> None:
    """Priority, tag and pid as syslog(3) writes them, for who was let in; the fields behind the text."""
    rule, pid, uid = "/etc/qemu/bridge.conf:1", os.getpid(), uid_of(way)
    with log_at(SYSLOG) as log:
        with way.call() as outcome:
            name = granted(outcome)
            lease = Path("/sys/class/net", name, "ifalias").read_text().split()[1]
            data, helper, sender = taken(log)
        assert sender == uid
        assert data.decode() == (
            f"<86>qbhelper[{helper}]: uid {uid} has port {name} on br0 by {rule} event=granted uid={uid} pid={pid} "
            f"code=GRANTED bridge=br0 rule={rule} {lease} interface={name}"
        )
        with way.call(bridge="br7") as outcome:
            said = refused(outcome)
        data, helper, _ = taken(log)
    assert data.decode() == (
        f"<85>qbhelper[{helper}]: uid {uid} refused on br7: {said} event=refused uid={uid} pid={pid} "
        "code=NOT_ALLOWED bridge=br7"
    )


def test_where_there_is_a_journal_syslog_gets_nothing(setuid: Way, br0: str) -> None:
    """The journal passes on what syslog is to have."""
    with log_at(JOURNAL) as journal, log_at(SYSLOG) as syslog:
        setuid.call().close()
        taken(journal)
        assert not select.select([syslog], [], [], 0)[0]


@pytest.mark.parametrize("path", [JOURNAL, SYSLOG], ids=["journal", "syslog"])
def test_a_log_that_nobody_reads_stops_nothing(lent: Way, br0: str, path: Path) -> None:
    """Its buffer is full: records are lost, ports and refusals are not.  Nor is anything waited for."""
    with log_at(path) as log:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as filler,
            suppress(BlockingIOError),
        ):
            while True:
                filler.sendto(b"full", str(path))
        with lent.call() as outcome:
            granted(outcome)
        refused(lent.call(bridge="br7"))
        after = traced.steps.__wrapped__(lent.helper)
        waits = {"poll", "ppoll", "select", "pselect6", "epoll_wait", "nanosleep", "clock_nanosleep"}
        sent = max(at for at, step in enumerate(after) if step.name == "sendmsg")
        assert not waits & {step.name for step in after[sent:]}
        assert any("EAGAIN" in step.text for step in after[sent:] if step.name == "sendto")
        while select.select([log], [], [], 0)[0]:
            assert log.recv(1 << 16) == b"full"


def a_listener_of_streams(path: Path) -> None:
    """As some syslog daemons have it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as log:
        log.bind(str(path))


def a_loop(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path)


HOSTILE: list[Callable[[Path], object]] = [Path.touch, Path.mkdir, os.mkfifo, a_listener_of_streams, a_loop]


@pytest.mark.parametrize("make", HOSTILE, ids=["file", "directory", "fifo", "stream", "loop"])
def test_what_is_no_log_stops_nothing(way: Way, br0: str, make: Callable[[Path], object]) -> None:
    """Whatever is there in place of journal and syslog: ports and refusals are as ever, and a file stays empty."""
    for path in (JOURNAL, SYSLOG):
        make(path)
    with way.call() as outcome:
        granted(outcome)
    refused(way.call(bridge="br7"))
    assert not JOURNAL.is_file() or JOURNAL.stat().st_size == 0
    assert not SYSLOG.is_file() or SYSLOG.stat().st_size == 0


def test_a_listener_of_streams_stops_nothing(way: Way, br0: str) -> None:
    """A syslog that takes connections only: nothing is sent to it."""
    with log_at(SYSLOG, socket.SOCK_STREAM) as log:
        with way.call() as outcome:
            granted(outcome)
        assert not select.select([log], [], [], 0)[0]


def test_a_log_that_is_closed_to_the_caller_stops_nothing(lent: Way, br0: str) -> None:
    """It is the caller who writes: what they may not write to gets nothing."""
    with log_at(JOURNAL) as log:
        JOURNAL.chmod(0o600)
        with lent.call() as outcome:
            granted(outcome)
        refused(lent.call(bridge="br7"))
        assert not select.select([log], [], [], 0)[0]


@pytest.mark.parametrize("error", ["EMFILE", "EAFNOSUPPORT", "EPERM"])
def test_a_socket_that_cannot_be_had_stops_nothing(setuid: Way, br0: str, error: str) -> None:
    """The last socket(2) of a run is the log's."""
    step = traced.find(setuid.helper, "socket", "SOCK_DGRAM", last=True)
    with traced.tampered(setuid.helper, step, f"error={error}") as outcome:
        granted(outcome)


def test_a_record_comes_after_the_port(lent: Way, br0: str) -> None:
    """QEMU has it before anything is written to a log."""
    steps = traced.steps(lent.helper)
    sent = traced.position(lent.helper, "sendmsg", "SCM_RIGHTS")
    assert [at > sent for at, step in enumerate(steps) if "SOCK_DGRAM" in step.text] == [True]


def test_a_record_comes_after_the_reason(lent: Way, br0: str) -> None:
    """Who waits for it has read why, and not the log, when that is written."""
    world.write_access_list("deny all\n")
    trace = world.WORLD / "trace"
    with traced.under_strace(lent.helper, "-o", str(trace), "-e", "trace=write,socket") as outcome:
        assert outcome.refused, outcome
    lines = [line for line in trace.read_text().splitlines() if line.startswith("write(2,") or "SOCK_DGRAM" in line]
    assert [line.partition("(")[0] for line in lines] == ["write", "socket"]


def void(_: object) -> None:
    """Return nothing."""


def test_no_stderr_is_no_way_around_the_log(setuid: Way, br0: str) -> None:
    """Who closes it, or gives one that takes nothing, is in the log all the same."""
    with log_at(JOURNAL) as log, open("/dev/full", "wb") as full:
        outcome = setuid.call(bridge="br7", prepare=lambda: void(os.dup2(full.fileno(), 2)))
        assert (outcome.status, outcome.fds) == (1, [])
        data, _, _ = taken(log)
    assert b"refused on br7" in data
