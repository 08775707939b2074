# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller without any privilege gets through the broker: what the standalone way gives, and a lease."""

import fcntl
import os
import shutil
import struct
import time
from contextlib import closing
from pathlib import Path

import pytest

from qbhelper import sources
from qbhelper.errors import KernelError
from qbhelper.grant import grant
from qbhelper.kernel import tap
from qbhelper.kernel.link import Network
from qbhelper.kernel.message import Link
from qbhelper.lease import parse_alias
from qbhelper.request import Caller, Request
from tests.support import broker, caller, install, world
from tests.support.broker import Broker
from tests.support.caller import PLAIN_UID, Outcome
from tests.support.install import Privilege

pytestmark = pytest.mark.needs_root

OF_ONE_PORT = {"ifindex", "ifname", "address", "ifalias", "id", "no", "designated_port"}
"""What two ports never have in common."""


def granted(outcome: Outcome) -> str:
    """Insist on a complete hand-over, and return the name of the TAP."""
    assert outcome.granted, outcome
    assert outcome.stderr == ""
    return outcome.tap().name


def shape_of(name: str) -> object:
    """All that `ip` can tell of an interface, but for what differs from port to port, and timers."""

    def common(thing: object) -> object:
        if isinstance(thing, dict):
            return {key: common(value) for key, value in thing.items() if key not in OF_ONE_PORT and "timer" not in key}
        return thing

    return common(world.links()[name])


def test_a_caller_without_privilege_is_granted_a_port(either: Broker, br0: str) -> None:
    """The helper has no mode bit and its caller no capability, and QEMU still gets its one byte and one fd."""
    with broker.call() as outcome:
        assert world.ports(br0) == {granted(outcome)}
    assert broker.no_tap_is_left()


@pytest.mark.parametrize("vnet", [True, False], ids=["with vnet header", "without"])
def test_the_port_is_that_of_the_standalone_way(daemon: Broker, br0: str, vnet: bool) -> None:
    """Nothing but the alias tells a brokered port from one that the setuid copy made."""
    with (
        broker.call(vnet=vnet) as brokered,
        caller.call(install.ours(Privilege.SETUID), vnet=vnet) as standalone,
    ):
        assert shape_of(granted(brokered)) == shape_of(granted(standalone))
        assert brokered.tap().flags == standalone.tap().flags


@pytest.mark.parametrize("mtu", [576, 1400, 9000, 65521])
def test_the_port_is_up_with_the_mtu_of_the_bridge_and_a_high_address(mtu: int) -> None:
    """MTU copied, first byte of the MAC fe, up, enslaved, owned by uid 0: the checklist of the original's port."""
    world.write_access_list("allow br0\n")
    with world.bridge("br0", mtu=mtu), broker.by_hand(), broker.call() as outcome:
        link = world.links()[granted(outcome)]
        assert (link["mtu"], link["master"], str(link["address"])[:3]) == (mtu, "br0", "fe:")
        assert "UP" in str(link["flags"])
        assert Path("/sys/class/net", str(link["ifname"]), "owner").read_text() == "0\n"


def test_the_alias_is_the_lease(daemon: Broker, br0: str) -> None:
    """The interface itself says who holds it: an id that is never used twice, uid, pid and time."""
    identities = set()
    for uid in (PLAIN_UID, PLAIN_UID + 1, PLAIN_UID):
        with broker.ask(uid=uid) as answer:
            lease = parse_alias(Path("/sys/class/net", answer.name, "ifalias").read_bytes().rstrip(b"\n"))
            assert lease is not None
            assert (lease.uid, lease.pid) == (uid, os.getpid())
            assert abs(time.time() - lease.since) < 60
            identities.add(lease.identity)
    assert len(identities) == 3


def test_the_longest_name_of_a_bridge_is_granted() -> None:
    """A name of 15 bytes, that fills the field of the protocol, is one like any other."""
    name = "br-4567890abcde"
    world.write_access_list(f"allow {name}\n")
    with world.bridge(name), broker.by_hand(), broker.call(name) as outcome:
        assert world.ports(name) == {granted(outcome)}


