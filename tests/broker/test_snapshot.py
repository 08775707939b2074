# SPDX-License-Identifier: GPL-2.0-or-later
"""What the broker has read: which changes it sees, and where its verdicts could differ but must not."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from qbhelper.broker import snapshot, walk, watched
from qbhelper.broker.snapshot import Snapshot
from qbhelper.errors import AccessListError
from qbhelper.request import Caller
from tests.broker import forest
from tests.broker.judge import judges, verdict_of
from tests.support import world

pytestmark = pytest.mark.needs_root

HOME = forest.HOME
ALICE = Caller(61234, 61234, ())
BOB = Caller(61235, 61235, (61300,))


@pytest.fixture(autouse=True)
def _cleared() -> Iterator[None]:
    forest.clear()
    yield
    forest.clear()


def write(name: str, text: str, *, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Path:
    """Write a file beside the access list."""
    return world.write_access_list(text, HOME / name, mode=mode, uid=uid, gid=gid)


def allows(taken: Snapshot, caller: Caller, bridge: bytes = b"qa") -> bool:
    """Whether a snapshot allows a bridge to a caller."""
    return taken.load_for(caller).decide(bridge).allowed


def _plant() -> None:
    write("bridge.conf", "include file\ninclude d/file\ninclude missing\ninclude d/missing\ninclude link\n")
    write("file", "allow qa\n", mode=0o640, gid=61300)
    (HOME / "d").mkdir()
    write("d/file", "allow qb\n")
    write("other", "allow qc\n")
    (HOME / "link").symlink_to("other")


def _replace(path: Path) -> None:
    write("new", "allow qc\n").rename(path)


def _append(path: Path) -> None:
    with path.open("a") as file:
        file.write("\n")


def _list_appears() -> None:
    forest.SECOND_TOP.rename(HOME / "bridge.conf")


def _relink() -> None:
    (HOME / "link").unlink()
    (HOME / "link").symlink_to("file")


def _replace_home() -> None:
    HOME.rename("/etc/qemu-old")
    HOME.mkdir()
    Path("/etc/qemu-old/bridge.conf").rename(HOME / "bridge.conf")
    shutil.rmtree("/etc/qemu-old")


CHANGES: list[tuple[str, Callable[[], object]]] = [
    ("the list is edited", lambda: write("bridge.conf", "allow qc\n")),
    ("the list grows", lambda: _append(HOME / "bridge.conf")),
    ("an include is edited", lambda: write("file", "deny qa\n", mode=0o640, gid=61300)),
    ("a file is renamed over the list", lambda: _replace(HOME / "bridge.conf")),
    ("a file is renamed over an include", lambda: _replace(HOME / "d" / "file")),
    ("the list is deleted", partial(os.unlink, HOME / "bridge.conf")),
    ("an include is deleted", (HOME / "d" / "file").unlink),
    ("a missing include appears", partial(write, "missing", "")),
    ("a missing include appears further down", partial(write, "d/missing", "")),
    ("a file gets another mode", lambda: (HOME / "file").chmod(0o644)),
    ("a file gets another owner", lambda: os.chown(HOME / "file", 61234, 61300)),
    ("a file gets an ACL", lambda: world.run("setfacl", "-m", "u:61234:r", str(HOME / "file"))),
    ("a directory gets another mode", lambda: (HOME / "d").chmod(0o700)),
    ("a directory gets another owner", lambda: os.chown(HOME / "d", 61234, 0)),
    ("a directory gets an ACL", lambda: world.run("setfacl", "-m", "u:61234:-", str(HOME / "d"))),
    ("a directory is renamed", lambda: (HOME / "d").rename(HOME / "e")),
    ("the directory of all is replaced", _replace_home),
    ("the first list appears", _list_appears),
    ("a symlink leads elsewhere", _relink),
    ("a symlink has another owner", lambda: os.chown(HOME / "link", 61234, 0, follow_symlinks=False)),
    ("what a symlink leads to is edited", lambda: write("other", "deny qc\n")),
]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_a_change_that_may_count_is_seen(change: Callable[[], object], request: pytest.FixtureRequest) -> None:
    """Content, mode, owner, ACL, name, on a file or on the way to it: the snapshot is not current any more."""
    _plant()
    if request.node.name.endswith("[the first list appears]"):
        (HOME / "bridge.conf").rename(forest.SECOND_TOP)
    with closing(snapshot.take()) as taken:
        assert taken.is_current()
        change()
        assert not taken.is_current()


@pytest.mark.parametrize("where", [HOME, HOME / "d", Path("/etc"), Path("/etc/qemu-kvm")], ids=str)
def test_an_unrelated_change_beside_it_is_none(where: Path) -> None:
    """/etc changes all day long: a new file there, or one that goes, is no reason to read the policy anew."""
    _plant()
    with closing(snapshot.take()) as taken:
        for _ in range(3):
            stranger = where / "stranger"
            stranger.write_text("allow qa\n")
            assert taken.is_current()
            stranger.rename(where / "renamed")
            assert taken.is_current()
            (where / "renamed").unlink()
            assert taken.is_current()


def test_reading_is_no_change() -> None:
    """Neither our own reading nor anybody's makes the policy look new."""
    _plant()
    with closing(snapshot.take()) as taken:
        for path in HOME.rglob("*"):
            if path.is_file():
                path.read_bytes()
        os.listdir(HOME)
        assert taken.is_current()


