# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile clients cost themselves what they do; an honest caller beside them is served as if they were not there."""

import os
import signal
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from qbhelper.broker.server import SECONDS_TO_ASK
from qbhelper.wire import Code
from tests.support import broker, world
from tests.support.broker import Broker, Way
from tests.support.caller import PLAIN_UID

pytestmark = pytest.mark.needs_root

HOSTILE_UID = PLAIN_UID + 100
PROMISED = 0.9
"""Seconds: well under one.  It takes a few milliseconds, and whoever is waited for is waited for SECONDS_TO_ASK."""
TRIES = 3
"""A machine that is busy with other things may miss it once, but not each time."""


def serve_honest_caller() -> None:
    """Insist that a caller who does as the protocol says gets a port in time, in one go."""
    waits: list[float] = []
    while not waits or (waits[-1] >= PROMISED and len(waits) < TRIES):
        started = time.monotonic()
        with broker.connect(PLAIN_UID) as connection:
            connection.send(broker.question())
            answer = broker.take_answer(connection)
        waits.append(time.monotonic() - started)
        assert answer is not None
        with answer:
            assert answer.granted, answer
    assert waits[-1] < PROMISED, f"honest callers had to wait for {waits} s"


@contextmanager
def fds_return(running: Broker) -> Iterator[None]:
    """Insist that the broker has as many files open after the block as before."""
    serve_honest_caller()
    assert broker.no_tap_is_left()
    before = running.fds()
    yield
    deadline = time.monotonic() + broker.PATIENCE
    while running.fds() > before and time.monotonic() < deadline:
        serve_honest_caller()  # it has closed what ended before by the time that it answers
    assert running.fds() <= before
    assert os.path.exists(f"/proc/{running.worker}"), "it was the same process all the time"


