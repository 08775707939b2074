# SPDX-License-Identifier: GPL-2.0-or-later
"""The broker as a service: readiness, idleness, the log."""

import os
import select
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qbhelper import record
from tests.support import broker, install, world
from tests.support.caller import PLAIN_UID

pytestmark = pytest.mark.needs_root

IMPATIENT = """#!/usr/bin/python3 -I
import sys
sys.path.append({modules!r})
from qbhelper.broker import main
main.IDLE_SECONDS = 0.3
sys.exit(main.main([]))
"""


FAILING = """#!/usr/bin/python3 -I
import os, sys
sys.path.append({modules!r})
from qbhelper.broker import main, snapshot
take = snapshot.take
def take_if_well():
    assert not os.path.exists({illness!r}), "an error that nobody thought of"
    return take()
snapshot.take = take_if_well
sys.exit(main.main([]))
"""


WITH_ITS_OWN_DEV = """#!/usr/bin/python3 -I
import os, sys
sys.path.append({modules!r})
from qbhelper.broker import main
from qbhelper.kernel import tap
if not os.path.exists(tap.TUN_DEVICE):
    tap.TUN_DEVICE += "-of-its-own"
sys.exit(main.main([]))
"""
"""As PrivateDevices= in the unit has it: what is missing when it starts, it never sees."""
TUN = Path("/dev/net/tun")


@contextmanager
def program(text: str, **words: str) -> Iterator[Path]:
    """A script that runs the installed broker in a way of its own."""
    script = world.WORLD / "a-broker"
    script.write_text(text.format(modules=str(install.installed().parents[1] / "lib" / "qbhelper"), **words))
    script.chmod(0o755)
    yield script
    script.unlink()


@pytest.fixture
def impatient() -> Iterator[Path]:
    """The installed broker, with a shorter idle time."""
    with program(IMPATIENT) as script:
        yield script


@pytest.fixture
def illness() -> Iterator[Path]:
    """A file; while it exists, no worker of `failing` comes to serve."""
    path = world.WORLD / "illness"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def failing(illness: Path) -> Iterator[Path]:
    """The installed broker, but for workers that fail while there is an illness."""
    with program(FAILING, illness=str(illness)) as script:
        yield script


@pytest.fixture
def with_its_own_dev() -> Iterator[Path]:
    """The installed broker, as in its unit; there is no device of which TAPs are made."""
    TUN.unlink()
    try:
        with program(WITH_ITS_OWN_DEV) as script:
            yield script
    finally:
        TUN.unlink(missing_ok=True)
        make_device()


def make_device() -> None:
    """Have the device be there, as udev makes it."""
    os.mknod(TUN, stat.S_IFCHR, os.makedev(*world.TUN_DEVICE))
    TUN.chmod(0o666)


def ends_within(pid: int, seconds: float) -> bool:
    """Whether a process ends in this time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def test_idle_it_ends_and_the_next_caller_starts_it_again(br0: str, impatient: Path) -> None:
    """Socket-activated, with no lease and nothing to do, it ends with status 0; whoever asks then is served."""
    with broker.activated(impatient) as running:
        first = running.worker
        assert ends_within(first, broker.PATIENCE)
        with broker.call() as outcome:
            assert outcome.granted
        # Status 0: after a failure it would have been started without a caller.
        assert running.await_worker() != first


def test_while_somebody_holds_a_lease_it_stays(br0: str, impatient: Path) -> None:
    """Somebody has to watch the TAPs that are held; when the last one goes, so does the broker."""
    with broker.activated(impatient) as running:
        with broker.ask() as answer:
            serving = running.latest_worker()
            assert answer.granted
            assert not ends_within(serving, 1.5)
        assert ends_within(serving, broker.PATIENCE)


def test_a_device_that_was_made_after_it_started_is_there_for_its_callers(br0: str, with_its_own_dev: Path) -> None:
    """Where there was none it starts anew, as for a changed policy, though callers keep it from being idle."""
    with broker.activated(with_its_own_dev) as running:
        for _ in range(2):
            with broker.ask() as answer:
                assert "failed to open /dev/net/tun" in answer.reply.message
            running.await_worker()
        make_device()
        deadline = time.monotonic() + broker.PATIENCE
        granted = False
        while not granted:
            assert time.monotonic() < deadline
            with broker.ask() as answer:
                granted = answer.granted
        serving = running.latest_worker()
        broker.ask().close()
        assert running.latest_worker() == serving, "now it is warm"


def test_it_says_once_that_it_is_ready(br0: str) -> None:
    """Started by hand, too, a service becomes ready once: a reload is no second start."""
    with broker.by_hand() as running:
        for number in range(3):
            before = running.worker
            world.write_access_list(f"allow br0\n# {number}\n")
            broker.ask().close()
            assert running.latest_worker() != before
        assert running.readiness.next_pid(0) is None


def test_a_worker_that_fails_is_followed_by_the_next(br0: str, failing: Path, illness: Path) -> None:
    """The keeper tries again until one serves; who has asked meanwhile gets the answer from that one."""
    with broker.by_hand(failing) as running:
        illness.touch()
        world.write_access_list("allow br0\n#\n")  # the next request is for the next worker
        with broker.connect(PLAIN_UID) as connection:
            connection.send(broker.question())
            while running.log().count("a worker ended with status 1: starting another") < 3:
                assert not ends_within(running.main.pid, 0.01)
            illness.unlink()
            answer = broker.take_answer(connection)
            assert answer is not None
            with answer:
                assert answer.granted
        log = running.log()
    assert "internal error: AssertionError: an error that nobody thought of (a-broker:" in log
    assert "Traceback" not in log


def test_where_the_first_worker_fails_the_keeper_ends_too(br0: str, failing: Path, illness: Path) -> None:
    """What keeps the first from serving is for whoever starts it to mend: status 1, the reason, and no socket."""
    illness.touch()
    with pytest.raises(RuntimeError, match=r"exit 1: (?s:.*) an error that nobody thought of"):
        world.run(str(failing))
    assert not broker.SOCKET.exists()


@pytest.mark.parametrize("capability", ["net_admin", "setuid", "setpcap", "dac_read_search"])
def test_a_root_without_a_capability_is_told_so(br0: str, capability: str) -> None:
    """In a container that lacks what it takes it ends at once, and names what is missing."""
    with pytest.raises(RuntimeError, match=f"exit 1: (?s:.*) CAP_{capability.upper()}"):
        world.run("setpriv", f"--bounding-set=-{capability}", "--inh-caps=-all", str(broker.program()))
    assert not broker.SOCKET.exists()


@contextmanager
def journald() -> Iterator[socket.socket]:
    """A socket where the journal's is, in our own /run."""
    path = Path(record.JOURNAL)
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        path.chmod(0o666)
        receiver.settimeout(broker.PATIENCE)
        try:
            yield receiver
        finally:
            path.unlink()


