# SPDX-License-Identifier: GPL-2.0-or-later
"""On what terms a rule of the policy gives a port: who, how many queues, by which name, from where."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qbhelper.policy.settings import QUEUES_MAX
from tests.support import broker, caller, world
from tests.support.broker import Broker
from tests.support.caller import PLAIN_UID

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip]

IFF_MULTI_QUEUE = 0x0100
UID_WITH_TEN_DIGITS = 4_000_000_000


@contextmanager
def served(*lines: str) -> Iterator[Broker]:
    """A broker with one rule for br0."""
    with world.rule(*lines), world.bridge("br0"), broker.by_hand() as daemon:
        yield daemon


def test_a_rule_is_for_the_users_that_it_names() -> None:
    """An uid in its range is served, the one beside it is told that no line allows it."""
    with served(f'users = ["{PLAIN_UID}-{PLAIN_UID + 9}"]'):
        with broker.ask(uid=PLAIN_UID) as answer:
            assert answer.granted, answer
        with broker.ask(uid=PLAIN_UID - 1) as answer:
            assert not answer.granted
            assert "no line of /etc/qbhelper/policy.toml allows `br0'" in answer.reply.message


def test_a_rule_is_for_members_of_its_groups() -> None:
    """A supplementary group counts, as it was when the caller connected."""
    with served('groups = ["4242"]'):
        with broker.ask(groups=[4242]) as answer:
            assert answer.granted, answer
        with broker.ask(groups=[4243]) as answer:
            assert not answer.granted


@pytest.mark.parametrize("queues", [2, 16, QUEUES_MAX])
def test_queues_are_given_as_the_rule_has_them(queues: int) -> None:
    """So many fds come in one reply, each a queue of the one TAP; what goes in at one is counted on it."""
    with served(f"queues = {QUEUES_MAX}"), broker.ask(queues=queues) as answer:
        assert (answer.reply.code.name, answer.reply.fds, len(answer.fds)) == ("GRANTED", queues, queues)
        taps = [caller.describe(fd) for fd in answer.fds]
        assert {tap.name for tap in taps} == {answer.name}
        assert all(tap.flags & IFF_MULTI_QUEUE for tap in taps)
        directory = Path("/sys/class/net", answer.name)
        assert len(os.listdir(directory / "queues")) == 2 * queues
        before = int((directory / "statistics/rx_packets").read_text())
        for fd in answer.fds:
            os.write(fd, bytes(10) + b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(46))
        assert int((directory / "statistics/rx_packets").read_text()) == before + queues
        for fd in answer.fds[1:]:
            os.close(fd)
        del answer.fds[1:]
        assert broker.taps() == {answer.name}


def test_more_queues_than_the_rule_has_are_refused() -> None:
    """One more than allowed is unsupported, and nothing is left; never silently fewer."""
    with served("queues = 2"):
        with broker.ask(queues=3) as answer:
            assert (answer.reply.code.name, answer.fds) == ("UNSUPPORTED", [])
            assert answer.reply.message == (
                "failed to make 3 queues: /etc/qbhelper/policy.toml:1 allows 2; "
                "ask for fewer, or ask the administrator of this host"
            )
        assert broker.no_tap_is_left()


@pytest.mark.parametrize(("name", "expected"), [("vm%d", "vm"), ("u{uid}-%d", f"u{PLAIN_UID}-")])
@pytest.mark.parametrize("counted", [False, True])
def test_a_port_is_named_as_the_rule_says(name: str, expected: str, counted: bool) -> None:
    """A free number is put in, also where ports are counted; the reply has the name."""
    limit = ["max_ports = 2"] if counted else []
    with served(f'name = "{name}"', *limit), broker.ask() as first, broker.ask() as second:
        assert (first.name, second.name) == (f"{expected}0", f"{expected}1")
        assert broker.taps() == {first.name, second.name}
        assert caller.describe(first.fds[0]).name == first.name


def test_a_name_that_is_taken_is_a_refusal() -> None:
    """A fixed name can be given once; the interface that has it, whosever it is, is not touched."""
    world.run("ip", "tuntap", "add", "vm7", "mode", "tap")
    try:
        with served('name = "vm7"', "max_ports_total = 1"), broker.ask() as answer:
            assert (answer.reply.code.name, answer.fds) == ("QUOTA", [])
            assert answer.reply.message.startswith("failed to rename interface")
            assert answer.reply.message.endswith("`vm7': File exists; `ip link show vm7' tells what has that name")
        assert broker.taps() == {"vm7"}
    finally:
        world.run("ip", "link", "del", "vm7")


WANTING = {
    "a name that has no room": ('name = "port{uid}-%d"', "failed to name a port: ", UID_WITH_TEN_DIGITS),
    "an mtu above the bridge's": ("mtu = 1600", "`mtu' 1600 is above that of bridge `br0', which is 1500; ", PLAIN_UID),
    "an mtu that the bridge would follow": ("mtu = 1400", "`mtu' 1400 would become that of bridge `br0' ", PLAIN_UID),
}


@pytest.mark.parametrize(("line", "words", "uid"), WANTING.values(), ids=WANTING)
def test_what_the_administrator_has_to_change_is_unsupported(line: str, words: str, uid: int) -> None:
    """Rule and bridge do not go together: programs learn that asking again is of no use, and that nothing is broken."""
    with served(line):
        with broker.ask(uid=uid) as answer:
            assert (answer.reply.code.name, answer.fds) == ("UNSUPPORTED", [])
            assert answer.reply.message.startswith(words)
        assert broker.no_tap_is_left()


def test_a_mac_that_another_has_is_no_fault_of_the_brokers() -> None:
    """Programs learn that it is taken, people by whom; it can be had when that one has ended."""
    with served('macs = ["52:54:00:12:34:50"]'):
        world.run("ip", "link", "add", "holder", "type", "veth")
        try:
            world.run("ip", "link", "set", "holder", "master", "br0")
            world.run("bridge", "fdb", "add", "52:54:00:12:34:50", "dev", "holder", "master", "static")
            with broker.ask() as answer:
                assert (answer.reply.code.name, answer.fds) == ("QUOTA", [])
                assert "MAC address 52:54:00:12:34:50 of `macs' is taken by `holder'; " in answer.reply.message
        finally:
            world.run("ip", "link", "del", "holder")
        with broker.ask() as answer:
            assert "is taken" not in answer.reply.message


def test_a_bridge_that_is_full_is_no_fault_of_the_brokers() -> None:
    """Programs learn that there is no room; when a port has ended, there is."""
    ports = "".join(
        f"tuntap add port{number} mode tap\nlink set port{number} group 42 master br0\n" for number in range(1023)
    )
    with served():
        try:
            subprocess.run(["ip", "-batch", "-"], input=ports.encode(), check=True)
            with broker.ask() as answer:
                assert (answer.reply.code.name, answer.fds) == ("QUOTA", [])
                assert answer.reply.message.endswith("; all 1023 ports of the bridge are taken")
            world.run("ip", "link", "del", "port7")
            with broker.ask() as answer:
                assert answer.granted, answer
        finally:
            world.run("ip", "link", "del", "group", "42")


def test_a_rule_can_let_in_another_network_namespace() -> None:
    """A container with a network of its own gets a port on the host's bridge, if and only if the rule says so."""
    words = ["--user", "--net", str(broker.helper()), "--br=br0"]
    for rule, granted in ((["other_network_namespaces = true"], True), ([], False)):
        with served(*rule):
            with caller.call(Path("/usr/bin/unshare"), argv=lambda fd: [*words, f"--fd={fd}"]) as outcome:
                assert outcome.granted is granted, outcome
                assert granted or "another network namespace" in outcome.stderr
            assert broker.no_tap_is_left()


def test_a_rule_that_has_expired_gives_nothing() -> None:
    """The day after is too late, and the message says so."""
    with served("expires = 2001-01-31"), broker.ask() as answer:
        assert not answer.granted
        assert "allowed it until 2001-01-31" in answer.reply.message


def test_the_log_names_the_rule() -> None:
    """Whoever reads the broker's log sees which line gave the port."""
    with served() as daemon:
        for _ in range(2):  # the second one is answered when the first one has been logged
            with broker.ask() as answer:
                assert answer.granted
        assert f"uid {PLAIN_UID} has port tap0 on br0 by {world.POLICY}:1" in daemon.log()


def test_the_log_has_all_that_is_wrong_with_a_policy() -> None:
    """Callers are told where the first error is; whoever reads the broker's log, what each of them is."""
    with served("secret = 1", "mtu = 1") as daemon:
        with broker.ask() as answer:
            assert not answer.granted
            assert f"the policy has an error: {world.POLICY}:3 (and 1 more)" in answer.reply.message
            assert "secret" not in answer.reply.message
        assert f"{world.POLICY}:3: `secret' is not known" in daemon.log()
        assert f"{world.POLICY}:4: mtu: 1 is out of range" in daemon.log()
