# SPDX-License-Identifier: GPL-2.0-or-later
"""The policy as the broker has read it: which changes it sees, and the same verdicts as the helper alone gives."""

import os
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from qbhelper import sources
from qbhelper.broker import snapshot
from qbhelper.broker.replies import code_of
from qbhelper.broker.snapshot import Snapshot
from qbhelper.errors import AccessListError, PolicyError, QbError
from qbhelper.request import Caller
from qbhelper.wire import Code
from tests.support import world

if TYPE_CHECKING:
    from qbhelper.policy.decision import Verdicts

pytestmark = pytest.mark.needs_root

ETC = Path("/etc/qbhelper")
POLICY = ETC / "policy.toml"
DROP_INS = ETC / "policy.d"
ALLOW = '[[allow]]\nbridge = "qa"\n[end]\n'
ALICE = Caller(61234, 61234, ())
BOB = Caller(61235, 61235, (61300,))
ROOT = Caller(0, 0, (0,))


@pytest.fixture(autouse=True)
def _cleared() -> Iterator[None]:
    _clear()
    yield
    _clear()


def _clear() -> None:
    for path in (ETC, Path("/etc/qbhelper-elsewhere"), Path("/etc/qbhelper-old")):
        if path.is_symlink():
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)
    ETC.mkdir(mode=0o755)
    world.ACCESS_LIST.unlink(missing_ok=True)


def write(path: Path, text: str = ALLOW, mode: int = 0o644) -> Path:
    """Write a file of the policy, and its directory."""
    return world.write_access_list(text, path, mode=mode)


def allows(taken: Snapshot, caller: Caller = ALICE, bridge: bytes = b"qa") -> bool:
    """Whether a snapshot allows a bridge to a caller."""
    return taken.policy_for(caller).decide(bridge).allowed


def _plant() -> None:
    write(POLICY)
    write(DROP_INS / "a.toml", '[[allow]]\nbridge = "qb"\n[end]\n')
    write(DROP_INS / "b.toml.off")
    write(Path("/etc/qbhelper-elsewhere/c"), '[[allow]]\nbridge = "qc"\n[end]\n')
    (DROP_INS / "c.toml").symlink_to("/etc/qbhelper-elsewhere/c")


def _replace() -> None:
    write(ETC / "new", "[end]").rename(POLICY)


def _replace_directory() -> None:
    ETC.rename("/etc/qbhelper-old")
    shutil.copytree("/etc/qbhelper-old", ETC, symlinks=True)


CHANGES: list[tuple[str, Callable[[], object]]] = [
    ("the policy is edited", lambda: write(POLICY, "[end]")),
    ("a file is renamed over the policy", _replace),
    ("the policy is deleted", POLICY.unlink),
    ("a file of policy.d is edited", lambda: write(DROP_INS / "a.toml", "[end]")),
    ("a file of policy.d is deleted", (DROP_INS / "a.toml").unlink),
    ("a file of policy.d gets another place in the order", lambda: (DROP_INS / "a.toml").rename(DROP_INS / "d.toml")),
    ("a file comes to policy.d", lambda: write(DROP_INS / "new.toml")),
    ("a file of policy.d comes to count", lambda: (DROP_INS / "b.toml.off").rename(DROP_INS / "b.toml")),
    ("policy.d is moved away", lambda: DROP_INS.rename(ETC / "off")),
    ("the end of a link is edited", lambda: write(Path("/etc/qbhelper-elsewhere/c"), "[end]")),
    ("a file gets another owner", lambda: os.chown(POLICY, 61234, 0)),
    ("a file gets another mode", lambda: POLICY.chmod(0o666)),
    ("policy.d gets another mode", lambda: DROP_INS.chmod(0o777)),
    ("the directory gets another mode", lambda: ETC.chmod(0o775)),
    ("the directory is replaced", _replace_directory),
]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[what for what, _ in CHANGES])
def test_a_change_is_seen(change: Callable[[], object]) -> None:
    """Whatever of the policy changes, the snapshot is not current any more."""
    _plant()
    with closing(snapshot.take()) as taken:
        assert all(allows(taken, bridge=bridge) for bridge in (b"qa", b"qb", b"qc"))
        assert taken.is_current()
        change()
        assert not taken.is_current()


APPEARANCES: list[tuple[str, Callable[[], object]]] = [
    ("the policy", lambda: write(POLICY)),
    ("policy.d", DROP_INS.mkdir),
    ("a link to nothing", lambda: POLICY.symlink_to("/nowhere")),
]