REFUSALS = [
    pytest.param("allow br0\n", "br1", id="no rule"),
    pytest.param("allow all\ndeny br0\n", "br0", id="denied by a line"),
    pytest.param("allow br0\n", "br0:1", id="a label"),
    pytest.param("allow br0\n", "", id="no name"),
    pytest.param("allow br0\n", "br\n0", id="a line feed"),
    pytest.param("allow br0\n", "sixteen-bytes-16", id="too long"),
    pytest.param("allow br0\n", b"\xff\xfe", id="no text"),
    pytest.param("allow all\n", "br9", id="no such bridge"),
    pytest.param("allow all\n", "lo", id="not a bridge"),
    pytest.param("allow br0\nallou br0\n", "br0", id="bad line"),
    pytest.param("allow br0\ninclude /usr\n", "br0", id="include of a directory"),
    pytest.param("x" * 5000, "br0", id="long line"),
    pytest.param(None, "br0", id="no list"),
]


@pytest.mark.parametrize(("access_list", "bridge"), REFUSALS)
def test_a_refusal_has_the_words_of_the_standalone_way(access_list: str | None, bridge: str | bytes) -> None:
    """Whoever is refused by the broker reads what they would have read from the setuid copy, to the letter."""
    if access_list is not None:
        world.write_access_list(access_list)
    try:
        with world.bridge("br0"), broker.by_hand():
            brokered = broker.call(bridge)
            standalone = caller.call(install.ours(Privilege.SETUID), bridge=bridge)
            assert brokered.refused
            assert brokered.stderr == standalone.stderr
    finally:
        world.ACCESS_LIST.unlink(missing_ok=True)


def test_an_unreadable_list_is_refused_in_the_same_words(br0: str) -> None:
    """A list that the caller may not read refuses them as on the standalone way, though the broker has read it."""
    world.write_access_list("allow br0\n", mode=0o600)
    with broker.by_hand():
        brokered = broker.call()
        assert brokered.refused
        assert brokered.stderr == caller.call(install.ours(Privilege.SETUID)).stderr


def test_no_new_privs_is_no_obstacle(either: Broker, br0: str) -> None:
    """Under no_new_privs, as `-sandbox on` sets it, a port is granted."""
    words = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", str(broker.helper()), "--br=br0"]
    with caller.call(Path("/usr/bin/setpriv"), uid=None, argv=lambda fd: [*words, f"--fd={fd}"]) as outcome:
        granted(outcome)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755], ids=oct)
def test_a_setuid_bit_without_a_capability_makes_nobody_root(br0: str, mode: int) -> None:
    """Where the bounding set has no CAP_NET_ADMIN the broker is told who calls, not whose file the helper is."""
    helper = world.WORLD / f"setid-{mode:o}"
    shutil.copy(install.installed(), helper)
    helper.chmod(mode)
    words = ["--reuid", str(PLAIN_UID), "--regid", str(PLAIN_UID), "--clear-groups", "--bounding-set=-net_admin"]
    words += ["--inh-caps=-all", str(helper), "--br=br0"]
    with (
        broker.by_hand(),
        caller.call(Path("/usr/bin/setpriv"), uid=None, argv=lambda fd: [*words, f"--fd={fd}"]) as outcome,
    ):
        lease = parse_alias(Path("/sys/class/net", granted(outcome), "ifalias").read_bytes().strip())
        assert lease is not None
        assert lease.uid == PLAIN_UID
    with broker.by_hand(), world.rule('groups = ["root"]'):
        assert caller.call(Path("/usr/bin/setpriv"), uid=None, argv=lambda fd: [*words, f"--fd={fd}"]).refused


