# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 of the broker at any moment: nobody is deceived, nobody hangs, nothing is left, live ports stay."""

import os
import signal
from random import Random

import pytest

from tests.support import broker, world
from tests.support.broker import Broker
from tests.support.caller import PLAIN_UID
from tests.support.crowd import crowd

pytestmark = pytest.mark.needs_root

KILLS = 60


def test_killed_again_and_again_under_load(either: Broker, br0: str) -> None:
    """Callers who are in the middle of it get a port from the next worker, or a reason; the live ports live on."""
    random = Random(1)
    wait = kills = 0

    def kill_now_and_then() -> None:
        nonlocal kills, wait
        wait -= 1
        if wait > 0:
            return
        wait = random.randint(1, 4)
        # Somewhere in the middle of whatever it does for those who are calling.
        for _ in range(random.randint(0, 20000)):
            pass
        either.kill_worker()
        kills += 1

    with broker.ask() as one, broker.ask(uid=PLAIN_UID + 1) as other, crowd(broker.helper(), 8) as callers:
        live = {one.name, other.name}
        callers.go_on(until=lambda: kills >= KILLS, also=kill_now_and_then)
        callers.finish()
        assert broker.await_links(lambda: world.ports(br0) == live)
        for answer in (one, other):
            # The TAP is the one that was granted, and it still carries frames.
            assert os.write(answer.fds[0], bytes(12 + 60)) == 72
    assert broker.no_tap_is_left()
    assert callers.seen["granted"] > KILLS, callers.seen
    with broker.ask() as answer:
        assert answer.granted


def test_a_question_in_its_backlog_is_answered_by_the_next(either: Broker, br0: str) -> None:
    """Who connected and asked, and was not accepted yet, gets a port from the next worker without asking again."""
    os.kill(either.latest_worker(), signal.SIGSTOP)
    with broker.connect(PLAIN_UID) as connection:
        connection.send(broker.question())
        either.kill_worker()
        answer = broker.take_answer(connection)
    assert answer is not None
    with answer:
        assert answer.granted


def test_a_question_in_its_hand_ends_with_the_connection(either: Broker, br0: str) -> None:
    """Who was accepted sees the connection end without an answer, which means: ask again."""
    with broker.connect(PLAIN_UID) as connection:
        with broker.ask() as later:
            assert later.granted  # so the one before was accepted
        assert broker.no_tap_is_left()
        os.kill(either.latest_worker(), signal.SIGSTOP)
        connection.send(broker.question())
        either.kill_worker()
        assert broker.take_answer(connection) is None
    assert world.ports(br0) == frozenset()


def test_a_reply_that_was_sent_outlives_the_broker(either: Broker, br0: str) -> None:
    """A port that is on its way to the caller when the broker dies arrives, and is theirs."""
    with broker.connect(PLAIN_UID) as connection:
        connection.send(broker.question())
        assert broker.await_links(lambda: bool(world.ports(br0)))
        with broker.ask() as later:
            assert later.granted  # so the one before was answered
        either.kill_worker()
        answer = broker.take_answer(connection)
    assert answer is not None
    with answer:
        assert answer.granted


def test_a_helper_that_is_killed_leaves_nothing(either: Broker, br0: str) -> None:
    """A caller who dies with the port on its way to them gives it back."""
    for _ in range(30):
        connection = broker.connect(PLAIN_UID)
        connection.send(broker.question())
        connection.close()
    with broker.ask() as answer:
        assert answer.granted
        assert broker.await_links(lambda: world.ports(br0) == {answer.name})
