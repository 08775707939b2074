# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl tap`: TAPs that stay; whose they are, who can open and delete them, and what ends them."""

import fcntl
import json
import os
import struct
from collections.abc import Iterator

import pytest

from qbhelper.kernel.tap import IFF_NO_PI, IFF_TAP, IFF_VNET_HDR, TUNSETIFF, TUNSETOWNER
from tests.ctl.host import POLICY, ctl, write
from tests.support import broker, world

ALICE, BOB = 1000, 1001
RULES = """\
[[allow]]
bridge = "br0"
users = ["alice", "bob"]
queues = 2
max_ports = 2
persistent = true

[[allow]]
bridge = "br0"
[end]
"""


@pytest.fixture
def daemon(a_host: None) -> Iterator[broker.Broker]:
    """A broker that grants by RULES; what stays is deleted afterwards."""
    write(POLICY, RULES)
    with broker.by_hand() as running:
        yield running
        for tap in broker.taps():
            world.run("ip", "link", "delete", tap)


def create(user: str = "alice", *words: str) -> str:
    """Make a TAP that stays; its name."""
    said = ctl("tap", "create", "--bridge", "br0", *words, user=user)
    assert (said.status, said.err) == (0, "")
    return said.out.strip()


def open_by_name(name: str, uid: int) -> int:
    """Open a TAP as QEMU with ifname= does, as a user; its fd.  Raises OSError."""
    with broker.acting_as(uid):
        fd = os.open("/dev/net/tun", os.O_RDWR)
        try:
            fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        except OSError:
            os.close(fd)
            raise
    return fd


@pytest.mark.needs_root
def test_it_stays_and_its_owner_alone_can_open_it(daemon: broker.Broker) -> None:
    """On the bridge from the beginning; by its name, again and again, and nobody else."""
    name = create()
    assert name == "tap0"
    assert world.ports("br0") == {name}
    for _ in range(2):
        os.close(open_by_name(name, ALICE))
    with pytest.raises(PermissionError):
        open_by_name(name, BOB)
    assert world.ports("br0") == {name}
    assert "deleted" not in daemon.log()


@pytest.mark.needs_root
@pytest.mark.usefixtures("daemon")
def test_all_see_which_there_are() -> None:
    """As a table, and for programs."""
    assert ctl("tap", "list").out == "no persistent TAPs\n"
    create("alice")
    create("bob", "--queues", "2")
    with broker.ask(uid=BOB):
        fd = open_by_name("tap0", ALICE)
        table = ctl("tap", "list", user="ada").out.splitlines()
        [alices, bobs] = json.loads(ctl("tap", "list", "--json", user="ada").out)["taps"]
        os.close(fd)
    assert [line.split()[:5] for line in table] == [
        ["tap", "bridge", "user", "queues", "open"],
        ["tap0", "br0", "alice", "1", "yes"],
        ["tap1", "br0", "bob", "2", "no"],
    ]
    assert (alices["name"], alices["open"], alices["user"]) == ("tap0", True, {"uid": ALICE, "name": "alice"})
    assert (bobs["name"], bobs["open"], bobs["queues"]) == ("tap1", False, 2)


@pytest.mark.needs_root
@pytest.mark.usefixtures("daemon")
def test_it_is_deleted_by_its_owner_or_root() -> None:
    """Nobody else, and not while it is in use: QEMU would run in circles."""
    name, other = create(), create()
    said = ctl("tap", "delete", name, user="bob")
    assert said.status == 1
    assert "is not yours" in said.err
    fd = open_by_name(name, ALICE)
    said = ctl("tap", "delete", name, user="alice")
    assert said.status == 1
    assert said.err.startswith(f"qbhelperctl: `{name}' is in use; end the program that has it open")
    os.close(fd)
    assert world.ports("br0") == {name, other}
    assert ctl("tap", "delete", name, user="alice").status == 0
    assert ctl("tap", "delete", other).status == 0
    assert not broker.taps()
    assert ctl("tap", "delete", name, user="alice").status == 1


@pytest.mark.needs_root
@pytest.mark.usefixtures("daemon")
def test_only_what_stays_can_be_deleted_so() -> None:
    """Not the port of a running QEMU, nor an interface that is none of ours."""
    with broker.ask(uid=ALICE) as answer:
        for name in (answer.name, "br0", "nonexistent"):
            said = ctl("tap", "delete", name)
            assert (said.status, said.out) == (1, "")
            assert f"there is no persistent TAP `{name}'" in said.err
        assert world.ports("br0") == {answer.name}


@pytest.mark.needs_root
@pytest.mark.usefixtures("daemon")
def test_it_counts_for_the_quota() -> None:
    """Also when nobody has it open."""
    create()
    create()
    said = ctl("tap", "create", "--bridge", "br0", user="alice")
    assert said.status == 1
    assert "quota: you have all 2 ports" in said.err
    create("bob")


@pytest.mark.needs_root
@pytest.mark.usefixtures("daemon")
def test_who_has_no_such_rule_is_refused() -> None:
    """Ada may have ports, and none that stays."""
    said = ctl("tap", "create", "--bridge", "br0", user="ada")
    assert (said.status, said.out) == (1, "")
    assert "`persistent': /etc/qbhelper/policy.toml:8 does not allow that" in said.err
    assert broker.no_tap_is_left()


@pytest.mark.needs_root
def test_its_owner_can_not_give_it_away(daemon: broker.Broker) -> None:
    """Given to somebody else it is deleted at once, like any other port."""
    name = create()
    fd = open_by_name(name, ALICE)
    with broker.acting_as(ALICE):
        fcntl.ioctl(fd, TUNSETOWNER, BOB)
    assert broker.no_tap_is_left()
    os.close(fd)
    broker.ask("no-such-bridge").close()
    assert f"port {name} of uid {ALICE} deleted: its holder gave it away" in daemon.log()


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
def test_the_next_broker_lets_it_be() -> None:
    """It is there by right, also after a kill -9; and once it is revoked while in use, it goes when it is let go of."""
    write(POLICY, RULES)
    with broker.by_hand() as first:
        name = create()
        broker.kill(first.main.pid)
        first.kill_worker()
    broker.SOCKET.unlink(missing_ok=True)
    with broker.by_hand():
        assert world.ports("br0") == {name}
        fd = open_by_name(name, ALICE)
        assert ctl("revoke", "--user", "alice").status == 0
        assert not world.is_up(name)
        assert broker.taps() == {name}
        os.close(fd)
        assert broker.no_tap_is_left()


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["create"], "`tap create' takes --bridge and no name"),
        (["create", "tap7", "--bridge", "br0"], "`tap create' takes --bridge and no name"),
        (["delete"], "`tap delete' takes the name of a TAP"),
        (["list", "tap0"], "`tap list' lists all of them"),
        (["remove"], "invalid choice: 'remove'"),
        (["create", "--bridge", "br0", "--json"], "--json is for `tap list'"),
        (["delete", "tap0", "--json"], "--json is for `tap list'"),
        (["delete", "tap0", "--queues", "2"], "--queues is for `tap create'"),
        (["list", "--queues", "2"], "--queues is for `tap create'"),
    ],
)
@pytest.mark.usefixtures("daemon")
def test_words_that_make_no_sense(words: list[str], expected: str) -> None:
    """Exit status 2, and nothing was made."""
    said = ctl("tap", *words, user="alice")
    assert (said.status, said.out) == (2, "")
    assert expected in said.err
    assert not broker.taps()
