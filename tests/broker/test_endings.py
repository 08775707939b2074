# SPDX-License-Identifier: GPL-2.0-or-later
"""A lease is ended by root or by whose it is, by nobody else; what is left of its port is of no use to anybody."""

import errno
import fcntl
import os
import select
from contextlib import ExitStack
from pathlib import Path

import pytest

from qbhelper import wire
from qbhelper.lease import Lease, parse_alias
from qbhelper.wire import Code, Ending
from tests.support import broker, world
from tests.support.broker import Answer, Broker
from tests.support.caller import PLAIN_UID

pytestmark = pytest.mark.needs_root

TUNSETPERSIST = 0x400454CB
OTHER_UID = PLAIN_UID + 1
ROOT = 0


def lease_of(name: str) -> Lease:
    """What the interface of this name says of itself."""
    lease = parse_alias(Path("/sys/class/net", name, "ifalias").read_bytes().rstrip(b"\n"))
    assert lease is not None
    return lease


def end(identity: str, uid: int, *, detach: bool = False) -> Answer:
    """Ask for the end of a lease."""
    for _ in range(200):
        with broker.connect(uid) as connection:
            connection.send(wire.pack_question(Ending(identity, detach)))
            answer = broker.take_answer(connection)
        assert answer is not None
        if answer.reply.code is not Code.BUSY:
            return answer
        select.select([], [], [], 0.02)
    raise AssertionError("the broker has no time")


@pytest.mark.parametrize("uid", [ROOT, PLAIN_UID])
def test_a_revoked_port_is_dead_and_stays_until_its_holder_lets_go(either: Broker, br0: str, uid: int) -> None:
    """Down, which its bridge passes nothing to, and marked as revoked, while the fd is open; the log says by whom."""
    with broker.ask() as other, broker.ask() as answer:
        lease = lease_of(answer.name)
        reply = end(lease.identity, uid).reply
        assert (reply.code, reply.interface.decode(), reply.fds) == (Code.GRANTED, answer.name, 0)
        assert world.ports(br0) == {other.name, answer.name}
        assert Path("/sys/class/net", answer.name, "brport/state").read_text() == "0\n"  # BR_STATE_DISABLED
        assert world.is_up(other.name)
        assert not world.is_up(answer.name)
        assert lease_of(answer.name).alias() == lease.ended().alias()
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):  # as a TAP that is down answers
            os.write(answer.fds[0], bytes(100))
        answer.close()
        assert broker.await_links(lambda: broker.taps() == {other.name})
    assert f"of uid {PLAIN_UID} revoked by uid {uid}" in either.log()
    assert lease.identity in either.log()


def test_a_detached_port_can_be_put_back_by_root(daemon: Broker, br0: str) -> None:
    """It is down and on no bridge, and its lease goes on: after `ip link set` it is a port as before."""
    with broker.ask() as answer:
        lease = lease_of(answer.name)
        assert end(lease.identity, ROOT, detach=True).reply.code is Code.GRANTED
        assert not world.ports(br0)
        assert not world.is_up(answer.name)
        assert lease_of(answer.name).alias() == lease.alias()
        assert end(lease.identity, ROOT, detach=True).reply.code is Code.GRANTED, "once more changes nothing"
        world.run("ip", "link", "set", answer.name, "master", br0, "up")
        assert world.ports(br0) == {answer.name}
    assert broker.no_tap_is_left()
    assert f"detached by uid {ROOT}" in daemon.log()


@pytest.mark.parametrize("detach", [False, True])
def test_nobody_ends_the_lease_of_another(daemon: Broker, br0: str, detach: bool) -> None:
    """Not even one who knows the lease, which everybody can read; and nothing has changed then."""
    with broker.ask() as answer:
        lease = lease_of(answer.name)
        reply = end(lease.identity, OTHER_UID, detach=detach).reply
        assert reply.code is Code.NOT_ALLOWED
        assert "is not yours" in reply.message
        assert world.ports(br0) == {answer.name}
        assert world.is_up(answer.name)
        assert lease_of(answer.name).alias() == lease.alias()
    assert broker.no_tap_is_left()


