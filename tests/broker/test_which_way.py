# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the two ways to privilege the helper takes: its own if its file has one, else the broker, else root's."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from qbhelper.lease import parse_alias
from tests.support import broker, caller, install, world
from tests.support.broker import Broker
from tests.support.caller import PLAIN_UID, Outcome

pytestmark = pytest.mark.needs_root


def _was_alone(outcome: Outcome) -> bool:
    """Whether the helper made the port itself: then the pid of the lease is its parent's, else its own."""
    alias = Path("/sys/class/net", outcome.tap().name, "ifalias").read_bytes().rstrip(b"\n")
    lease = parse_alias(alias)
    assert lease is not None, alias
    return lease.pid == os.getpid()


def test_with_the_keeper_dead_root_goes_on_alone_and_others_are_told(br0: str) -> None:
    """A socket that nobody listens on any more is no reason to fail for root, and no riddle for the others."""
    with broker.by_hand() as running:
        running.main.kill()
        running.main.wait()
        assert broker.SOCKET.exists()
        with broker.call(uid=None) as outcome:
            assert outcome.granted, outcome
            assert _was_alone(outcome)
        refused = broker.call()
        assert refused.refused
        assert "systemctl start qbhelper.socket" in refused.stderr
        assert "setcap cap_net_admin=ep" in refused.stderr
    broker.SOCKET.unlink()


def test_the_next_broker_takes_the_place_of_a_dead_keepers_socket(br0: str) -> None:
    """A socket that was left behind does not keep a new broker from starting."""
    with broker.by_hand() as running:
        running.main.kill()
        running.main.wait()
        with broker.by_hand(readiness=running.readiness), broker.ask() as answer:
            assert answer.granted


def test_a_copy_with_privilege_of_its_own_does_not_ask(daemon: Broker, br0: str) -> None:
    """The setuid copy and the one with a file capability use what their file gives, though a broker runs."""
    for privilege in (install.Privilege.SETUID, install.Privilege.FILE_CAPABILITY):
        with caller.call(install.ours(privilege)) as outcome:
            assert outcome.granted, outcome
            assert _was_alone(outcome)


def test_root_asks_a_broker_that_runs_and_does_without_where_none_does(br0: str) -> None:
    """Real root gets a port from the broker while one serves, and without it before and after that."""
    alone = []
    for way in (None, broker.by_hand, broker.activated, None):
        with ExitStack() as stack:
            if way is not None:
                stack.enter_context(way())
            outcome = stack.enter_context(broker.call(uid=None))
            assert outcome.granted, outcome
            alone.append(_was_alone(outcome))
    assert alone == [True, False, False, True]


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("options", [["--net"], ["--user", "--map-root-user", "--net"]], ids=["real", "of a container"])
def test_root_of_another_network_does_without_a_broker_that_is_not_for_it(br0: str, options: list[str]) -> None:
    """In `ip netns exec`, or in a container that has its own network, root gets a port there as if no broker ran."""

    def words(fd: int) -> list[str]:
        inside = 'ip link add br0 type bridge && "$@" && ls /sys/class/net/br0/brif >&2'
        command = ["sh", "-c", f"mount -t sysfs sysfs /sys && {inside}", "sh", str(broker.helper()), "--br=br0"]
        return [*options, "--mount", *command, f"--fd={fd}"]

    with caller.call(Path("/usr/bin/unshare"), argv=words, uid=PLAIN_UID if "--user" in options else None) as outcome:
        assert outcome.granted, outcome
        assert outcome.stderr == f"{outcome.tap().name}\n"
        assert world.ports(br0) == frozenset()


def test_without_a_broker_a_plain_uid_is_told_both_remedies(br0: str) -> None:
    """Neither way is open: the message names the socket unit and the file capability."""
    outcome = broker.call()
    assert outcome.refused
    assert "no broker answers" in outcome.stderr
    assert "systemctl start qbhelper.socket" in outcome.stderr
    assert "setcap cap_net_admin=ep" in outcome.stderr
