# SPDX-License-Identifier: GPL-2.0-or-later
"""Includes: judged by what the caller may read, bounded, and never a way to lose a deny."""

import errno
import os
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbhelper.errors import AccessListError
from qbhelper.policy.access_list import DEPTH_MAX, FILES_MAX, AccessList, load

TOP = b"/etc/qemu/bridge.conf"

Files = Mapping[bytes, bytes | OSError]
"""Files by path: the text of each, or how opening it fails."""


def load_from(files: Files, top: bytes = TOP) -> AccessList:
    """Load `top` where these files exist and no other."""

    def read(path: bytes) -> bytes:
        if path not in files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        text = files[path]
        if isinstance(text, OSError):
            raise text
        return text

    return load(top, read)


def failure(number: int) -> OSError:
    """What open(2) raises with this errno."""
    return OSError(number, os.strerror(number))


@given(
    st.lists(st.sampled_from([b"allow br0", b"deny br0", b"allow all", b"deny br1", b"#"]), max_size=6),
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_an_include_is_as_good_as_its_lines(lines: list[bytes], start: int, end: int) -> None:
    """Moving lines into an included file changes no verdict."""
    start, end = sorted((start, end))
    inside = b"\n".join(lines[start:end])
    outside = b"\n".join([*lines[:start], b"include more.conf", *lines[end:]])
    split = load_from({TOP: outside, b"/etc/qemu/more.conf": inside})
    whole = load_from({TOP: b"\n".join(lines)})
    for name in (b"br0", b"br1", b"br2"):
        assert split.decide(name).allowed == whole.decide(name).allowed


def test_a_relative_include_lies_beside_the_including_file() -> None:
    """The caller's working directory plays no part: each file's includes start where it lies."""
    policy = load_from(
        {
            TOP: b"include users/alice.conf",
            b"/etc/qemu/users/alice.conf": b"include bob.conf",
            b"/etc/qemu/users/bob.conf": b"allow br7",
        }
    )
    assert str(policy.decide(b"br7").place) == "/etc/qemu/users/bob.conf:1"


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM])
def test_an_include_that_is_not_for_this_caller_is_skipped(number: int) -> None:
    """One that is missing, or that the caller may not read, says nothing: so per-user files work."""
    policy = load_from({TOP: b"include x\nallow br0", b"/etc/qemu/x": failure(number)})
    assert policy.decide(b"br0").allowed


@pytest.mark.parametrize(
    "number", [errno.EINVAL, errno.EIO, errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG, errno.EFBIG]
)
def test_an_include_that_fails_otherwise_refuses(number: int) -> None:
    """A deny may stand in a file that can't be read, so nothing is granted, and the line is named."""
    with pytest.raises(AccessListError) as caught:
        load_from({TOP: b"allow br0\ninclude x", b"/etc/qemu/x": failure(number)})
    assert caught.value.what == f"/etc/qemu/bridge.conf:2: include `/etc/qemu/x': {os.strerror(number)}"


def test_an_error_inside_an_include_refuses_and_is_placed_there() -> None:
    """The original goes on without the rest of that file, and so without its deny; this one does not."""
    with pytest.raises(AccessListError, match=r"^/etc/qemu/x:2: Invalid config line: `oops'"):
        load_from({TOP: b"allow br0\ninclude x", b"/etc/qemu/x": b"allow br1\noops\ndeny br0"})


def test_the_access_list_itself_must_be_readable() -> None:
    """Only includes are skipped: the first file's own failure is the caller's to see."""
    for number in (errno.ENOENT, errno.EACCES, errno.EISDIR):
        with pytest.raises(OSError, match=os.strerror(number)):
            load_from({TOP: failure(number)})


@pytest.mark.parametrize(
    "files",
    [
        {TOP: b"allow br0\ninclude bridge.conf\ndeny br1"},
        {TOP: b"include a\ndeny br1", b"/etc/qemu/a": b"include b\nallow br0", b"/etc/qemu/b": b"include bridge.conf"},
    ],
    ids=["itself", "in a ring"],
)
def test_a_loop_of_includes_ends_and_loses_nothing(files: Files) -> None:
    """A file that is met again adds nothing, and each rule on the way counts."""
    policy = load_from(files)
    assert policy.decide(b"br0").allowed
    assert str(policy.decide(b"br1").place).startswith("/etc/qemu/bridge.conf:")


def chain(length: int) -> Files:
    """An access list and `length` files, each included by the one before it."""
    return {b"/%d" % step: b"include /%d\nallow br0" % (step + 1) for step in range(length)} | {
        b"/%d" % length: b"deny br1"
    }


def test_the_depth_of_includes_is_bounded() -> None:
    """DEPTH_MAX files below the access list are read, and one more is refused where it is included."""
    assert load_from(chain(DEPTH_MAX), b"/0").decide(b"br0").allowed
    with pytest.raises(AccessListError, match=rf"^/{DEPTH_MAX}:1: too many includes"):
        load_from(chain(DEPTH_MAX + 1), b"/0")


def test_the_number_of_includes_is_bounded() -> None:
    """FILES_MAX files in all are read, and one more is refused where it is included."""
    files: Files = {b"/etc/qemu/%d" % number: b"allow br%d" % number for number in range(FILES_MAX)}
    includes = [b"include %d" % n for n in range(FILES_MAX)]
    assert load_from({TOP: b"\n".join(includes[:-1]), **files}).decide(b"br3").allowed
    with pytest.raises(AccessListError, match=rf"^/etc/qemu/bridge\.conf:{FILES_MAX}: too many includes"):
        load_from({TOP: b"\n".join(includes), **files})


def test_what_a_terminal_would_obey_is_escaped() -> None:
    """A file name with control characters is shown, and never acted upon."""
    with pytest.raises(AccessListError) as caught:
        load_from({TOP: b"include \x1b]0;x\x07", b"/etc/qemu/\x1b]0;x\x07": b"bad"})
    assert str(caught.value).startswith(r"/etc/qemu/\x1b]0;x\x07:1: ")
