# SPDX-License-Identifier: GPL-2.0-or-later
"""What the broker has read: which changes it sees, and where its verdicts could differ but must not."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from qbhelper.broker import snapshot
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
    monkeypatch.setattr(snapshot, "links_are_protected", lambda: True)
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
