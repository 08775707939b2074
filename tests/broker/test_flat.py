# SPDX-License-Identifier: GPL-2.0-or-later
"""Ten thousand grants and releases leave the broker as it was."""

import os
import select
import time

import pytest

from tests.support import broker, world
from tests.support.broker import Broker
from tests.support.caller import PLAIN_UID

pytestmark = pytest.mark.needs_root

GRANTS = 10000
CLIENTS = 4
"""A release takes the kernel some 20 ms; several at once share them."""
REFUSALS = 5000
RSS_MAX = 40 << 20
GROWTH_MAX = 2 << 20


def ask_many_times(count: int) -> None:
    """Get and release so many ports, by several processes."""
    children = []
    for number in range(CLIENTS):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(count // CLIENTS):
                    with broker.ask(uid=PLAIN_UID + number) as answer:
                        assert answer.granted
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * CLIENTS


def test_ten_thousand_grants_leave_nothing(daemon: Broker, br0: str) -> None:
    """Memory, open files and interfaces are what they were after the first hundred."""
    before = world.interfaces()
    ask_many_times(200)
    assert broker.no_tap_is_left()
    memory, fds = daemon.memory(), daemon.fds()
    ask_many_times(GRANTS - 200)
    assert broker.no_tap_is_left()
    deadline = time.monotonic() + broker.PATIENCE
    while daemon.fds() > fds and time.monotonic() < deadline:
        select.select([], [], [], 0.01)  # it closes what has hung up when it comes to it
    assert daemon.fds() <= fds
    assert daemon.memory() <= min(memory + GROWTH_MAX, RSS_MAX)
    assert world.interfaces() == before


@pytest.mark.parametrize("text", ["allow br0\nnonsense\n", "deny br0\n", "allow br7\nallow br0\n"])
def test_refusals_leave_nothing(daemon: Broker, text: str) -> None:
    """Nor is anything kept of callers who are refused, whatever for."""
    world.write_access_list(text)
    for _ in range(1000):
        broker.ask("br7")
    daemon.latest_worker()
    before = daemon.memory()
    for _ in range(REFUSALS):
        assert not broker.ask("br7").granted
    assert daemon.memory() <= before + GROWTH_MAX