@contextmanager
def many(count: int, uid: int = HOSTILE_UID, *, datagram: bytes | None = None) -> Iterator[list[socket.socket]]:
    """So many connections of one uid for the time of the block, on each of which something is sent."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            with broker.acting_as(uid):
                connection.connect(str(broker.SOCKET))
            connection.settimeout(broker.PATIENCE)
            found.append(connection)
            if datagram is not None:
                with suppress(BrokenPipeError, ConnectionResetError):  # one too many, and dropped already
                    connection.send(datagram)
        yield found


def test_connect_and_silence(either: Broker) -> None:
    """Whoever connects and says nothing loses the connection after two seconds, and delays nobody."""
    with fds_return(either), many(200) as silent:
        serve_honest_caller()
        for connection in silent:
            assert broker.take_answer(connection) is None


def test_silence_does_not_delay_a_change_of_the_policy(either: Broker) -> None:
    """Connections on which nothing was asked do not keep an outdated broker: the next one serves at once."""
    with many(200):
        serve_honest_caller()  # so those before have been accepted
        world.write_access_list("allow br0\n# changed\n")
        started = time.monotonic()
        with broker.ask() as answer:
            assert answer.granted
        assert time.monotonic() - started < SECONDS_TO_ASK


def test_silence_does_not_delay_the_end(br0: str) -> None:
    """Nor do they keep a broker that was told to end."""
    with broker.by_hand() as running, many(200):
        serve_honest_caller()
        started = time.monotonic()
        running.main.terminate()
        assert running.main.wait(broker.PATIENCE) == 0
        assert time.monotonic() - started < SECONDS_TO_ASK


SIZES = (*range(64), 100, 255, 256, 1000, 4095, 4096, 65535, 65536, 70000)


@pytest.mark.parametrize("byte", [0, 0x51, 0xFF, None], ids=["zeros", "letters", "ones", "random"])
def test_junk_of_every_size(daemon: Broker, byte: int | None) -> None:
    """Whatever is no question ends the connection without a word, be it empty or 70000 bytes."""
    random = Random(1)
    with fds_return(daemon):
        for size in SIZES:
            junk = random.randbytes(size) if byte is None else bytes([byte]) * size
            with broker.connect(HOSTILE_UID) as connection:
                connection.send(junk)
                assert broker.take_answer(connection) is None, size
        serve_honest_caller()


def test_a_question_with_every_byte_changed(daemon: Broker) -> None:
    """Each single byte of a question counts: changed, it is another question, a refusal, or no question at all."""
    whole = broker.question()
    for place in range(len(whole)):
        for change in (1, 0x80, 0xFF):
            data = bytearray(whole)
            data[place] ^= change
            with broker.connect(HOSTILE_UID) as connection:
                connection.send(data)
                answer = broker.take_answer(connection)
                if answer is not None:
                    answer.close()
    serve_honest_caller()


@pytest.mark.parametrize("count", [1, 2, 100, 253])
def test_fds_attached_to_a_question(daemon: Broker, count: int) -> None:
    """The broker takes no fd from a client: who sends one is dropped, and the broker has none more."""
    with fds_return(daemon), open("/dev/null", "rb") as null:
        for _ in range(20):
            with broker.connect(HOSTILE_UID) as connection:
                socket.send_fds(connection, [broker.question()], [null.fileno()] * count)
                assert broker.take_answer(connection) is None
        serve_honest_caller()


def test_many_questions_on_one_connection(daemon: Broker, br0: str) -> None:
    """A connection has one answer: what is asked after it is not even read."""
    with fds_return(daemon), broker.connect(HOSTILE_UID) as connection:
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            connection.setblocking(False)
            for _ in range(1000):
                connection.send(broker.question())
        serve_honest_caller()
        connection.settimeout(broker.PATIENCE)
        assert broker.await_links(lambda: len(world.ports(br0)) <= 1)
        for answer in (broker.take_answer(connection), broker.take_answer(connection)):
            if answer is not None:
                answer.close()


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR], ids=["RD", "WR", "RDWR"])
@pytest.mark.parametrize("asked", [False, True], ids=["silent", "asked"])
def test_half_closed_sockets(daemon: Broker, br0: str, how: int, asked: bool) -> None:
    """A socket that is shut in one direction or both is no trouble, whether a question was sent or not."""
    with fds_return(daemon), ExitStack() as connections:
        for _ in range(50):
            connection = connections.enter_context(broker.connect(HOSTILE_UID))
            if asked:
                connection.send(broker.question("no-such-bridge"))
            connection.shutdown(how)
        serve_honest_caller()


def test_a_caller_who_cannot_be_answered_gets_no_port(daemon: Broker, br0: str) -> None:
    """A question on a socket that is shut for reading makes a port that goes with the failed reply."""
    for _ in range(10):
        with broker.connect(HOSTILE_UID) as connection:
            connection.shutdown(socket.SHUT_RD)
            connection.send(broker.question())
    serve_honest_caller()
    assert broker.no_tap_is_left()


@pytest.mark.parametrize(
    "datagram", [None, b"junk", broker.question("no-such-bridge")], ids=["silent", "junk", "asking"]
)
def test_thousands_of_connections_of_one_uid(either: Broker, datagram: bytes | None) -> None:
    """Of 4000 connections of one uid a bounded number is held; who comes behind them is served in time."""
    with fds_return(either), many(4000, datagram=datagram):
        serve_honest_caller()
        assert either.fds() < 1000


def test_replies_that_nobody_takes(daemon: Broker) -> None:
    """Refused callers who neither read nor hang up are bounded for each uid, and in total."""
    with fds_return(daemon), ExitStack() as stack:
        for uid in range(HOSTILE_UID, HOSTILE_UID + 24):
            stack.enter_context(many(250, uid, datagram=broker.question("no-such-bridge")))
        serve_honest_caller()
        assert daemon.fds() < 3000


def test_ports_that_nobody_takes(daemon: Broker, br0: str) -> None:
    """Granted ports that wait in the socket of a caller who does not read go when the caller does."""
    with fds_return(daemon):
        with many(60, datagram=broker.question()):
            assert broker.await_links(lambda: len(world.ports(br0)) == 60)
            serve_honest_caller()
        assert broker.no_tap_is_left()


def test_with_few_files_left_it_goes_on(br0: str) -> None:
    """A broker with a low limit of open files lets the oldest go, and serves whoever comes."""
    with broker.by_hand(wrapper=["prlimit", "--nofile=256:256"]) as running, ExitStack() as stack:
        for uid in range(HOSTILE_UID, HOSTILE_UID + 4):
            stack.enter_context(many(100, uid, datagram=broker.question("no-such-bridge")))
        serve_honest_caller()
        assert running.fds() <= 256


def test_a_client_that_is_stopped_before_it_takes_its_reply(either: Broker, br0: str) -> None:
    """A helper that gets SIGSTOP with the reply on its way holds up nobody; woken up, it has its port."""
    stopped: list[int] = []
    with fds_return(either), ExitStack() as stack:
        for _ in range(20):
            end, told = os.pipe()
            pid = os.fork()
            if pid == 0:
                try:
                    connection = broker.connect(HOSTILE_UID)
                    connection.send(broker.question())
                    os.kill(os.getpid(), signal.SIGSTOP)
                    answer = broker.take_answer(connection)
                    os._exit(0 if answer is not None and answer.granted else 1)
                finally:
                    os._exit(2)
            os.close(told)
            stack.callback(os.close, end)
            os.waitpid(pid, os.WUNTRACED)
            stopped.append(pid)
        serve_honest_caller()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert broker.no_tap_is_left()


@pytest.fixture
def hostile_include(br0: str) -> Iterator[Path]:
    """An include that belongs to a hostile user, who alone may read it."""
    path = world.ACCESS_LIST.with_name("hostile.conf")
    world.write_access_list("allow br7\n", path, mode=0o600, uid=HOSTILE_UID, gid=HOSTILE_UID)
    world.write_access_list(f"allow {br0}\ninclude {path}\n")
    yield path
    path.unlink()


@contextmanager
def again_and_again(act: Callable[[], object]) -> Iterator[None]:
    """Have a process of the hostile user do something all the time, for the time of the block."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(HOSTILE_UID, HOSTILE_UID, HOSTILE_UID)
            os.setresuid(HOSTILE_UID, HOSTILE_UID, HOSTILE_UID)
            while True:
                act()
        finally:
            os._exit(1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_user_who_writes_to_their_include_all_the_time(hostile_include: Path, way: Way) -> None:
    """What they change is read anew now and then; between that, and while it is read, others are served in time."""
    waits: list[float] = []
    with way() as running, again_and_again(lambda: hostile_include.write_text("allow br7\n")):
        while running.log().count("the policy has changed: starting anew") < 4:
            started = time.monotonic()
            with broker.ask() as answer:
                assert answer.granted
            waits.append(time.monotonic() - started)
            running.latest_worker()
    assert statistics.median(waits) < PROMISED, waits


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["stream", "datagram"])
def test_a_socket_of_another_kind_cannot_connect(daemon: Broker, kind: socket.SocketKind) -> None:
    """The kernel keeps clients out that do not speak in whole datagrams over a connection."""
    with socket.socket(socket.AF_UNIX, kind) as connection, pytest.raises(OSError, match="Protocol wrong type"):
        connection.connect(str(broker.SOCKET))
    serve_honest_caller()