def test_a_file_that_was_met_deep_down_is_followed_where_it_stands_high() -> None:
    """Only one caller may read the long chain to an include; the other has it directly, with all that is in it."""
    write("bridge.conf", "include c0\ninclude last\n")
    for number in range(17):
        write(f"c{number}", f"include c{number + 1}\n" if number < 16 else "include last\n", mode=0o640, gid=61300)
    write("last", "include rules\n")
    write("rules", "allow qa\n")
    with closing(snapshot.take()) as taken, judges([ALICE, BOB]) as both:
        for judge in both:
            judge.ask([b"qa"])
            try:
                found = verdict_of(taken.load_for(judge.caller), [b"qa"])
            except AccessListError as error:
                found = str(error)
            assert found == judge.answer()
        assert allows(taken, ALICE)


def test_an_include_of_one_user_takes_nothing_from_another() -> None:
    """A user who owns an include may fill it with thousands of lines; the others' rules stand."""
    write("bridge.conf", "include alice\ninclude bob\n")
    write("alice", "".join(f"include nowhere/{number}\n" for number in range(6000)), mode=0o400, uid=ALICE.uid)
    write("bob", "include more\n", mode=0o400, uid=BOB.uid)
    write("more", "allow qa\n")
    with closing(snapshot.take()) as taken:
        assert allows(taken, BOB)
        with pytest.raises(AccessListError):
            taken.load_for(ALICE)


def test_what_even_the_broker_may_not_read_refuses_whoever_could() -> None:
    """A deny must not get lost because the file lies where root's capabilities do not count."""
    write("bridge.conf", "allow qa\ninclude secret\n")
    write("secret", "deny qa\n", mode=0o640, gid=61300)
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)  # no capability either: as before a file system of NFS
            taken = Snapshot()
            assert allows(taken, ALICE), "who may not read it has no deny"
            try:
                taken.load_for(BOB)
            except AccessListError as error:
                os._exit(0 if "the broker itself may not read" in str(error) else 3)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o1755], ids=["sticky and shared", "shared", "sticky"])
