# SPDX-License-Identifier: GPL-2.0-or-later
"""An access list with its includes, as the administrator sees it: everything in it, and everything that is wrong."""

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbhelper.ctl import tree
from qbhelper.ctl.tree import ListFile, Tree
from qbhelper.errors import AccessListError, Problem, printable
from qbhelper.policy import access_list
from tests.support import world

lines = st.sampled_from(
    [
        b"allow br0",
        b"deny all",
        b"include x.conf",
        b"# x",
        b"",
        b" allow\tbr0 ",
        b"alow br0",
        b"deny",
        b"allow " + b"n" * 16,
        b"include ",
        b"deny br0 # x",
        b"allow br0\0",
        b"#" * 5000,
        b"\xff \xff",
    ]
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that everybody can read."""
    here = world.WORLD / "lists"
    here.mkdir()
    here.chmod(0o755)
    yield here
    shutil.rmtree(here)


def write(path: Path, text: str, mode: int = 0o644) -> bytes:
    """Write a file; returns its path."""
    path.write_text(text)
    path.chmod(mode)
    return os.fsencode(path)


def notes(found: list[Problem], directory: Path) -> list[str]:
    """Problems as they are told, without the directory."""
    return [str(problem).replace(f"{directory}/", "") for problem in found]


@given(st.lists(lines, max_size=5))
def test_a_file_is_wrong_if_and_only_if_it_refuses_callers(text: list[bytes]) -> None:
    """The same lines are rules, and the first that is told is the one that callers are told of."""
    source = b"\n".join(text)
    file = ListFile("list", source)
    statements: list[access_list.Rule | access_list.Include] = []
    told = None
    try:
        statements += access_list.parse(source, "list")
    except AccessListError as error:
        told = error.what
    first = file.problems[0] if file.problems else None
    assert told == (f"list:{first.line}: {first.what}" if first else None)
    if told:
        return
    found = [(rule.allow, rule.bridge, str(rule.place)) for rule in file.rules]
    rules = [one for one in statements if isinstance(one, access_list.Rule)]
    assert found == [(rule.allow, rule.bridge, str(rule.place)) for rule in rules]
    includes = [one for one in statements if isinstance(one, access_list.Include)]
    assert [(one.path, str(one.place)) for one in file.includes] == [(one.path, str(one.place)) for one in includes]


@pytest.mark.needs_root
def test_all_that_is_wrong_is_told_at_once(directory: Path) -> None:
    """Of every line of every file, with what to write instead."""
    top = write(directory / "top", "alow br0\ninclude sub\nallow\ndeny br0 # why\ninclude .\ninclude gone\n")
    write(directory / "sub", "inklude x\nallow br1\n")
    found = Tree(top)
    argument = "one word and one argument on a line, as `allow br0'; a comment has a line of its own"
    assert notes(found.problems, directory) == [
        "top:1: Unknown command `alow'; did you mean `allow'?",
        f"top:3: Invalid config line: `allow'; {argument}",
        f"top:4: deny of `br0 # why', which can't be the name of a bridge; {argument}",
        "sub:1: Unknown command `inklude'; did you mean `include'?",
        "top:5: include `.': not a regular file; an include has to be a regular file of at most 1 MiB",
    ]
    assert notes(found.missing, directory) == [
        "top:6: include `gone': No such file or directory; it is passed over until it is there"
    ]
    assert [file.path for file in found.files] == [printable(top), f"{directory}/sub"]


@pytest.mark.needs_root
def test_files_that_include_each_other_are_met_once(directory: Path) -> None:
    """Loops end, and so do files that many include."""
    top = write(directory / "top", "include a\ninclude b\ninclude ./a\nallow br0\n")
    write(directory / "a", "include b\ninclude top\ninclude a\nallow br1\n")
    write(directory / "b", "include a\ninclude .//top\nallow br2\n")
    found = Tree(top)
    assert found.problems == []
    assert sorted(rule.bridge or b"" for rule in found.rules) == [b"br0", b"br1", b"br2"]
    assert {str(file.who()) for file in found.files} == {"everyone"}


@pytest.mark.parametrize("depth", [access_list.DEPTH_MAX, access_list.DEPTH_MAX + 1])
@pytest.mark.needs_root
def test_what_is_too_deep_for_callers_is_wrong(directory: Path, depth: int) -> None:
    """The bounds are those that callers meet."""
    for number in range(depth):
        write(directory / str(number), f"include {number + 1}\n")
    write(directory / str(depth), "allow br0\n")
    top = os.fsencode(directory / "0")
    is_refused = False
    try:
        access_list.load(top, lambda path: Path(os.fsdecode(path)).read_bytes())
    except AccessListError:
        is_refused = True
    found = Tree(top)
    assert bool(found.problems) is is_refused is (depth > access_list.DEPTH_MAX)
    if is_refused:
        assert notes(found.problems, directory) == [
            "16:1: too many includes; include fewer files, or from fewer places"
        ]


@pytest.mark.needs_root
def test_a_path_that_is_too_long_for_callers_is_wrong(directory: Path) -> None:
    """However short it would be without its detours."""
    write(directory / "a", "allow br0\n")
    top = write(directory / "top", f"include {'./' * 2040}a\n")
    [problem] = Tree(top).problems
    assert problem.what.endswith("/a': File name too long")
    assert problem.line == 1


@pytest.mark.needs_root
def test_includes_without_end_are_wrong(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither their number nor the ways between them keep anybody waiting."""
    monkeypatch.setattr(tree, "STEPS_MAX", 3)
    top = write(directory / "top", "include a\ninclude b\ninclude c\ninclude d\n")
    assert notes(Tree(top).problems, directory) == [
        "top:4: too many includes; include fewer files, or from fewer places"
    ]
    monkeypatch.setattr(access_list, "INCLUDES_MAX", 3)
    assert "top: more than 3 includes in all" in notes(Tree(top).problems, directory)[-1]


@pytest.mark.needs_root
def test_every_way_to_a_file_counts(directory: Path) -> None:
    """Who can read one of the files that include it can come to it."""
    top = write(directory / "top", "include a\ninclude b\n")
    write(directory / "a", "include c\n", 0o640)
    write(directory / "b", "include c\n", 0o640)
    write(directory / "c", "allow br0\n")
    os.chown(directory / "a", 0, 61300)
    os.chown(directory / "b", 0, 61301)
    found = {file.path.rpartition("/")[2]: str(file.who()) for file in Tree(top).files}
    assert found == {
        "top": "everyone",
        "a": "users 0 or groups 61300",
        "b": "users 0 or groups 61301",
        "c": "users 0 or groups 61300-61301",
    }


@pytest.mark.needs_root
def test_a_list_that_is_not_there_is_an_error(directory: Path) -> None:
    """As reading any file is."""
    with pytest.raises(FileNotFoundError):
        Tree(os.fsencode(directory / "gone"))


@pytest.mark.needs_root
def test_only_regular_files_are_opened(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root looks at lists of users, and opening a device can do more than reading it."""
    os.mkfifo(directory / "fifo")
    os.mknod(directory / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "socket"))
    top = write(directory / "top", "include fifo\ninclude null\ninclude socket\n")
    opened = []
    really_open = os.open

    def note(path: str | bytes, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        fd = really_open(path, flags, *rest, dir_fd=dir_fd)
        if not flags & os.O_PATH:
            opened.append(os.readlink(f"/proc/self/fd/{fd}"))
        return fd

    monkeypatch.setattr(os, "open", note)
    found = Tree(top)
    monkeypatch.undo()
    assert len(found.problems) == 3
    words = ("not a regular file", "No such device or address")  # the second is what open(2) says of a socket
    assert all(problem.what.endswith(words) for problem in found.problems)
    assert [path for path in opened if not path.endswith("/mountinfo")] == [printable(top)]


@pytest.mark.needs_root
def test_nothing_is_left_open(directory: Path) -> None:
    """However many files were looked at."""
    top = write(directory / "top", "include a\ninclude gone\ninclude .\n")
    write(directory / "a", "allow br0\n")
    before = os.listdir("/proc/self/fd")
    Tree(top)
    assert os.listdir("/proc/self/fd") == before
