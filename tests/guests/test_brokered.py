# SPDX-License-Identifier: GPL-2.0-or-later
"""Where nobody can gain a privilege, guests get their ports all the same: from the broker.

QEMU's own helper is setuid root here, and gets nothing in any of these places.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from qbhelper.lease import parse_alias
from tests.support import broker, guest, install, rootless, world
from tests.support.caller import PLAIN_UID
from tests.support.guest import Guest, Nic

pytestmark = pytest.mark.needs_root

ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")
CAROL = Nic("52:54:00:00:00:03", "10.0.0.3/24")
SANDBOX = ("-sandbox", "on")
STRICT_SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,resourcecontrol=deny")
"""All that can be denied to a QEMU that is to start a helper: with spawn=deny it can start nothing."""
SHARED = ("image", "helpers")
"""The directories of the world that a container is given."""
NO_DEVICE = "failed to open /dev/net/tun: No such file or directory"
ORIGINALS = [install.Privilege.SETUID, install.Privilege.FILE_CAPABILITY]


@dataclass(frozen=True)
class Place:
    """Where QEMU runs, and what tells that it does."""

    sandbox: Sequence[Sequence[str]] = ((), ())
    """QEMU's words for Alice and for Bob."""
    in_container: bool = False
    wrapper: Sequence[str] = ()
    no_new_privs: bool = False
    original_says: str = "failed to create tun device: Operation not permitted"

    @property
    def start(self) -> list[str]:
        """What stands before QEMU's own words."""
        if not self.in_container:
            return [*self.wrapper]
        return [*rootless.words(*(world.WORLD / name for name in SHARED)), *self.wrapper]


PLACES = {
    "sandbox": Place(sandbox=(SANDBOX, STRICT_SANDBOX), no_new_privs=True),
    "no_new_privs": Place(wrapper=rootless.NO_NEW_PRIVS, no_new_privs=True),
    "container": Place(in_container=True, wrapper=rootless.NO_CAPABILITIES, original_says=NO_DEVICE),
    "all three": Place(
        sandbox=(SANDBOX, STRICT_SANDBOX),
        in_container=True,
        wrapper=(*rootless.NO_CAPABILITIES, "--no-new-privs"),
        no_new_privs=True,
        original_says=NO_DEVICE,
    ),
}


@pytest.fixture(scope="module")
def br0_by_broker(br0: str) -> Iterator[str]:
    """A bridge that everybody may use, and a broker that root has started."""
    guest.image_in_world()
    with broker.by_hand():
        yield br0


@dataclass(frozen=True)
class Lan:
    """Two guests in the same kind of place."""

    place: Place
    alice: Guest
    bob: Guest

    @property
    def guests(self) -> tuple[Guest, Guest]:
        """Both."""
        return self.alice, self.bob


@pytest.fixture(scope="module", params=PLACES)
def lan(request: pytest.FixtureRequest, br0_by_broker: str) -> Iterator[Lan]:
    """Both guests booted in one of the places, with the helper that has no privilege."""
    place = PLACES[request.param]
    helper = broker.helper()
    with ExitStack() as stack:
        guests = [
            stack.enter_context(Guest(name, [nic], [*sandbox, *nic.bridge_words(helper)], wrapper=place.start))
            for name, nic, sandbox in zip(("alice", "bob"), (ALICE, BOB), place.sandbox, strict=True)
        ]
        for machine in guests:
            machine.wait_until_ready()
        yield Lan(place, *guests)


def test_the_helper_has_no_privilege_to_lend() -> None:
    """No setuid or setgid bit, no file capability: it is a file like any other."""
    helper = broker.helper()
    assert stat.S_IMODE(helper.stat().st_mode) == 0o755
    assert os.listxattr(helper) == []


def test_two_guests_ping_each_other(lan: Lan) -> None:
    """Each hears an answer from the other."""
    assert "3 packets received" in lan.alice.check(f"ping -c 3 -i 0.1 -W 10 {BOB.ip}")
    assert "3 packets received" in lan.bob.check(f"ping -c 3 -i 0.1 -W 10 {ALICE.ip}")