@pytest.mark.parametrize("appear", [appear for _, appear in APPEARANCES], ids=[what for what, _ in APPEARANCES])
@pytest.mark.parametrize("there", [True, False], ids=["in the directory", "with the directory"])
def test_a_policy_that_appears_is_seen(appear: Callable[[], object], there: bool) -> None:
    """Where there was none, the access list ruled: that ends at once."""
    write(world.ACCESS_LIST, "allow qa\n")
    if not there:
        ETC.rmdir()
    with closing(snapshot.take()) as taken:
        assert allows(taken)
        assert taken.is_current()
        ETC.mkdir(mode=0o755, exist_ok=True)
        appear()
        assert not taken.is_current()


def test_what_does_not_count_is_no_change() -> None:
    """Files beside the policy, and reading, make nobody read anew."""
    _plant()
    with closing(snapshot.take()) as taken:
        for _ in range(3):
            (ETC / "notes").write_text("x")
            POLICY.read_bytes()
            os.listdir(DROP_INS)
            assert taken.is_current()
            (ETC / "notes").unlink()
            assert taken.is_current()


def test_a_closed_directory_is_read_and_watched_without_the_right_to() -> None:
    """The broker gives up its right to read after it has read: what it may not look at again counts as changed."""
    _plant()
    for path in (ETC, DROP_INS):
        path.chmod(0o700)
    for path in (POLICY, DROP_INS / "a.toml"):
        path.chmod(0o600)

    def act() -> None:
        taken = snapshot.take()
        assert allows(taken, bridge=b"qb")
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        assert taken.is_current()
        read_end, write_end = os.pipe()
        os.set_inheritable(write_end, True)
        result.send(b"ready")
        assert result.recv(16) == b"changed"
        assert not taken.is_current()
        os.close(read_end)
        os.close(write_end)

    mine, result = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(mine), closing(result):
        pid = os.fork()
        if pid == 0:
            try:
                mine.close()
                act()
                os._exit(0)
            finally:
                os._exit(1)
        result.close()
        assert mine.recv(16) == b"ready"
        (DROP_INS / "stranger").touch()
        mine.send(b"changed")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_policy_for_root_alone_is_for_every_caller() -> None:
    """The point of the broker: who is judged by a policy need not be able to read it."""
    write(POLICY, '[[allow]]\nbridge = "qa"\nusers = 61234\nmtu = 1400\n[end]', mode=0o600)
    with closing(snapshot.take()) as taken:
        assert taken.policy_for(ALICE).decide(b"qa").terms.port.mtu == 1400
        assert not allows(taken, BOB)


def test_an_error_refuses_everybody_and_what_it_is_stays_with_the_broker() -> None:
    """Callers learn where; what it is, line by line, is for the journal."""
    write(POLICY, '[[allow]]\nbridge = "qa"\nsecret = 1\n', mode=0o600)
    with closing(snapshot.take()) as taken:
        for _ in range(3):
            with pytest.raises(PolicyError) as caught:
                taken.policy_for(ALICE)
            assert "secret" not in str(caught.value)
            assert code_of(caught.value) is Code.NOT_ALLOWED
        assert str(taken.problems[0]).startswith("/etc/qbhelper/policy.toml:3: `secret' is not")
        assert len(taken.problems) == 2


def test_an_error_that_is_raised_again_and_again_does_not_grow() -> None:
    """A broker with a broken policy refuses for weeks: each refusal must not be kept by the next."""
    write(POLICY, "")
    with closing(snapshot.take()) as taken:
        lengths = set()
        for _ in range(5):
            try:
                taken.policy_for(ALICE)
            except PolicyError as error:
                step, length = error.__traceback__, 0
                while step:
                    step, length = step.tb_next, length + 1
                lengths.add(length)
        assert len(lengths) == 1


def test_nothing_is_left_open() -> None:
    """A snapshot that is closed has closed every file that it watched."""
    _plant()
    before = os.listdir("/proc/self/fd")
    Snapshot().close()
    assert os.listdir("/proc/self/fd") == before


