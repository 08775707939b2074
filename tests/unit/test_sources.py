# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a policy file: regular files only, of a bounded size, and never a wait."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbhelper import sources
from qbhelper.errors import AccessListError


@pytest.fixture(autouse=True)
def no_wait() -> Iterator[None]:
    """A test here that waits has failed, and shall not keep the others waiting."""

    def give_up(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def in_bytes(path: Path) -> bytes:
    """A path as the sources take it."""
    return os.fsencode(path)


def open_fds() -> int:
    """How many fds this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """The text is the file's, byte by byte."""
    path = tmp_path / "list"
    path.write_bytes(b"allow br0\n\0\xff")
    assert sources.read_source(in_bytes(path)) == b"allow br0\n\0\xff"


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    """A file without a byte is a file, and says nothing."""
    (tmp_path / "empty").touch()
    assert sources.read_source(in_bytes(tmp_path / "empty")) == b""


def test_the_size_is_bounded(tmp_path: Path) -> None:
    """SIZE_MAX bytes are read, one more is refused; so is a file that has no end."""
    file = tmp_path / "file"
    file.write_bytes(b"#" * sources.SIZE_MAX)
    assert len(sources.read_source(in_bytes(file))) == sources.SIZE_MAX
    with file.open("ab") as more:
        more.write(b"#")
    with pytest.raises(OSError, match="larger than"):
        sources.read_source(in_bytes(file))
    os.truncate(file, 1 << 40)
    with pytest.raises(OSError, match="larger than"):
        sources.read_source(in_bytes(file))


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "endless device"])
def test_only_a_regular_file_is_read(tmp_path: Path, kind: str) -> None:
    """Anything else is refused at once, also a FIFO that nobody writes to."""
    path = tmp_path / "thing"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/null" if kind == "device" else "/dev/zero")
    before = open_fds()
    with pytest.raises(OSError, match="not a regular file"):
        sources.read_source(in_bytes(path))
    assert open_fds() == before


def test_a_socket_is_refused(tmp_path: Path) -> None:
    """A Unix socket can't be opened, and that is an OSError like any other."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device or address"):
            sources.read_source(in_bytes(tmp_path / "socket"))


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    """No file, a path through a file, and a ring of links are the OSErrors that open(2) has for them."""
    with pytest.raises(FileNotFoundError):
        sources.read_source(in_bytes(tmp_path / "nothing"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sources.read_source(in_bytes(tmp_path / "file" / "below"))
    (tmp_path / "ring").symlink_to("ring")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        sources.read_source(in_bytes(tmp_path / "ring"))


@pytest.fixture
def access_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two places for an access list, as distributions have two, with nothing there."""
    places = (tmp_path / "qemu", tmp_path / "qemu-kvm")
    monkeypatch.setattr(sources, "ACCESS_LISTS", tuple(in_bytes(place) for place in places))
    return places


def test_the_first_access_list_that_exists_counts(access_lists: tuple[Path, Path]) -> None:
    """The second place is looked at only where the first has no file, and they never mix."""
    first, second = access_lists
    second.write_text("allow br2\n")
    assert sources.load_access_list().decide(b"br2").allowed
    first.write_text("allow br1\n")
    policy = sources.load_access_list()
    assert policy.decide(b"br1").allowed
    assert not policy.decide(b"br2").allowed


@pytest.mark.parametrize("text", [None, "oops\n", "include ring\n"], ids=["directory", "error", "bad include"])
def test_a_bad_access_list_does_not_fall_through(access_lists: tuple[Path, Path], text: str | None) -> None:
    """A first file that is there and can't be read completely refuses, whatever the second says."""
    first, second = access_lists
    second.write_text("allow all\n")
    (first.parent / "ring").symlink_to("ring")
    if text is None:
        first.mkdir()
    else:
        first.write_text(text)
    with pytest.raises(AccessListError, match=rf"^failed to parse default acl file `{first}': "):
        sources.load_access_list()


def test_without_an_access_list_the_remedy_is_to_write_one(access_lists: tuple[Path, Path]) -> None:
    """Where no file is, the message names the usual place and the line to write."""
    with pytest.raises(AccessListError) as caught:
        sources.load_access_list()
    assert caught.value.what == f"failed to parse default acl file `{access_lists[0]}': No such file or directory"
    assert "allow br0" in caught.value.remedy