def test_a_lease_that_is_not_there_is_said_to_be_so(daemon: Broker, br0: str) -> None:
    """Never was, or has ended; an interface of another kind with an alias of ours is no lease either."""
    assert end("0123456789abcdef", ROOT).reply.code is Code.NO_SUCH_LEASE
    with broker.ask() as answer:
        lease = lease_of(answer.name)
    assert broker.no_tap_is_left()
    assert end(lease.identity, PLAIN_UID).reply.code is Code.NO_SUCH_LEASE
    with world.bridge("copy"):
        world.run("ip", "link", "set", "copy", "alias", lease.alias().decode())
        assert end(lease.identity, PLAIN_UID).reply.code is Code.NO_SUCH_LEASE
        assert "copy" in world.interfaces()


def test_a_revoked_port_can_not_be_kept(daemon: Broker, br0: str) -> None:
    """Its holder who sets it persistent loses what is left of it at once: it would be there for ever."""
    with broker.ask() as answer:
        end(lease_of(answer.name).identity, PLAIN_UID)
        with broker.acting_as(PLAIN_UID):
            fcntl.ioctl(answer.fds[0], TUNSETPERSIST, 1)
        assert broker.no_tap_is_left()


def test_what_is_revoked_counts_until_it_is_gone(br0: str) -> None:
    """One who may have one port has one, dead or alive: else they could have any number of dead ones."""
    with world.rule("max_ports = 1"), broker.by_hand():
        with broker.ask() as answer:
            assert answer.granted
            assert end(lease_of(answer.name).identity, PLAIN_UID).reply.code is Code.GRANTED
            assert broker.ask().reply.code is Code.QUOTA
        assert broker.no_tap_is_left()
        with broker.ask() as answer:
            assert answer.granted


def test_a_broker_that_starts_takes_over_what_was_revoked(br0: str) -> None:
    """The kernel is the database: the next broker knows it as revoked, and leaves it to its holder."""
    with broker.by_hand(), broker.ask() as answer:
        end(lease_of(answer.name).identity, ROOT)
        kept, fds = lease_of(answer.name), [os.dup(fd) for fd in answer.fds]
        name = answer.name
    with broker.by_hand():
        assert lease_of(name).alias() == kept.alias()
        assert kept.revoked
        for fd in fds:
            os.close(fd)
        assert broker.no_tap_is_left()


def test_only_root_detaches(daemon: Broker, br0: str) -> None:
    """Who does not reach the host by the bridge would, through vhost-net, by a port that is on none."""
    with broker.ask() as answer:
        reply = end(lease_of(answer.name).identity, PLAIN_UID, detach=True).reply
        assert reply.code is Code.NOT_ALLOWED
        assert "only root can detach a port" in reply.message
        assert world.ports(br0) == {answer.name}
        assert world.is_up(answer.name)
    assert broker.no_tap_is_left()


def test_root_ends_leases_however_many_others_ask_to(daemon: Broker, br0: str) -> None:
    """Each search looks at all TAPs: those of others come no faster than the broker has time for, root's at once."""
    with ExitStack() as held, broker.ask() as answer:
        question = wire.pack_question(Ending("0123456789abcdef", detach=False))
        asking = [held.enter_context(broker.connect(OTHER_UID)) for _ in range(200)]
        for connection in asking:
            connection.send(question)
        with broker.connect(ROOT) as connection:
            connection.send(wire.pack_question(Ending(lease_of(answer.name).identity, detach=False)))
            roots = broker.take_answer(connection)
        assert roots is not None
        assert roots.reply.code is Code.GRANTED
        codes = {taken.reply.code for connection in asking if (taken := broker.take_answer(connection)) is not None}
    assert codes == {Code.BUSY, Code.NO_SUCH_LEASE}
    assert broker.no_tap_is_left()
