# SPDX-License-Identifier: GPL-2.0-or-later
"""Could this caller read that file?  The rule of acl(5), entry by entry, without any file."""

import errno
import os
import struct

import pytest

from qbhelper.broker import permission
from qbhelper.broker.permission import READ, SEARCH, Entry, Gate
from qbhelper.request import Caller

OWNER, GROUP, OTHER = 1000, 2000, 3000
USER_OBJ, USER, GROUP_OBJ, NAMED_GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

CALLERS = {
    "owner": Caller(OWNER, OWNER, ()),
    "owner in the group": Caller(OWNER, GROUP, ()),
    "gid": Caller(OTHER, GROUP, ()),
    "supplementary": Caller(OTHER, OTHER, (7, GROUP)),
    "other": Caller(OTHER, OTHER, (7, 8)),
    "root": Caller(0, 0, (0,)),
}


@pytest.mark.parametrize("want", [READ, SEARCH])
@pytest.mark.parametrize("who", CALLERS)
@pytest.mark.parametrize("mode", [shift * bits for shift in (1, 8, 64) for bits in (1, 2, 4, 5, 7)])
def test_the_first_class_that_fits_decides(who: str, mode: int, want: int) -> None:
    """The owner has the owner's bits, a member the group's, all others the others': and root is nobody special."""
    shift = {"owner": 6, "owner in the group": 6, "gid": 3, "supplementary": 3}.get(who, 0)
    assert Gate(want, mode, OWNER, GROUP, ()).lets_pass(CALLERS[who]) == bool(mode >> shift & want)


def acl(
    *entries: tuple[int, int, int], user: int = 7, group: int = 0, mask: int = 7, others: int = 0
) -> tuple[Entry, ...]:
    """Return an ACL with these named entries, in the kernel's order."""
    named = [Entry(*entry) for entry in entries]
    return (
        Entry(USER_OBJ, user, -1),
        *(entry for entry in named if entry.tag == USER),
        Entry(GROUP_OBJ, group, -1),
        *(entry for entry in named if entry.tag == NAMED_GROUP),
        Entry(MASK, mask, -1),
        Entry(OTHERS, others, -1),
    )


@pytest.mark.parametrize(
    ("entries", "who", "passes"),
    [
        pytest.param(acl((USER, 4, OTHER)), "other", True, id="a named user"),
        pytest.param(acl((USER, 4, OTHER), mask=3), "other", False, id="a named user, masked"),
        pytest.param(acl((USER, 0, OTHER), others=7), "other", False, id="a named user without, others with"),
        pytest.param(acl((USER, 0, OTHER), group=7), "gid", False, id="a named user without, in a group with"),
        pytest.param(acl((USER, 7, OWNER)), "owner", True, id="the owner by the mode"),
        pytest.param(acl(group=4), "gid", True, id="the group"),
        pytest.param(acl(group=4), "supplementary", True, id="the group, supplementary"),
        pytest.param(acl(group=4, mask=1), "gid", False, id="the group, masked"),
        pytest.param(acl(group=0, others=7), "gid", False, id="the group without, others with"),
        pytest.param(acl((NAMED_GROUP, 4, 8)), "other", True, id="a named group"),
        pytest.param(acl((NAMED_GROUP, 0, 7), (NAMED_GROUP, 4, 8)), "other", True, id="two groups, one with"),
        pytest.param(acl((NAMED_GROUP, 0, 7), others=7), "other", False, id="a named group without, others with"),
        pytest.param(acl((NAMED_GROUP, 4, 9), others=4), "other", True, id="a group they are not in, others with"),
        pytest.param(acl(others=4, mask=1), "other", True, id="the mask is not for others"),
        pytest.param(acl((USER, 4, 0)), "root", True, id="root by name"),
        pytest.param(acl((USER, 4, OTHER)), "root", False, id="root is not special"),
    ],
)
def test_an_acl_is_judged_as_the_kernel_does(entries: tuple[Entry, ...], who: str, passes: bool) -> None:
    """Owner, named users, then any group that grants, then others; the mask bounds all but owner and others."""
    mask = next(entry.bits for entry in entries if entry.tag == MASK)
    others = entries[-1].bits
    assert Gate(READ, 0o700 | mask << 3 | others, OWNER, GROUP, entries).lets_pass(CALLERS[who]) == passes


def test_an_empty_mask_has_the_kernel_pass_over_the_acl() -> None:
    """With no group bit in the mode the ACL is not looked at: a named user is then one of the others."""
    entries = acl((USER, 7, OTHER), mask=0, others=4)
    assert Gate(READ, 0o704, OWNER, GROUP, entries).lets_pass(CALLERS["other"])
    assert not Gate(READ, 0o704, OWNER, GROUP, entries).lets_pass(CALLERS["gid"])


@pytest.mark.parametrize("raw", [b"\1\0\0\0", b"\2\0\0\0" + bytes(7), struct.pack("<I", 3) + bytes(8)], ids=repr)
def test_an_acl_of_an_unknown_form_is_an_error(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be understood must not be taken for a file without an ACL."""
    monkeypatch.setattr(os, "getxattr", lambda *_: raw)
    with pytest.raises(OSError, match="an ACL of a version that is not known"):
        permission.gate(0, READ)


@pytest.mark.parametrize("number", [errno.ENODATA, errno.EOPNOTSUPP])
def test_a_file_without_an_acl_has_none(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most files, and all of a file system that knows no ACL."""

    def none(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "getxattr", none)
    assert permission.gate(0, READ).acl == ()