def test_an_altname_is_judged_by_the_canonical_name(br0: str) -> None:
    """A second name of a denied bridge does not get round the deny."""
    world.write_access_list("allow all\ndeny br0\n")
    world.run("ip", "link", "property", "add", "dev", br0, "altname", "other")
    with broker.by_hand(), broker.ask("other") as answer:
        assert not answer.granted
        assert "denies" in answer.reply.message


def test_several_queues_are_refused_by_an_access_list(daemon: Broker) -> None:
    """An access list has no word for queues, so more than one is unsupported, not silently one."""
    for queues in (2, 16, 65535):
        answer = broker.ask(queues=queues)
        assert (answer.reply.code.name, answer.fds) == ("UNSUPPORTED", [])


def test_the_answer_names_the_tap(daemon: Broker, br0: str) -> None:
    """The name in the reply is that of the interface behind the fd."""
    with broker.ask() as answer:
        assert caller.describe(answer.fds[0]).name == answer.name
        assert world.ports(br0) == {answer.name}


def test_codes_are_typed(br0: str) -> None:
    """A program can tell one refusal from another without reading the message."""
    world.write_access_list("allow br0\nallow br9\nallow nic\nallow lo\n")
    world.run("ip", "link", "add", "nic", "type", "veth", "peer", "name", "far")
    try:
        with broker.by_hand():
            codes = {name: broker.ask(name).reply.code.name for name in ("br1", "br9", "nic", "lo", "br0:1", "")}
    finally:
        world.run("ip", "link", "del", "nic")
    assert codes == {
        "br1": "NOT_ALLOWED",
        "br9": "NO_SUCH_BRIDGE",
        "nic": "NO_SUCH_BRIDGE",
        "lo": "NO_SUCH_BRIDGE",
        "br0:1": "NOT_ALLOWED",
        "": "NOT_ALLOWED",
    }


def test_a_bad_datagram_gets_no_answer(daemon: Broker) -> None:
    """An unknown magic, verb, flag or field ends the connection, and nothing is said."""
    whole = broker.question()
    for bad in (
        b"QBH2" + whole[4:],
        whole[:4] + struct.pack("=H", 4) + whole[6:],
        whole[:6] + struct.pack("=H", 8) + whole[8:],
        whole[:8] + struct.pack("=H", 0) + whole[10:],
        whole[:10] + struct.pack("=H", 1) + whole[12:],
        whole[:12] + b"x" * 16,
        whole[:12] + b"br0\0br1" + bytes(9),
        whole[:-1],
        whole + b"\0",
    ):
        with broker.connect(PLAIN_UID) as connection:
            connection.send(bad)
            assert broker.take_answer(connection) is None


def test_what_is_refused_is_gone_whoever_has_opened_it(br0: str) -> None:
    """A TAP with several queues can be opened by its name while it is made; that does not keep one that is refused."""
    opened: list[int] = []

    class Meddled(Network):
        """One where the caller opens each TAP that is being counted."""

        def ports(self, needles: tuple[bytes, ...]) -> list[Link]:
            (name,) = broker.taps()
            with broker.acting_as(PLAIN_UID):
                opened.append(os.open("/dev/net/tun", os.O_RDWR))
                flags = tap.IFF_TAP | tap.IFF_NO_PI | tap.IFF_VNET_HDR | tap.IFF_MULTI_QUEUE
                fcntl.ioctl(opened[-1], tap.TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
                fcntl.ioctl(opened[-1], tap.TUNSETPERSIST, 1)
            raise KernelError("failed to count the ports")

    rules = "max_ports = 1", "queues = 2", "persistent = true"
    caller = Caller(PLAIN_UID, PLAIN_UID, ())
    with world.rule(*rules), closing(Meddled()) as network:
        policy = sources.load_policy(caller)
        with pytest.raises(KernelError, match="to count"):
            grant(Request(br0.encode(), True, 2, persistent=True), caller, policy, network)
    try:
        assert opened
        assert not broker.taps()
    finally:
        for fd in opened:
            os.close(fd)
        for name in broker.taps():
            world.run("ip", "link", "del", name)