def test_with_qemu_acl_the_list_is_judged_by_what_each_caller_may_read() -> None:
    """A policy that lets bridge.conf count lets its per-user includes count, too."""
    write(POLICY, "qemu_acl = true\n[end]")
    write(world.ACCESS_LIST, "include bob.conf\n")
    world.write_access_list("allow qa\n", world.ACCESS_LIST.with_name("bob.conf"), mode=0o640, gid=61300)
    try:
        with closing(snapshot.take()) as taken:
            assert (allows(taken, ALICE), allows(taken, BOB)) == (False, True)
    finally:
        world.ACCESS_LIST.with_name("bob.conf").unlink()


# --- Both ways ------------------------------------------------------------------------------------

BRIDGES = (b"qa", b"qb", b"qc")
CALLERS = (ALICE, BOB, ROOT, Caller(65534, 65534, ()))
SCRAPS = (
    *('[[allow]]\nbridge = "qa"\n', '[[allow]]\nbridge = ["qa", "qb"]\nusers = 61234\nmtu = 1400\nmax_ports = 3\n'),
    *('[[allow]]\nbridge = "*"\ngroups = [61300]\nvlan = 20\n', '[[allow]]\nbridge = "qc"\nexpires = 2020-01-01\n'),
    *('[[deny]]\nbridge = "qb"\nusers = "61235-61240"\n', '[[deny]]\nbridge = "qc"\nusers = "no-such-user"\n'),
    *('[[allow]]\nbridge = "qb"\nusers = "root"\n', '[[allow]]\nbridge = "qa"\nqueues = 0\n', "nonsense\n"),
)


def plant(random: Random) -> None:
    """Write a random policy that everybody can read, or none."""
    _clear()
    if random.random() < 0.8:
        write(world.ACCESS_LIST, random.choice(("allow qa\n", "deny qb\nallow all\n", "allow qc\nnonsense\n")))
    scraps = [*random.sample(SCRAPS[:7], random.randrange(5)), *random.sample(SCRAPS[7:], random.random() < 0.15)]
    top = random.choice(("", "", "qemu_acl = true\n", "qemu_acl = false\n"))
    cut = random.randrange(len(scraps) + 1)
    if random.random() < 0.9:
        write(POLICY, top + "".join(scraps[:cut]) + ("[end]\n" if random.random() < 0.95 else ""))
        if random.random() < 0.05:
            os.chown(POLICY, 61234, 61234)
    if random.random() < 0.6:
        write(DROP_INS / "a.toml", "".join(scraps[cut:]) + "[end]\n")
    if DROP_INS.exists() and random.random() < 0.2:
        (DROP_INS / random.choice(("x.toml", "x.off"))).symlink_to(random.choice(("/nowhere", "../policy.toml")))


def verdict(load: "Callable[[], Verdicts]") -> str:
    """All that a caller would see and get, or the refusal of everything."""
    try:
        policy = load()
    except (PolicyError, AccessListError) as error:
        return str(error)
    said = []
    for bridge in BRIDGES:
        decision = policy.decide(bridge)
        terms = decision.terms
        port = (terms.port.mtu, terms.port.vlan, terms.max_ports, terms.rule)
        said.append(f"{bridge!r}: {decision.allowed} {decision.place} {decision.note} {port}")
    return f"{policy.path}: {said}"


def verdict_of_process(caller: Caller) -> str:
    """What a process of this caller finds, as the helper alone does."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(caller.groups)
            os.setresgid(caller.gid, caller.gid, caller.gid)
            os.setresuid(caller.uid, caller.uid, caller.uid)
            os.write(write_end, pickle.dumps(verdict(lambda: sources.load_policy(caller))))
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as answer:
        found: str = pickle.loads(answer.read())
    os.waitpid(pid, 0)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_both_ways_say_the_same(seed: int) -> None:
    """From the same files the broker and a process of the caller find the same words, terms and places."""
    random = Random(seed)
    granted = refused = 0
    for number in range(60):
        plant(random)
        with closing(Snapshot()) as taken:
            for caller in CALLERS:
                expected = verdict_of_process(caller)
                found = verdict(lambda caller=caller, taken=taken: taken.policy_for(caller))  # type: ignore[misc]
                assert found == expected, f"seed {seed}, policy {number}, uid {caller.uid}"
                granted += ": True" in found
                refused += "b'qa'" not in found
            assert taken.is_current()
    # Policies that refuse everything, or nothing, would prove nothing.
    assert min(granted, refused) > 30


def test_a_policy_error_is_a_refusal_like_others() -> None:
    """Whoever catches refusals catches this one."""
    assert issubclass(PolicyError, QbError)