def test_a_log_that_nobody_reads_stops_nothing(br0: str) -> None:
    """With stderr a pipe that is full, requests are answered as before."""
    end, told = os.pipe()
    try:
        with broker.by_hand(wrapper=["bash", "-c", f'exec "$@" 2>&{told}', "bash"], pass_fds=[told]):
            os.set_blocking(told, False)
            with suppress(BlockingIOError):
                while True:
                    os.write(told, bytes(4096))
            os.set_blocking(told, True)
            serve_honest_caller()
    finally:
        os.close(end)
        os.close(told)


def test_who_takes_no_fds_keeps_nobody_waiting_for_an_answer(br0: str) -> None:
    """The kernel lets the broker have so many on their way and no more; others are told, at once, and served after."""
    limit, queues = 400, 64
    with world.rule(f"queues = {queues}"), broker.by_hand(wrapper=["prlimit", f"--nofile={limit}:{limit}"]):
        with ExitStack() as held:
            for _ in range(limit // queues + 2):
                connection = held.enter_context(broker.connect(HOSTILE_UID))
                connection.send(broker.question(queues=queues))
                connection.shutdown(socket.SHUT_WR)  # so that the broker closes its end, and what it sent stays
            with broker.connect(PLAIN_UID) as connection:
                connection.send(broker.question())
                answer = broker.take_answer(connection)
            assert answer is not None
            assert answer.reply.code is Code.INTERNAL
            assert "others do not take theirs" in answer.reply.message
        with broker.ask() as answer:
            assert answer.granted
        assert broker.no_tap_is_left()
