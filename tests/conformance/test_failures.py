# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever fails, ours fails as the original does, with its first words (contract 1.2)."""

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.comparison import PLAIN, ROOT, Case, Fact, Peer
from tests.conformance.differences import agreeing, ask, compare
from tests.conformance.model import Caller
from tests.conformance.trees import SECOND_TOP, TOP, File, Tree, plant
from tests.support import world
from tests.support.install import Privilege

pytestmark = [pytest.mark.conformance, pytest.mark.needs_root]

ALLOWED, DENIED, ALL = Tree.of("allow br0\n"), Tree.of("allow all\ndeny br0\n"), Tree.of("allow all\n")
TUN = Path("/dev/net/tun")


# --- The access list --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(Tree(), id="there is none"),
        pytest.param(Tree({TOP: File(b"allow br0\n", 0o600)}), id="only root may read it"),
        pytest.param(Tree({TOP: File(b"allow br0\n", 0o640, 0, 61300)}), id="only a group may read it"),
        pytest.param(Tree({TOP: File(b"allow br0\n", 0)}), id="nobody may read it"),
        pytest.param(Tree({TOP: File(None, 0o700)}), id="a directory that nobody may read"),
        pytest.param(Tree({SECOND_TOP: File(b"allow br1\n")}), id="only in the second place, without a rule"),
        pytest.param(Tree({TOP: File(b""), SECOND_TOP: File(b"allow br0\n")}), id="both places"),
        pytest.param(
            Tree({TOP: File(b"", 0o600), SECOND_TOP: File(b"allow br0\n")}), id="the first of both may not be read"
        ),
        pytest.param(Tree.of("permit br0\n"), id="an unknown keyword"),
        pytest.param(Tree.of("allow\n"), id="no argument"),
        pytest.param(Tree.of("allow sixteen-bytes-16\n"), id="a name too long"),
        pytest.param(Tree.of(""), id="empty"),
        pytest.param(DENIED, id="denied"),
    ],
)
@pytest.mark.parametrize("caller", [PLAIN, Caller(61235, 61300), ROOT], ids=["a user", "one of the group", "root"])
def test_each_fault_of_the_access_list_is_told_alike(br0: str, tree: Tree, caller: Caller) -> None:
    """A list that is missing, unreadable or wrong, or says no, makes both refuse with the same first words."""
    compare(Case(tree, br0.encode(), caller=caller))


@pytest.mark.parametrize("caller", [PLAIN, ROOT], ids=["a user", "root"])
def test_a_directory_that_may_not_be_entered_hides_the_access_list(caller: Caller) -> None:
    """A caller who may not enter /etc/qemu has no access list, for both."""
    plant(ALLOWED)
    Path(TOP).parent.chmod(0o700)
    [pair] = ask(Case(ALLOWED, b"missing", caller=caller))
    assert agreeing(pair).ours.words.startswith(b"failed to parse default acl file") == (caller == PLAIN)


# --- The bridge -------------------------------------------------------------------------------

NO_BRIDGES = {
    "a dummy": ("type", "dummy"),
    "a veth": ("type", "veth", "peer", "name", "other"),
    "a macvlan": ("link", "base", "type", "macvlan"),
    "a VLAN": ("link", "base", "type", "vlan", "id", "5"),
    "a bond": ("type", "bond"),
}


@pytest.mark.parametrize("kind", NO_BRIDGES)
def test_what_is_no_bridge_is_refused_alike(kind: str) -> None:
    """An interface that is no bridge makes both refuse at the same step."""
    with world.bridge("base"):
        try:
            world.run("ip", "link", "add", "nobridge", *NO_BRIDGES[kind])
        except RuntimeError as error:
            assert "not supported" in str(error) or "Unknown device type" in str(error)  # noqa: PT017
            return  # this kernel makes no such interface
        try:
            for up in ("down", "up"):
                world.run("ip", "link", "set", "nobridge", up)
                compare(Case(DENIED, b"nobridge"))
                answer = compare(Case(Tree.of("allow nobridge\n"), b"nobridge")).ours
                assert answer.stderr.startswith(b"failed to add interface `tap0' to bridge `nobridge': Operation not")
        finally:
            world.run("ip", "link", "del", "nobridge")


@pytest.mark.parametrize("mode", ["tap", "tun"])
def test_a_tun_device_is_no_bridge_to_both(mode: str) -> None:
    """Somebody else's TAP or TUN, with or without a place on a bridge, is no bridge."""
    with world.bridge("base"):
        world.run("ip", "tuntap", "add", "nobridge", "mode", mode)
        try:
            compare(Case(ALL, b"nobridge"))
            if mode == "tap":
                world.run("ip", "link", "set", "nobridge", "master", "base")
                compare(Case(ALL, b"nobridge"))
        finally:
            world.run("ip", "link", "del", "nobridge")


@pytest.mark.parametrize("bridge", [b"missing", b"lo", b"br0x", b"r0", b"br"])
def test_a_bridge_that_is_not_there_is_refused_alike(br0: str, bridge: bytes) -> None:
    """No bridge of this very name makes both refuse, allowed or not."""
    for tree in (ALL, ALLOWED, Tree()):
        assert not compare(Case(tree, bridge)).ours.granted