def parse(record: bytes) -> dict[str, str]:
    """Read a record as journald does (systemd's Journal Native Protocol)."""
    found: dict[str, str] = {}
    while record:
        line, _, record = record.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack_from("<Q", record)
            value, record = record[8 : 8 + length], record[8 + length :]
            assert record[:1] == b"\n"
            record = record[1:]
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


def record_of(receiver: socket.socket, event: str) -> dict[str, str]:
    """Return the next record of an event."""
    while True:
        found = parse(receiver.recv(1 << 16))
        if found.get("QBHELPER_EVENT") == event:
            return found


def test_the_journal_gets_records_with_fields(way: broker.Way, br0: str) -> None:
    """Who got what, and who was refused what and why, can be found by field, without reading messages."""
    with journald() as receiver, way():
        with broker.ask() as answer:
            granted = record_of(receiver, "granted")
            assert granted["QBHELPER_INTERFACE"] == answer.name
            assert (granted["QBHELPER_UID"], granted["QBHELPER_PID"]) == (str(PLAIN_UID), str(os.getpid()))
            assert (granted["QBHELPER_BRIDGE"], granted["QBHELPER_CODE"]) == (br0, "GRANTED")
            assert (granted["SYSLOG_IDENTIFIER"], granted["PRIORITY"]) == ("qbhelperd", "6")
            assert granted["QBHELPER_LEASE"] in Path("/sys/class/net", answer.name, "ifalias").read_text()
            assert answer.name in granted["MESSAGE"]
        broker.ask("br7")
        refused = record_of(receiver, "refused")
        assert (refused["QBHELPER_BRIDGE"], refused["QBHELPER_CODE"], refused["PRIORITY"]) == (
            "br7",
            "NOT_ALLOWED",
            "5",
        )
        assert "no line of /etc/qemu/bridge.conf allows" in refused["MESSAGE"]
        assert refused["QBHELPER_REASON"] in refused["MESSAGE"]
        assert "QBHELPER_RULE" not in refused
        world.write_access_list("allow br0\ndeny br7\n")
        broker.ask().close()
        assert record_of(receiver, "reload")["PRIORITY"] == "6"
        broker.ask("br7")
        assert record_of(receiver, "refused")["QBHELPER_RULE"] == "/etc/qemu/bridge.conf:2"


@pytest.mark.parametrize(
    "name", [b"a\nPRIORITY=0", b"a\nUID\n\1\0\0\0\0\0\0", b"\x1b[2J\n_PID=1\n", b"\xff\xfe=\n=", b"=\n="]
)
def test_no_value_can_look_like_a_field(br0: str, name: bytes) -> None:
    """Whatever a caller writes for a bridge's name is one value of one field."""
    name = name.replace(b"\0", b"\1")[:15]
    with journald() as receiver, broker.by_hand():
        broker.ask(name)
        record = record_of(receiver, "refused")
    assert set(record) == {
        "MESSAGE",
        "PRIORITY",
        "SYSLOG_IDENTIFIER",
        "QBHELPER_EVENT",
        "QBHELPER_UID",
        "QBHELPER_PID",
        "QBHELPER_BRIDGE",
        "QBHELPER_CODE",
        "QBHELPER_REASON",
    }
    assert record["PRIORITY"] == "5"
    assert record["MESSAGE"].isprintable()
    assert record["QBHELPER_BRIDGE"].isprintable()


def test_without_a_journal_the_log_is_lines_on_stderr(br0: str) -> None:
    """One printable line for each event, with the same fields."""
    with broker.by_hand() as running:
        with broker.ask() as answer:
            name = answer.name
        broker.ask(b"br\n7\x1b")
        broker.ask("br8")  # when this is answered, what was before it is logged
        lines = running.log().splitlines()
    assert any(
        line.startswith(f"qbhelperd: uid {PLAIN_UID} has port {name} on br0") and "event=granted" in line
        for line in lines
    )
    assert any("refused on br\\n7\\x1b" in line for line in lines)
    assert all(line.startswith("qbhelperd: ") and line.isprintable() for line in lines)


def test_a_journal_that_nobody_reads_stops_nothing(br0: str) -> None:
    """A full socket of the journal loses records, not requests."""
    with journald(), broker.by_hand():
        for _ in range(100):
            assert not broker.ask("br7").granted
