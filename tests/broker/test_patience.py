# SPDX-License-Identifier: GPL-2.0-or-later
"""The helper in front of a broker that is stuck: it ends within its bound, and always says why."""

import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from qbhelper import wire
from tests.support import broker, world
from tests.support.caller import PLAIN_UID, Outcome
from tests.support.crowd import Call

pytestmark = pytest.mark.needs_root

BACKLOG = 2


@contextmanager
def stuck_broker() -> Iterator[socket.socket]:
    """A socket where the broker's is, with a short backlog, and nobody who accepts."""
    broker.SOCKET.parent.mkdir(mode=0o755, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(broker.SOCKET))
        try:
            broker.SOCKET.chmod(0o666)
            listener.listen(BACKLOG)
            listener.settimeout(broker.PATIENCE)
            yield listener
        finally:
            broker.SOCKET.unlink()


def call() -> Call:
    """Start a helper."""
    return Call(broker.helper(), "br0", PLAIN_UID)


def fill(stack: ExitStack) -> None:
    """Take every place in the backlog that is left."""
    with suppress(BlockingIOError):
        while True:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            connection.setblocking(False)
            connection.connect(str(broker.SOCKET))


def await_sleep(call: Call) -> None:
    """Wait until a helper waits for something, which it does nowhere but for the broker."""
    status = Path(f"/proc/{call.pid}/status")
    while "\nState:\tS" not in status.read_text():
        select.select([call], [], [], 0.01)


def check(outcome: Outcome) -> None:
    """Insist on a refusal that has a message, which the alarm of ten seconds does not."""
    assert outcome.refused, outcome
    assert outcome.stderr.startswith("the broker is not answering"), outcome
    assert "systemctl restart qbhelper.socket" in outcome.stderr


def test_it_ends_with_a_message_wherever_the_broker_is_stuck() -> None:
    """Whether it can't connect, or only late, or is not answered: one bound for all together, and the reason."""
    with stuck_broker() as listener, ExitStack() as stack:
        not_answered = call()
        assert select.select([listener], [], [], broker.PATIENCE)[0]
        fill(stack)
        two = [call(), call()]
        assert not select.select(two, [], [], 4)[0]
        stack.enter_context(listener.accept()[0])  # makes room for one of them
        for one in (not_answered, *two):
            check(one.finish())


def test_it_ends_with_a_message_where_the_broker_always_hangs_up() -> None:
    """A broker that dies of each question is asked again within the same bound."""
    with stuck_broker() as listener:
        ended = threading.Event()
        count = 0

        def hang_up() -> None:
            nonlocal count
            while not ended.is_set():
                listener.accept()[0].close()
                count += 1

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            check(call().finish())
        finally:
            ended.set()
            broker.connect().close()
            thread.join()
        assert count > 50


def test_a_second_broker_does_not_wait_for_the_first() -> None:
    """A broker that has no place in its backlog is one that runs: the second ends at once, and leaves the socket."""
    with stuck_broker(), ExitStack() as stack:
        fill(stack)
        with pytest.raises(RuntimeError, match="another broker listens"):
            world.run(str(broker.program()))
        assert broker.SOCKET.exists()


def test_a_helper_that_is_stopped_while_it_waits_goes_on_waiting() -> None:
    """SIGSTOP and SIGCONT, as of a shell's job control, are not taken for a broker that is not there."""
    message = "what the broker says in the end"
    with stuck_broker() as listener, ExitStack() as stack:
        fill(stack)
        stopped = call()
        await_sleep(stopped)
        os.kill(stopped.pid, signal.SIGSTOP)
        os.kill(stopped.pid, signal.SIGCONT)
        for _ in range(BACKLOG + 1):
            listener.accept()[0].close()
        connection = stack.enter_context(listener.accept()[0])
        connection.send(wire.pack_reply(wire.Reply(wire.Code.INTERNAL, 0, b"", message)))
        assert stopped.finish().stderr == f"{message}\n"