def test_a_bridge_that_is_full_is_refused_alike() -> None:
    """A bridge has room for 1023 ports; the next one is refused by both in the kernel's words."""
    ports = "".join(
        f"tuntap add port{number} mode tap\nlink set port{number} group 42 master full\n" for number in range(1023)
    )
    with world.bridge("full"):
        try:
            subprocess.run(["ip", "-batch", "-"], input=ports.encode(), check=True)
            pair = compare(Case(ALL, b"full"))
            assert pair.ours.stderr.startswith(b"failed to add interface `tap0' to bridge `full': ")
        finally:
            world.run("ip", "link", "del", "group", "42")


# --- /dev/net/tun -----------------------------------------------------------------------------


@contextmanager
def tun_replaced_by(mode: int | None, device: int = 0) -> Iterator[None]:
    """Have another node, or none, at /dev/net/tun for the time of the block."""
    kept = TUN.with_name("kept")
    TUN.rename(kept)
    try:
        if mode is not None:
            os.mknod(TUN, mode, device)
            TUN.chmod(stat.S_IMODE(mode))
        yield
    finally:
        TUN.unlink(missing_ok=True)
        kept.rename(TUN)


TUN_NODES = {
    "missing": (None, 0),
    "for root only": (stat.S_IFCHR | 0o600, os.makedev(10, 200)),
    "for nobody": (stat.S_IFCHR | 0o000, os.makedev(10, 200)),
    "without a driver": (stat.S_IFCHR | 0o666, os.makedev(10, 254)),
    "a null device": (stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "a regular file": (stat.S_IFREG | 0o666, 0),
    "a FIFO": (stat.S_IFIFO | 0o666, 0),
}


@pytest.mark.parametrize("caller", [PLAIN, ROOT], ids=["a user", "root"])
@pytest.mark.parametrize("node", TUN_NODES)
def test_each_fault_of_the_tun_device_is_told_alike(br0: str, node: str, caller: Caller) -> None:
    """Whatever is wrong with /dev/net/tun, both refuse with the same first words, or both go on."""
    with tun_replaced_by(*TUN_NODES[node]):
        for tree, bridge in ((ALLOWED, b"br0"), (DENIED, b"br0"), (ALL, b"missing")):
            facts = {Fact.NO_TUN} | ({Fact.TUN_FORBIDDEN} if node == "for nobody" else set())
            compare(Case(tree, bridge, caller=caller, facts=frozenset(facts)))


# --- The hand-over ----------------------------------------------------------------------------


@pytest.mark.parametrize("ignored", [True, False], ids=["SIGPIPE ignored", "SIGPIPE kills"])
@pytest.mark.parametrize("peer", [peer for peer in Peer if peer is not Peer.FULL], ids=lambda peer: peer.name.lower())
def test_each_kind_of_socket_is_answered_alike(br0: str, peer: Peer, ignored: bool) -> None:
    """Whatever --fd names, both grant, or refuse with the same first words, but for what is listed."""
    for tree, bridge in ((ALLOWED, b"br0"), (DENIED, b"br0"), (ALL, b"missing"), (Tree(), b"br0")):
        compare(Case(tree, bridge, peer=peer, sigpipe_ignored=ignored))


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_change_nothing(br0: str, closed: str) -> None:
    """A caller who leaves standard streams closed gets the same answer and the same port from both."""
    for tree in (ALLOWED, DENIED):
        compare(Case(tree, wrapper=("sh", "-c", f'exec {closed}; exec "$@"', "sh")))


# --- Privilege --------------------------------------------------------------------------------

AS_A_USER = ("setpriv", "--reuid=61234", "--regid=61234", "--clear-groups")
NO_NEW_PRIVS = ("setpriv", "--no-new-privs")

STATES: dict[str, tuple[Privilege, Caller, tuple[str, ...], frozenset[Fact]]] = {
    "plain copy": (Privilege.NONE, PLAIN, (), frozenset()),
    "plain copy, by root": (Privilege.NONE, ROOT, (), frozenset()),
    "plain copy, ambient capability": (
        Privilege.NONE,
        PLAIN,
        (*AS_A_USER, "--inh-caps=+net_admin", "--ambient-caps=+net_admin"),
        frozenset({Fact.AMBIENT}),
    ),
    **{
        f"{way.value}, no_new_privs, by {'root' if caller == ROOT else 'a user'}": (
            way,
            caller,
            NO_NEW_PRIVS,
            frozenset({Fact.NO_NEW_PRIVS}),
        )
        for way in Privilege
        for caller in (PLAIN, ROOT)
    },
    **{
        f"{way.value}, bounding set without {name}, by {'root' if caller == ROOT else 'a user'}": (
            way,
            caller,
            (*(("setpriv",) if caller == ROOT else AS_A_USER), f"--bounding-set=-{name}"),
            frozenset({fact}),
        )
        for way in Privilege
        for caller in (PLAIN, ROOT)
        for name, fact in (("net_admin", Fact.NO_NET_ADMIN), ("setpcap", Fact.NO_SETPCAP))
        # The kernel starts no program whose file capability it can't give.
        if (way, name) != (Privilege.FILE_CAPABILITY, "net_admin")
    },
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_of_privilege_is_answered_alike(br0: str, state: str) -> None:
    """With and without privilege, both grant, or refuse with the same first words, but for what is listed."""
    privilege, caller, wrapper, facts = STATES[state]
    for tree, bridge in ((ALLOWED, b"br0"), (DENIED, b"br0"), (ALL, b"missing")):
        compare(Case(tree, bridge, privilege=privilege, caller=caller, wrapper=wrapper, facts=facts))
