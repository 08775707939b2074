# SPDX-License-Identifier: GPL-2.0-or-later
"""What a broker that serves still has: CAP_NET_ADMIN and nothing else, for good."""

import os
import re
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import broker, world
from tests.support.broker import Broker

pytestmark = pytest.mark.needs_root

NET_ADMIN = 1 << 12
DAC_READ_SEARCH = 1 << 2


def test_it_is_not_root_and_has_one_capability(either: Broker) -> None:
    """Another uid than 0, no group, CAP_NET_ADMIN permitted and effective, no way to more."""
    status = broker.status_of(either.worker)
    sets = {name: int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}
    assert sets == {"CapPrm": NET_ADMIN, "CapEff": NET_ADMIN, "CapInh": 0, "CapAmb": 0}
    assert status["Uid"].split() == status["Gid"].split() == [str(broker.NOBODY)] * 4
    assert status["Groups"] == ""
    assert status["NoNewPrivs"] == "1"


def test_started_by_hand_it_has_emptied_its_bounding_set(daemon: Broker) -> None:
    """What it gave up cannot come back by executing something."""
    assert int(broker.status_of(daemon.worker)["CapBnd"], 16) == 0


def test_activated_it_is_bounded_by_its_unit(br0: str) -> None:
    """Without CAP_SETPCAP the bounding set stays that of the unit: the two that it names."""
    with broker.activated() as running:
        bounding = int(broker.status_of(running.worker)["CapBnd"], 16)
    unit = Path(__file__).parents[2].joinpath("packaging/systemd/qbhelper.service").read_text()
    assert bounding == NET_ADMIN | DAC_READ_SEARCH
    assert re.search(r"^CapabilityBoundingSet=CAP_NET_ADMIN CAP_DAC_READ_SEARCH$", unit, re.MULTILINE)


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file that only root may read."""
    path = world.WORLD / "secret"
    path.write_text("secret\n")
    path.chmod(0o600)
    yield path
    path.unlink()


def test_it_cannot_read_roots_files_any_more(way: broker.Way, br0: str, secret: Path) -> None:
    """Policy was read with CAP_DAC_READ_SEARCH; with what is left, a file of root's stays closed.

    Shown on a process of the same ids and capabilities: the broker opens nothing that it is told to.
    """
    include = world.write_access_list("deny br0\n", world.ACCESS_LIST.with_name("root.conf"), mode=0o600)
    world.write_access_list(f"allow br0\ninclude {include}\n")
    try:
        with way() as running:
            # It has read root's include: for root br0 is denied, for a plain uid that file does not exist.
            assert not broker.ask(uid=0).granted
            with broker.ask() as answer:
                assert answer.granted
            status = broker.status_of(running.worker)
            uid = status["Uid"].split()[0]
            capabilities = "-all,+net_admin"
            with pytest.raises(RuntimeError, match="Permission denied"):
                world.run(
                    *("setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--inh-caps", capabilities),
                    *("--ambient-caps", capabilities, "cat", str(secret)),
                )
            assert int(status["CapEff"], 16) & DAC_READ_SEARCH == 0
    finally:
        include.unlink()


def test_a_process_of_the_same_uid_cannot_look_into_it(either: Broker) -> None:
    """It is not dumpable: others that run as nobody can neither trace it nor read what it has open."""
    directory = f"/proc/{either.worker}"
    for path in (f"{directory}/mem", f"{directory}/environ", f"{directory}/fd"):
        assert os.stat(path).st_uid == 0
    with pytest.raises(RuntimeError, match="Permission denied"):
        world.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "ls", f"{directory}/fd/")


def test_the_worker_ends_with_its_keeper(br0: str) -> None:
    """When the process that keeps the socket is killed, no worker goes on serving without it."""
    with broker.by_hand() as running:
        handle = os.pidfd_open(running.worker)
        try:
            running.main.kill()
            running.main.wait()
            assert select.select([handle], [], [], broker.PATIENCE)[0]
        finally:
            os.close(handle)
    broker.SOCKET.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to(br0: str, number: signal.Signals) -> None:
    """A signal ends keeper and worker with status 0, and nothing is left in /run."""
    with broker.by_hand() as running:
        running.main.send_signal(number)
        assert running.main.wait(broker.PATIENCE) == 0
        assert not broker.SOCKET.exists()


def test_it_ends_when_it_is_told_to_while_it_starts(br0: str) -> None:
    """At whatever moment of its start SIGTERM comes, the broker ends, and leaves no process."""
    readiness = broker.Readiness()
    try:
        for step in range(40):
            with broker.by_hand(readiness=readiness) as running:
                # A reload starts a new worker; the signal meets it, or the keeper, at another point each time.
                world.write_access_list(f"allow br0\n# {step}\n")
                with broker.connect() as connection:
                    connection.send(broker.question())
                    for _ in range(step * 20):
                        pass
                    running.main.terminate()
                    assert running.main.wait(broker.PATIENCE) in (0, -signal.SIGTERM)
            while readiness.next_pid(0) is not None:
                pass
    finally:
        readiness.close()


def test_a_plain_uid_cannot_start_it(br0: str) -> None:
    """Without root and without systemd it says what it takes, and makes no socket."""
    with pytest.raises(RuntimeError, match="has to be started by root, or by systemd's socket unit"):
        world.run("setpriv", "--reuid", "61234", "--regid", "61234", "--clear-groups", str(broker.program()))


def test_a_second_broker_refuses_to_start(daemon: Broker) -> None:
    """Two brokers on one socket would take each other's callers; the first goes on."""
    with pytest.raises(RuntimeError, match="another broker listens"):
        world.run(str(broker.program()))
    with broker.ask() as answer:
        assert answer.granted


def test_words_are_refused(br0: str) -> None:
    """It takes no arguments: what is not understood is not passed over."""
    with pytest.raises(RuntimeError, match="it takes no arguments"):
        world.run(str(broker.program()), "--debug")


def test_started_from_the_tree_it_says_that_it_serves_as_nobody(daemon: Broker) -> None:
    """Where the account was not made, the log tells as whom it serves."""
    assert "there is no account `qbhelper': serving as nobody" in daemon.log()
