# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor` at the helper and the broker: which way to privilege is open, and what opens one."""

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.ctl.host import POLICY, write
from tests.ctl.ward import RULE, Found, Ward, stop_broker
from tests.support import broker, caller, world

pytestmark = [pytest.mark.needs_root]
SOCKET = broker.SOCKET
NO_NEW_PRIVS = ["setpriv", "--no-new-privs"]


@pytest.fixture(autouse=True)
def a_socket_of_its_own() -> Iterator[None]:
    """Whatever a test does to the broker's socket, the next one has none."""
    yield
    stop_broker()
    shutil.rmtree(SOCKET.parent, ignore_errors=True)


@contextmanager
def listener() -> Iterator[socket.socket]:
    """Somebody who listens on the broker's socket, and never says a word."""
    SOCKET.parent.mkdir(mode=0o755, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as made:
        made.bind(str(SOCKET))
        SOCKET.chmod(0o666)
        made.listen()
        yield made


def alone(ward: Ward) -> Ward:
    """A ward whose helper is setuid root."""
    ward.helper.chmod(0o4755)
    return ward


def one(found: list[Found]) -> Found:
    """The only one."""
    [it] = found
    return it


def gets_a_port(helper: Path) -> bool:
    """Whether alice's QEMU would get a port: what all of this is about."""
    with caller.call(helper, uid=1000) as outcome:
        return outcome.granted


class TestTheWay:
    """Which one QEMU would take, or that there is none."""

    def test_by_the_broker(self, a_healthy_ward: Ward) -> None:
        """The helper has no privilege of its own, and needs none."""
        visit = a_healthy_ward.visit()
        assert visit.problems() + visit.unknown() == []
        assert one(visit.of("helper")).what == f"{a_healthy_ward.helper}: no privilege of its own: it asks the broker"
        assert one(visit.of("broker")).what == f"answers on {SOCKET}"
        assert one(visit.of("way")).what == "the broker makes alice's ports"

    @pytest.mark.parametrize("with_broker", [False, True])
    def test_by_the_helper_itself(self, a_ward: Ward, with_broker: bool) -> None:
        """A helper with privilege of its own does not ask the broker."""
        world.run("setcap", "cap_net_admin=ep", str(a_ward.helper))
        if with_broker:
            a_ward.run(f"setsid -f {a_ward.directory}/sbin/qbhelperd")
            await_broker()
        visit = a_ward.visit()
        assert visit.problems() == []
        assert one(visit.of("helper")).what.endswith("it has the file capability cap_net_admin")
        assert one(visit.of("way")).what == "the helper makes alice's ports itself"
        assert visit.of("broker") == []

    def test_of_root_is_open_without_either(self, a_ward: Ward) -> None:
        """Root has privilege anyway."""
        found = one(a_ward.visit(user="root").of("way"))
        assert (found.state, found.what) == ("ok", "the helper makes root's ports itself")

    def test_is_closed_and_the_broker_opens_it(self, a_ward: Ward) -> None:
        """The remedy begins with the broker, which is started by the command as it is printed."""
        found = one(a_ward.visit().problems())
        assert found.station == "way"
        assert found.what.startswith("neither way is open: no broker runs, and ")
        assert found.remedy is not None
        a_ward.run(found.remedy)
        await_broker()
        assert a_ward.visit().problems() == []
        assert gets_a_port(a_ward.helper)

    def test_is_closed_and_a_file_capability_opens_it(self, a_ward: Ward) -> None:
        """The other remedy stands behind it, as a comment."""
        remedy = one(a_ward.visit().problems()).remedy
        assert remedy is not None
        start, _, other = remedy.partition(" # or: ")
        assert start == f"setsid -f {a_ward.directory}/sbin/qbhelperd"
        a_ward.run(other)
        assert a_ward.visit().problems() == []
        assert gets_a_port(a_ward.helper)

    def test_is_closed_by_a_mount_without_setuid(self, a_ward: Ward) -> None:
        """The file looks right, and has no effect where it lies; the mount point is named."""
        place = a_ward.directory / "no suid"
        place.mkdir()
        world.run("mount", "-t", "tmpfs", "-o", "nosuid,mode=0755", "tmpfs", str(place))
        try:
            shutil.copytree(a_ward.directory / "bin", place / "bin")
            there = alone(Ward(place))
            found = one(there.visit().problems())
            assert f"{place} is mounted nosuid" in found.what
            assert found.remedy is not None
            there.run(found.remedy.partition(" # or: ")[2])
            assert there.visit().problems() == []
            assert gets_a_port(there.helper)
        finally:
            world.run("umount", str(place))

    def test_is_closed_by_no_new_privs(self, a_ward: Ward) -> None:
        """Then there is no other way than the broker."""
        ward = alone(a_ward)
        assert ward.visit().problems() == []
        found = one(ward.visit(wrapper=NO_NEW_PRIVS).problems())
        assert "no_new_privs is set here" in found.what
        assert found.remedy is not None
        assert "# or:" not in found.remedy
        ward.run(found.remedy)
        await_broker()
        assert ward.visit(wrapper=NO_NEW_PRIVS).problems() == []

    def test_is_not_closed_by_the_no_new_privs_of_who_asks_about_others(self, a_ward: Ward) -> None:
        """It is the user's QEMU that counts."""
        assert alone(a_ward).visit("--user=alice", user="root", wrapper=NO_NEW_PRIVS).problems() == []

    def test_is_closed_in_a_container_but_by_the_hosts_broker(self, a_ward: Ward) -> None:
        """No command in the container opens it."""
        visit = alone(a_ward).visit("--user=alice", user="root", wrapper=["setpriv", "--bounding-set=-net_admin"])
        found = one(visit.problems())
        assert "CAP_NET_ADMIN is not in the bounding set" in found.what
        assert f"mount the host's {SOCKET} into the container" in found.what
        assert found.remedy is None

    @pytest.mark.parametrize("kind", ["owner", "capability"])
    def test_is_closed_by_a_privilege_that_is_none(self, a_ward: Ward, kind: str) -> None:
        """A setuid bit of somebody else's, or a capability for something else."""
        if kind == "owner":
            os.chown(a_ward.helper, 1000, 1000)
            a_ward.helper.chmod(0o4755)
        else:
            world.run("setcap", "cap_net_raw=ep", str(a_ward.helper))
        found = next(each for each in a_ward.visit().problems() if each.station == "way")
        assert found.remedy is not None
        a_ward.run(found.remedy.partition(" # or: ")[2])
        assert a_ward.visit().problems() == []
        assert gets_a_port(a_ward.helper)


class TestTheFile:
    """The helper's, and what it starts."""

    @pytest.mark.parametrize("mode", [0o755, 0o4755])
    def test_that_others_may_change_is_made_roots_alone(self, a_healthy_ward: Ward, mode: int) -> None:
        """And keeps the privilege that a change of its owner takes away."""
        a_healthy_ward.helper.chmod(mode | 0o020)
        found = a_healthy_ward.cured("helper")
        assert found.what.startswith(f"{a_healthy_ward.helper} is not root's alone")
        assert stat.S_IMODE(a_healthy_ward.helper.stat().st_mode) == mode

    def test_in_a_directory_of_somebody_elses_is_found(self, a_healthy_ward: Ward) -> None:
        """Who can rename a directory can put another in its place."""
        os.chown(a_healthy_ward.helper.parent, 1001, 1001)
        found = a_healthy_ward.cured("helper")
        assert found.what.startswith(f"{a_healthy_ward.helper.parent} is not root's alone")

    @pytest.mark.parametrize("kind", ["sticky", "home"])
    def test_in_a_place_that_is_not_ours_to_change_has_no_command(self, a_ward: Ward, kind: str) -> None:
        """To take /tmp, or a home, from its users would do harm."""
        place = a_ward.directory / kind
        shutil.copytree(a_ward.directory / "bin", place / "tree" / "bin")
        if kind == "sticky":
            place.chmod(0o1777)
        else:
            os.chown(place, 1001, 1001)
        there = alone(Ward(place / "tree"))
        found = next(each for each in there.visit().problems() if each.station == "helper")
        assert found.remedy is None
        assert found.what.startswith(f"{place} is not root's alone")
        assert found.what.endswith("install it where only root may write: make install")

    def test_in_a_directory_like_tmp_has_no_command(self, a_ward: Ward) -> None:
        """Which is for everybody; without privilege, what is root's in it is safe."""
        a_ward.helper.parent.chmod(0o1777)
        assert a_ward.visit().of("helper")[0].state == "ok"
        found = one(alone(a_ward).visit().problems())
        assert (found.station, found.remedy) == ("helper", None)

    @pytest.mark.parametrize("user", ["alice", "bob"])
    def test_that_somebody_has_built_is_for_themselves(self, a_healthy_ward: Ward, user: str) -> None:
        """Without privilege it can do no more than they can."""
        write(POLICY, RULE.replace('"alice"', '["alice", "bob"]'))
        shutil.chown(a_healthy_ward.helper.parent, "alice", "alice")
        assert (a_healthy_ward.visit(user=user).problems() == []) == (user == "alice")

    def test_that_a_user_may_not_start_is_opened(self, a_healthy_ward: Ward) -> None:
        """To all, where no group was meant."""
        a_healthy_ward.helper.chmod(0o700)
        assert a_healthy_ward.cured("helper").what.startswith("alice may not start ")

    def test_that_is_for_a_group_stays_so(self, a_healthy_ward: Ward) -> None:
        """The user is put into it: a mode such as 4750 of root:kvm was somebody's intention."""
        shutil.chown(a_healthy_ward.helper, "root", "staff")
        a_healthy_ward.helper.chmod(0o750)
        found = a_healthy_ward.cured("helper", "--user=alice", user="root")
        assert found.remedy == "usermod --append --groups staff alice # counts from their next login"
        assert stat.S_IMODE(a_healthy_ward.helper.stat().st_mode) == 0o750

    def test_that_is_not_there_is_told(self, a_healthy_ward: Ward) -> None:
        """No command puts it there."""
        if any(Path(path).exists() for path in ("/usr/bin/qbhelper", "/usr/local/bin/qbhelper")):
            pytest.skip("qbhelper is installed here")
        a_healthy_ward.helper.unlink()
        found = one(a_healthy_ward.visit().problems())
        assert (found.station, found.remedy) == ("helper", None)
        assert found.what.endswith("install it again")

    def test_with_privilege_starts_only_what_is_roots_alone(self, a_ward: Ward) -> None:
        """It refuses to otherwise, so its modules are looked at, too."""
        from tests.support import install

        modules = install.prefix() / "lib" / "qbhelper" / "qbhelper" / "kernel"
        modules.chmod(0o775)
        try:
            assert not gets_a_port(alone(a_ward).helper)
            assert a_ward.cured("helper").what.startswith(f"{modules} is not root's alone")
            assert gets_a_port(a_ward.helper)
        finally:
            modules.chmod(0o755)


class TestTheBroker:
    """Its socket, and who is behind it."""

    def test_that_was_killed_is_started_again(self, a_ward: Ward) -> None:
        """It has left its socket behind, on which nobody listens."""
        with listener():
            pass
        found = one(a_ward.visit().problems())
        assert (found.station, found.what) == ("broker", f"{SOCKET} is there, but nobody listens on it")
        assert found.remedy is not None
        a_ward.run(found.remedy)
        await_broker()
        assert a_ward.visit().problems() == []

    def test_that_says_nothing_is_told(self, a_ward: Ward) -> None:
        """A connection alone is no answer: the kernel takes it for whoever listens.  Without systemd, people end it."""
        with listener():
            found = one(a_ward.visit().problems())
            assert found.station == "broker"
            assert "it does not answer within" in found.what
            assert found.remedy is None

    def test_is_asked_nothing(self, a_ward: Ward) -> None:
        """The doctor knocks and goes: no port is made, and no request is in anybody's log."""
        with listener() as made:
            command = [
                *("setpriv", "--reuid=alice", "--regid=alice", "--init-groups"),
                str(a_ward.directory / "bin/qbhelperctl"),
            ]
            with subprocess.Popen([*command, "doctor", "--json"], stdout=subprocess.PIPE) as child:
                connection, _ = made.accept()
                with connection:
                    assert connection.recv(100) == b""
                child.communicate(timeout=60)

    @pytest.mark.parametrize("user", ["alice", "root"])
    def test_whose_socket_is_closed_is_opened(self, a_healthy_ward: Ward, user: str) -> None:
        """Everybody may ask: the policy decides, not the mode of a file."""
        SOCKET.chmod(0o600)
        found = a_healthy_ward.cured("broker", "--user=alice", user=user)
        assert found.what == f"{SOCKET} keeps alice from the broker's socket"

    def test_whose_directory_is_closed_is_opened(self, a_healthy_ward: Ward) -> None:
        """The part of the path that is in the way is named."""
        SOCKET.parent.chmod(0o700)
        assert a_healthy_ward.cured("broker").what == f"{SOCKET.parent} keeps alice from the broker's socket"

    def test_of_another_network_is_told(self, a_healthy_ward: Ward) -> None:
        """As in a container with its socket: it refuses, by the network that a caller is in."""
        visit = a_healthy_ward.visit("--user=alice", "--bridge=br0", user="root", wrapper=["unshare", "--net"])
        found = one(visit.of("broker"))
        assert (found.state, found.remedy) == ("problem", None)
        assert "but from another network namespace: its bridges are not those of this one" in found.what
        assert found.what.endswith("run QEMU in its network (a container: --network=host)")
        assert visit.of("way") == []

    def test_of_another_network_may_let_in_whom_a_rule_names(self, a_healthy_ward: Ward) -> None:
        """Nobody else."""
        write(POLICY, RULE.replace("max_ports = 2", "other_network_namespaces = true"))
        there = ["unshare", "--net"]
        visit = a_healthy_ward.visit("--user=alice", "--bridge=br0", user="root", wrapper=there)
        assert (one(visit.of("broker")).state, one(visit.of("way")).state) == ("ok", "ok")
        visit = a_healthy_ward.visit("--user=bob", "--bridge=br0", user="root", wrapper=there)
        assert one(visit.of("broker")).state == "problem"

    def test_of_another_network_is_none_for_root(self, a_healthy_ward: Ward) -> None:
        """Root's helper makes the port itself then."""
        visit = a_healthy_ward.visit("--bridge=br0", user="root", wrapper=["unshare", "--net"])
        assert one(visit.of("broker")).state == "ok"

    def test_whose_place_others_could_take_is_told(self, a_healthy_ward: Ward) -> None:
        """They would be asked instead of it."""
        SOCKET.parent.chmod(0o777)
        assert a_healthy_ward.cured("broker").what.startswith(f"{SOCKET.parent} is not root's alone")


def await_broker() -> None:
    """Wait until a broker that was just started serves."""
    import time

    deadline = time.monotonic() + broker.PATIENCE
    while not SOCKET.exists():
        assert time.monotonic() < deadline, "no broker has come"
        os.sched_yield()
    broker.ask("no-such-bridge")  # asks again until somebody answers


@pytest.mark.parametrize(
    "name",
    [
        b"\n\n",
        b"\n" + os.fsencode(SOCKET),
        b"x " + os.fsencode(SOCKET),
        b"\n0: 2 0 many 5 1 7 " + os.fsencode(SOCKET),
        b"\xff",
    ],
)
def test_names_of_sockets_of_others_hide_nothing(a_healthy_ward: Ward, name: bytes) -> None:
    """Anybody may make a socket with any name, and the kernel's list has it as it is."""
    place = world.WORLD / "planted"
    try:
        with ExitStack() as planted:
            for number in range(40):  # the list has them in an order of its own
                path = os.fsencode(place) + b"/%d" % number + name
                os.makedirs(os.path.dirname(path), exist_ok=True)
                planted.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)).bind(path)
            visit = a_healthy_ward.visit()
        assert visit.problems() + visit.unknown() == []
        assert one(visit.of("broker")).what == f"answers on {SOCKET}"
    finally:
        shutil.rmtree(place)