@pytest.mark.parametrize("owner", [ALICE.uid, BOB.uid, 0])
def test_a_last_symlink_in_a_shared_directory_is_for_its_owner(
    mode: int, owner: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fs.protected_symlinks a link in /tmp leads only its owner; one in the middle of a path, everybody."""
    monkeypatch.setattr(walk, "_links_are_protected", lambda: True)
    write("bridge.conf", "include tmp/link\ninclude tmp/way/other\n")
    write("rules", "allow qa\n")
    write("other", "allow qb\n")
    (HOME / "tmp").mkdir()
    (HOME / "tmp").chmod(mode)
    (HOME / "tmp" / "link").symlink_to("../rules")
    (HOME / "tmp" / "way").symlink_to("..")
    for name in ("link", "way"):
        os.chown(HOME / "tmp" / name, owner, 0, follow_symlinks=False)
    with closing(snapshot.take()) as taken:
        for caller in (ALICE, BOB):
            is_led = mode != 0o1777 or owner in (0, caller.uid)
            assert (allows(taken, caller, b"qa"), allows(taken, caller, b"qb")) == (is_led, True)


# --- Mounts ------------------------------------------------------------------------------------


@contextmanager
def mounted(*words: str) -> Iterator[None]:
    """A mount, the last word is where, for the time of the block."""
    world.run("mount", *words)
    try:
        yield
    finally:
        world.run("umount", "--lazy", words[-1])  # what watches it holds it


MOUNTS = [
    pytest.param(["-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(HOME / "d")], id="over a directory on the way"),
    pytest.param(["-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(HOME)], id="over the directory of all"),
    pytest.param(["--bind", str(HOME / "other"), str(HOME / "file")], id="over an include"),
    pytest.param(["--bind", str(HOME / "other"), str(HOME / "bridge.conf")], id="over the list"),
]


@pytest.mark.parametrize("words", MOUNTS)
def test_a_mount_on_the_way_is_a_change(words: list[str]) -> None:
    """What is mounted over a directory or file hides it, and taking that away brings it back: both are seen."""
    _plant()
    with closing(snapshot.take()) as before:
        with mounted(*words):
            assert not before.is_current()
            with closing(snapshot.take()) as meanwhile:
                assert meanwhile.is_current()
                world.run("umount", "--lazy", words[-1])
                assert not meanwhile.is_current()
            world.run("mount", *words)
        assert before.is_current()


def test_a_mount_elsewhere_is_none(tmp_path: Path) -> None:
    """On a host with containers there are mounts all day long: they are no reason to read the policy anew."""
    _plant()
    (HOME / "e").mkdir()
    with closing(snapshot.take()) as taken:
        for where in (tmp_path, HOME / "e"):
            with mounted("-t", "tmpfs", "tmpfs", str(where)):
                assert taken.is_current()
            assert taken.is_current()


def test_a_path_is_followed_in_its_own_mount() -> None:
    """The same directory may be in two places, with other mounts in it, and other directories above it."""
    write("bridge.conf", "include d/inner/file\ninclude e/inner/file\ninclude d/../above\ninclude e/../above\n")
    for name in ("d", "e"):
        (HOME / name).mkdir()
    (HOME / "deep" / "there" / "inner").mkdir(parents=True)
    write("deep/there/inner/file", "allow qa\n")
    write("above", "allow qb\n")
    write("deep/above", "allow qc\n")
    with (
        mounted("--bind", str(HOME / "deep" / "there"), str(HOME / "d")),
        mounted("--bind", str(HOME / "deep" / "there"), str(HOME / "e")),
        mounted("-t", "tmpfs", "tmpfs", str(HOME / "d" / "inner")),
        judges([ALICE]) as (judge,),
        closing(snapshot.take()) as taken,
    ):
        judge.ask(forest.BRIDGES)
        verdict = judge.answer()
        assert verdict_of(taken.load_for(ALICE), forest.BRIDGES) == verdict
        assert [word.split()[0] for word in verdict] == ["allow", "allow", "deny"]
        assert taken.is_current()


@pytest.mark.parametrize("place", ["/dev", "/proc", "/sys"])
@pytest.mark.parametrize("path", ["{}/missing", "{}/null", "link/missing", "{}/../etc/hostname"])
def test_what_each_process_sees_differently_is_no_policy(place: str, path: str) -> None:
    """A file that only the broker does not find is no file to pass over: whoever gets so far is refused."""
    write("bridge.conf", f"allow qa\ninclude {path.format(place)}\n")
    (HOME / "link").symlink_to(place)
    with closing(snapshot.take()) as taken, pytest.raises(AccessListError, match=f"{place} is no place for"):
        taken.load_for(ALICE)


@pytest.mark.parametrize("is_file", [False, True], ids=["directory", "file"])
@pytest.mark.parametrize(
    "what", ["systemd-private-0-qbhelper.service-x/tmp", "systemd/inaccessible/dir", "host/inaccessible/dir"]
)
def test_what_systemd_hides_is_no_policy(tmp_path: Path, what: str, is_file: bool) -> None:
    """Under PrivateTmp=, ProtectHome=yes or InaccessiblePaths= the broker sees something else there: it refuses."""
    write("bridge.conf", "allow qa\ninclude hidden/file\n")
    write("closed", "allow qb\ninclude hidden/file\n", mode=0o640, gid=61300)
    (HOME / "hidden").mkdir()
    (tmp_path / what).mkdir(parents=True)
    hidden, hiding = HOME / "hidden", tmp_path / what
    if is_file:
        hidden, hiding = hidden / "file", hiding / "file"
        hidden.touch()
        hiding.touch()
    with closing(snapshot.take()) as taken:
        assert allows(taken, ALICE)
    with mounted("--bind", str(hiding), str(hidden)), closing(snapshot.take()) as taken:
        with pytest.raises(AccessListError, match="systemd hides it from the broker"):
            taken.load_for(ALICE)
        write("bridge.conf", "allow qa\ninclude closed\n")
        with closing(snapshot.take()) as another:
            assert allows(another, ALICE), "who does not get so far is not refused"
            with pytest.raises(AccessListError, match="systemd hides it"):
                another.load_for(BOB)


@pytest.mark.parametrize("options", ["nodev", "dev"])
def test_a_device_is_for_nobody_where_there_are_none(options: str) -> None:
    """On a file system mounted nodev nobody may open a device: it is passed over, and elsewhere it is a mistake."""
    write("bridge.conf", "allow qa\ninclude d/device\n")
    (HOME / "d").mkdir()
    with mounted("-t", "tmpfs", "-o", f"mode=0755,{options}", "tmpfs", str(HOME / "d")), judges([ALICE]) as (judge,):
        os.mknod(HOME / "d" / "device", 0o20666, os.makedev(1, 3))
        (HOME / "d" / "device").chmod(0o666)
        judge.ask([b"qa"])
        with closing(snapshot.take()) as taken:
            try:
                found = verdict_of(taken.load_for(ALICE), [b"qa"])
            except AccessListError as error:
                found = str(error)
        assert found == judge.answer()
        assert isinstance(found, str) == (options == "dev")


# --- What a user may write to --------------------------------------------------------------------


@contextmanager
def mute_fuse(where: Path, uid: int) -> Iterator[None]:
    """A FUSE file system of a user, open to all, that never answers: who looks at it waits for ever."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    options = f"fd={device},rootmode=40000,user_id={uid},group_id={uid},allow_other"
    command = ["mount", "-i", "-t", "fuse", "-o", options, "fuse", str(where)]
    try:
        subprocess.run(command, pass_fds=[device], check=True, timeout=60)
        yield
    finally:
        os.close(device)  # whoever waits meets an error then
        world.run("umount", "--lazy", str(where))


def test_a_file_system_of_a_users_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where FUSE is open to others (user_allow_other), its owner could stop the broker: it does not even look."""
    home = _plant_of_alice()
    _append(HOME / "bridge.conf")
    with closing(snapshot.take()) as taken:
        with mute_fuse(home, ALICE.uid):
            monkeypatch.setattr(snapshot, "SECONDS_TO_LAST", 1000)
            assert taken.is_current(), "a user may mount and unmount all the time"
            monkeypatch.setattr(snapshot, "SECONDS_TO_LAST", 0)
            assert not taken.is_current()
            with closing(snapshot.take()) as another, pytest.raises(AccessListError, match="on a FUSE file system"):
                another.load_for(BOB)
        assert taken.is_current()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot has lasted for as long as it has to, as soon as it is made."""
    monkeypatch.setattr(snapshot, "SECONDS_TO_LAST", 0)


def _plant_of_alice() -> Path:
    """Let Alice have an include, with includes of her own, and return the directory that is hers."""
    home = HOME / "alice"
    home.mkdir(exist_ok=True)
    write("bridge.conf", f"include {home}/mine\ninclude others\ninclude own\n")
    write("alice/mine", "include more\ninclude /etc/qemu/root\ninclude /etc/qemu/missing\n", uid=ALICE.uid)
    write("alice/more", "allow qa\n", uid=ALICE.uid)
    write("root", "allow qb\n")
    write("others", "allow qc\n", mode=0o664, gid=61300)
    write("own", "allow qc\n", uid=ALICE.uid)
    os.chown(home, ALICE.uid, ALICE.gid)
    return home


OF_ALICE: list[tuple[str, Callable[[], object]]] = [
    ("her include", lambda: _append(HOME / "alice" / "mine")),
    ("what it includes", lambda: _append(HOME / "alice" / "more")),
    ("a file is renamed over it", lambda: _replace(HOME / "alice" / "mine")),
    ("her directory", lambda: (HOME / "alice").chmod(0o700)),
    ("a file of hers beside root's", lambda: _append(HOME / "own")),
    ("a file that a group may write to", lambda: _append(HOME / "others")),
    ("a file of root's that only she includes", lambda: _append(HOME / "root")),
    ("a name that only she asks for", lambda: write("missing", "")),
]


@pytest.mark.parametrize("change", [change for _, change in OF_ALICE], ids=[name for name, _ in OF_ALICE])
def test_what_others_than_root_change_counts_a_little_later(
    change: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user may change what is theirs all the time: a snapshot lasts for its time, and then the change is seen."""
    _plant_of_alice()
    monkeypatch.setattr(snapshot, "SECONDS_TO_LAST", 1000)
    with closing(snapshot.take()) as taken:
        change()
        assert taken.is_current()
        monkeypatch.setattr(snapshot, "SECONDS_TO_LAST", 0)
        assert not taken.is_current()


def test_what_root_changes_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However young the snapshot is, and whatever users do to theirs meanwhile."""
    home = _plant_of_alice()
    monkeypatch.setattr(snapshot, "SECONDS_TO_LAST", 1000)
    (home / "link").symlink_to("/etc/qemu/both")
    write("both", "allow qa\n")
    with (HOME / "bridge.conf").open("a") as file:
        file.write(f"include {home}/link\ninclude both\n")
    changes: list[Callable[[], object]] = [
        lambda: _append(HOME / "bridge.conf"),
        lambda: _append(HOME / "both"),
        lambda: _replace(HOME / "own"),
        lambda: HOME.chmod(0o711),
        lambda: os.utime(HOME / "bridge.conf"),
        lambda: world.run("mount", "-t", "tmpfs", "tmpfs", str(HOME / "alice")),
        lambda: world.run("umount", "--lazy", str(HOME / "alice")),
    ]
    for change in changes:
        with closing(snapshot.take()) as taken:
            _append(HOME / "alice" / "mine")
            assert taken.is_current()
            change()
            assert not taken.is_current()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_snapshot_of_something_that_changes_right_now_is_soon_replaced(what: str) -> None:
    """A second change in the same tick of the clock would not show: so what changed in it may have changed again."""
    _plant_of_alice()
    time.sleep(watched.TICK)  # of the clock, for which there is nothing to wait
    begun = time.time()
    if what == "file":
        (HOME / "alice" / "more").write_text("allow qa\n")
    else:
        (HOME / "alice").chmod(0o701)
    with closing(Snapshot()) as taken:
        assert taken.settle(begun), "nobody waits for what others than root do"
        if what == "file":
            assert not taken.is_current()
        else:  # names can be looked up again, which files can't be read
            assert taken.is_current()
            write("alice/stranger", "", uid=ALICE.uid)
            assert taken.is_current()
            (HOME / "alice" / "mine").unlink()
            assert not taken.is_current()


def test_what_root_changes_right_now_is_read_anew_when_the_clock_has_ticked(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no change of root's is missed, even if the snapshot never has to be replaced for anything else."""
    _plant()
    begun = time.time()
    write("other", "allow qc\n")
    with closing(Snapshot()) as taken:
        assert not taken.settle(begun)
        assert not taken.is_current()
    with closing(snapshot.take()) as taken:
        assert taken.is_current()


def test_a_file_of_a_host_whose_clock_is_ahead_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change in the future, as on a file server, or before the clock was set back, is no reason to wait for it."""
    _plant()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    with closing(Snapshot()) as taken:
        assert taken.settle(time.time())
        assert taken.is_current()


def text_in(taken: Snapshot) -> int:
    """How many bytes a snapshot has read."""
    return sum(len(walked.source or b"") for walked in taken._walked.values())


def _many_files(home: Path) -> str:
    for number in range(300):
        (home / f"f{number}").write_bytes(b"#" * 4000 + b"\n")
    return "".join(f"include f{number}\n" for number in range(300))


def _large_files(home: Path) -> str:
    (home / "large").write_bytes((b"#" * 4000 + b"\n") * 250)
    return "".join(f"include {'./' * number}large\n" for number in range(100))


def _long_paths(home: Path) -> str:
    (home / "x").mkdir()
    return "".join(f"include {'x/../' * 800}{number}\n" for number in range(15))


def _long_links(home: Path) -> str:
    for number in range(40):
        (home / f"l{number}").symlink_to("./" * 2000 + f"l{number + 1}")
    return "".join(f"include {'./' * number}l0\n" for number in range(64))


def _long_way_to_it(home: Path) -> str:
    (home / "mine").rename(home / "real")
    (home / "mine").symlink_to("./" * 2000 + "real")
    home.chmod(0o700)  # else she would refuse others too, as with any mistake in a file that others may read
    return ""


def _what_bob_includes(home: Path) -> str:
    return f"include {home.parent}/bob\ninclude {home.parent}/bobs\n" + _many_files(home)


@pytest.mark.parametrize(
    "fill", [_many_files, _large_files, _long_paths, _long_links, _long_way_to_it, _what_bob_includes]
)
def test_what_a_user_includes_has_bounds_and_takes_nothing_from_others(fill: Callable[[Path], str]) -> None:
    """However much, and by ways however long: the user is refused, the rules of others stand, little is read."""
    home = _plant_of_alice()
    write("alice/mine", fill(home) or "allow qb\n", mode=0o600, uid=ALICE.uid)
    write("bob", "include bobs\n", uid=BOB.uid)
    write("bobs", "allow qa\n", uid=BOB.uid)
    write("bridge.conf", f"include {home}/mine\ninclude bob\n")
    with closing(snapshot.take()) as taken:
        assert allows(taken, BOB)
        with pytest.raises(AccessListError, match=r"too many includes on this host|larger than 65536 bytes"):
            taken.load_for(ALICE)
        assert text_in(taken) < walk.OTHERS_TEXT_MAX + 1000
        assert len([*taken._walker.watched]) < walk.OTHERS_STEPS_MAX


def test_callers_who_may_read_the_same_have_one_list_in_common() -> None:
    """Whoever may take any groups they like, as in a container, asks as thousands: that is no thousand lists."""
    write("bridge.conf", "allow qa\ninclude bob\n")
    write("bob", "allow qb\n", mode=0o640, gid=61300)
    with closing(snapshot.take()) as taken:
        lists = {id(taken.load_for(Caller(61234, 61234, tuple(range(number))))) for number in range(50)}
        assert len(lists) == 1
        assert taken.load_for(BOB) is not taken.load_for(ALICE)


def test_what_root_includes_may_be_much(at_once: None) -> None:
    """A list for each of thousands of users, and a large one, are as welcome as ever."""
    (HOME / "users").mkdir()
    for number in range(3000):
        (HOME / "users" / str(number)).write_text("deny qb\n")
    write("large", "allow qa\n" * 50000)
    write("bridge.conf", "".join(f"include users/{number}\n" for number in range(200)) + "include large\n")
    with closing(snapshot.take()) as taken:
        assert allows(taken, ALICE)
    for number in range(3000):
        os.chown(HOME / "users" / str(number), number, number)
        (HOME / "users" / str(number)).chmod(0o600)
    write("bridge.conf", "allow qa\n" + "".join(f"include users/{number}\n" for number in range(3000)))
    with closing(snapshot.take()) as taken:
        assert allows(taken, Caller(17, 17, ()))
        assert not taken.load_for(Caller(17, 17, ())).decide(b"qb").allowed
