# SPDX-License-Identifier: GPL-2.0-or-later
"""Who a caller is: what the kernel of this host says, whatever namespaces they sit in."""

import ctypes
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import broker, caller, rootless, world
from tests.support.broker import Broker, Way
from tests.support.caller import PLAIN_UID, Outcome

pytestmark = pytest.mark.needs_root

CLONE_NEWNET = 0x40000000
OTHER_UID = PLAIN_UID + 7
NO_PRIVILEGE = (*rootless.NO_CAPABILITIES, "--no-new-privs")


def in_container(*options: str, wrapper: Sequence[str] = (), uid: int = PLAIN_UID) -> Outcome:
    """Call the helper from namespaces of its own that a plain uid has made, as rootless containers do."""
    helper = broker.helper()
    program, *start = rootless.words(helper.parent, options=options)

    def words(fd: int) -> list[str]:
        return [*start, *wrapper, str(helper), "--br=br0", f"--fd={fd}"]

    return caller.call(Path(program), argv=words, uid=uid)


@pytest.fixture
def rules_for_one(br0: str) -> Iterator[None]:
    """An access list that allows br0 to PLAIN_UID alone, by the mode of an include."""
    include = world.write_access_list(
        "allow br0\n", world.ACCESS_LIST.with_name("plain.conf"), mode=0o400, uid=PLAIN_UID
    )
    world.write_access_list(f"include {include}\n")
    yield
    include.unlink()


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("wrapper", [NO_PRIVILEGE, ()], ids=["without capabilities", "with those of its namespace"])
def test_a_container_without_the_tun_device_is_granted_a_port(br0: str, wrapper: Sequence[str]) -> None:
    """Own mount, pid and user namespace, no TUN device: the socket in the container is all that it takes."""
    with in_container(wrapper=wrapper) as outcome:
        assert outcome.granted, outcome
        assert world.ports(br0) == {outcome.tap().name}


@pytest.mark.usefixtures("rules_for_one")
def test_root_of_a_user_namespace_is_the_uid_that_the_host_sees(way: Way) -> None:
    """Being root in a container opens no rule of real root's, and closes none of the user's own."""
    with way():
        with in_container() as outcome:
            assert outcome.granted, outcome
        stranger = in_container(uid=OTHER_UID)
        assert stranger.refused
        assert f"your uid is {OTHER_UID}" in stranger.stderr


def test_a_rule_of_roots_is_not_for_root_of_a_user_namespace(br0: str) -> None:
    """An include that only real root may read says nothing to uid 0 of a container."""
    include = world.write_access_list("allow br0\n", world.ACCESS_LIST.with_name("root.conf"), mode=0o400)
    world.write_access_list(f"include {include}\n")
    try:
        with broker.by_hand():
            assert in_container().refused
            with broker.ask(uid=0) as answer:
                assert answer.granted
    finally:
        include.unlink()


@pytest.mark.usefixtures("either")
def test_a_caller_from_another_network_is_refused_and_told_so(br0: str) -> None:
    """A TAP of this network is of no use in another one; the message says that this is why."""
    outcome = in_container("--net", wrapper=NO_PRIVILEGE)
    assert outcome.refused
    assert "another network namespace" in outcome.stderr
    assert world.ports(br0) == frozenset()


@pytest.mark.usefixtures("daemon")
def test_a_socket_made_elsewhere_does_not_smuggle_its_network_in(br0: str) -> None:
    """The network is that of the socket that connected, so a process that moves gains nothing."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    assert libc.unshare(CLONE_NEWNET) == 0
    try:
        elsewhere = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)
    with elsewhere:
        elsewhere.connect(str(broker.SOCKET))
        elsewhere.send(broker.question())
        answer = broker.take_answer(elsewhere)
    assert answer is not None
    assert not answer.granted
    assert "another network namespace" in answer.reply.message


@pytest.mark.parametrize("count", [1, 64, 65, 255, 256])
def test_every_supplementary_group_counts(br0: str, count: int) -> None:
    """An include for a group is read for its members, however many other groups they are in."""
    group = 70000
    include = world.write_access_list("allow br0\n", world.ACCESS_LIST.with_name("group.conf"), mode=0o640, gid=group)
    world.write_access_list(f"include {include}\n")
    groups = [*range(80000, 80000 + count - 1), group]
    try:
        with broker.by_hand():
            with broker.ask(groups=groups) as answer:
                assert answer.granted, answer
            assert not broker.ask(groups=groups[:-1]).granted
    finally:
        include.unlink()


@pytest.mark.parametrize("count", [257, 5000, 65536])
def test_who_is_in_more_groups_than_can_be_asked_for_is_refused_and_told_so(daemon: Broker, count: int) -> None:
    """Judging by some of the groups could pass over a file that a group may not read: so not at all."""
    answer = broker.ask(groups=range(80000, 80000 + count))
    assert not answer.granted
    assert "groups" in answer.reply.message


def test_the_ids_are_those_of_the_moment_of_connecting(br0: str) -> None:
    """Who connects and then becomes somebody else is still judged as who connected."""
    include = world.write_access_list("allow br0\n", world.ACCESS_LIST.with_name("o.conf"), mode=0o400, uid=OTHER_UID)
    world.write_access_list(f"include {include}\n")
    try:
        with broker.by_hand(), broker.connect(PLAIN_UID) as connection:
            with broker.acting_as(OTHER_UID):
                connection.send(broker.question())
            answer = broker.take_answer(connection)
            assert answer is not None
            assert not answer.granted
    finally:
        include.unlink()