def own_namespaces(pid: int) -> set[str]:
    """The kinds of namespaces that a process does not share with us."""
    kinds = ("mnt", "net", "pid", "user")
    return {kind for kind in kinds if os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")}


def test_qemu_is_really_where_it_should_be(lan: Lan) -> None:
    """The kernel says so: a plain uid, no capability, and what the place consists of."""
    ours = broker.status_of(os.getpid())
    for machine, sandbox in zip(lan.guests, lan.place.sandbox, strict=True):
        status = broker.status_of(machine.pid)
        assert set(status["Uid"].split()) == {str(PLAIN_UID)}
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[kind], 16) == 0, kind
        assert status["NoNewPrivs"] == str(int(lan.place.no_new_privs))
        # Not only the mode, which is 2 as well where all of this runs in a container.
        assert (int(status["Seccomp_filters"]) > int(ours["Seccomp_filters"])) is bool(sandbox)
        if sandbox:
            assert status["Seccomp"] == "2"
        assert own_namespaces(machine.pid) == ({"mnt", "pid", "user"} if lan.place.in_container else set())
        assert Path(f"/proc/{machine.pid}/root/dev/net/tun").exists() is not lan.place.in_container
        if lan.place.in_container:
            assert int(status["CapBnd"], 16) == 0


def test_each_port_tells_whose_it_is(lan: Lan) -> None:
    """The lease in the alias of a guest's TAP has the uid that this host sees, whatever a container calls it."""
    taps = [machine.taps() for machine in lan.guests]
    assert [len(of_one) for of_one in taps] == [1, 1]
    assert world.ports("br0") == taps[0] | taps[1]
    for tap in taps[0] | taps[1]:
        lease = parse_alias(Path("/sys/class/net", tap, "ifalias").read_bytes().rstrip(b"\n"))
        assert lease is not None
        assert lease.uid == PLAIN_UID


@pytest.mark.parametrize("privilege", ORIGINALS, ids=lambda privilege: privilege.value)
def test_qemus_own_helper_gets_no_port_there(lan: Lan, privilege: install.Privilege) -> None:
    """A helper that needs privilege of its own gets nothing in these places, be it setuid root or have a capability."""
    before = world.ports("br0")
    words = [*lan.place.sandbox[0], *CAROL.bridge_words(install.theirs(privilege))]
    with Guest("carol", [CAROL], words, wrapper=lan.place.start) as carol:
        said = carol.wait_until_refused()
    assert world.ports("br0") == before
    assert said.endswith("bridge helper failed\n")
    if privilege is install.Privilege.SETUID:
        assert said.startswith(lan.place.original_says)


@pytest.mark.parametrize("privilege", ORIGINALS, ids=lambda privilege: privilege.value)
def test_qemus_own_helper_gets_one_elsewhere(br0_by_broker: str, privilege: install.Privilege) -> None:
    """In none of these places the same words give a port: so it is the place that denied it."""
    before = world.ports(br0_by_broker)
    with Guest("carol", [CAROL], CAROL.bridge_words(install.theirs(privilege))) as carol:
        assert broker.await_links(lambda: world.ports(br0_by_broker) - before == carol.taps() != frozenset())


# --- spawn=deny ---------------------------------------------------------------------------------

NO_SPAWN = ("-sandbox", f"{STRICT_SANDBOX[1]},spawn=deny")


def test_a_qemu_that_may_start_nothing_starts_no_helper(br0_by_broker: str) -> None:
    """With spawn=deny QEMU can't run any helper; it ends, and nothing is left of what was not to be."""
    before = world.ports(br0_by_broker)
    words = [*NO_SPAWN, *CAROL.bridge_words(broker.helper())]
    with Guest("carol", [CAROL], words) as carol, pytest.raises(guest.GuestFailed, match="has ended with status"):
        carol.wait_until_ready()
    assert world.ports(br0_by_broker) == before


def test_who_starts_it_can_ask_for_it(br0_by_broker: str) -> None:
    """The port may be asked for before QEMU starts, as libvirt does; then spawn=deny is no obstacle."""
    with ExitStack() as stack:
        guests = []
        for name, nic in (("alice", ALICE), ("bob", BOB)):
            outcome = stack.enter_context(broker.call())
            assert outcome.granted, outcome
            words = ["-netdev", f"tap,id={nic.identity},fd={outcome.fds[0]}", *nic.device_words()]
            guests.append(stack.enter_context(Guest(name, [nic], [*NO_SPAWN, *words], pass_fds=outcome.fds)))
            outcome.close()
        for machine in guests:
            machine.wait_until_ready()
            assert len(machine.taps() & world.ports(br0_by_broker)) == 1
        guests[0].check(f"ping -c 1 -W 10 {BOB.ip}")
