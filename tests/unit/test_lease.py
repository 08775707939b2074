# SPDX-License-Identifier: GPL-2.0-or-later
"""A lease in the alias of its interface: written in one way, and known only by exactly that."""

import pytest

from qbhelper.lease import Lease, parse_alias

LEASE = Lease("0123456789abcdef", 61234, 77, 1700000000, 1, None)
ALIAS = b"qbhelper lease=0123456789abcdef uid=61234 pid=77 since=1700000000"


def test_a_lease_is_written_as_one_line() -> None:
    """Id, uid, pid and time, for people and for programs."""
    assert LEASE.alias() == ALIAS


@pytest.mark.parametrize(
    "lease",
    [
        LEASE,
        Lease("f" * 16, 0, 0, 0, 8, None),
        Lease("0" * 16, 2**32 - 1, 2**22, 253402300799, 3, "0badcafe"),
        Lease("0" * 16, 2**32 - 1, 2**22, 253402300799, 253, "0badcafe", "00c0ffee", persistent=True),
        LEASE.ended(),
        Lease("0" * 16, 2**32 - 1, 2**22, 253402300799, 253, "0badcafe", "00c0ffee", persistent=True).ended(),
        Lease("0" * 16, 0, 0, 0, 1, None, vhost=True),
        Lease(
            "0" * 16, 2**32 - 1, 2**32 - 1, 10**12 - 1, 253, "0badcafe", "00c0ffee", persistent=True, vhost=True
        ).ended(),
    ],
    ids=str,
)
def test_a_lease_is_read_as_it_was_written(lease: Lease) -> None:
    """Also that of root, of a caller whose pid is not known, and the last of uids."""
    read = parse_alias(lease.alias())
    assert read is not None
    for field in Lease.__slots__:
        assert getattr(read, field) == getattr(lease, field)
    assert lease.alias().startswith(b"qbhelper lease=")
    assert len(lease.alias()) < 256  # IFALIASZ


@pytest.mark.parametrize(
    "alias",
    [
        b"",
        b"uplink to the rack",
        b"qbhelper lease=",
        ALIAS[:-1] + b"x",
        ALIAS + b" ",
        ALIAS + b"\n",
        ALIAS + b"\0",
        b" " + ALIAS,
        b"x" + ALIAS,
        ALIAS + ALIAS,
        ALIAS.upper(),
        ALIAS.replace(b"abcdef", b"ABCDEF"),
        ALIAS.replace(b"abcdef", b"abcde"),
        ALIAS.replace(b"abcdef", b"abcdef0"),
        ALIAS.replace(b"uid=61234", b"uid="),
        ALIAS.replace(b"uid=61234", b"uid=-1"),
        ALIAS.replace(b"uid=61234", b"uid=" + b"1" * 11),
        ALIAS.replace(b"uid=61234", b"uid=\xd9\xa1"),
        ALIAS.replace(b" pid=77", b""),
        ALIAS.replace(b" ", b"  "),
        ALIAS + b" queues=0",
        ALIAS + b" queues=1",
        ALIAS + b" queues=-2",
        ALIAS + b" queues=02",
        ALIAS + b" rule=0badcafe queues=2",
        ALIAS + b" settings=",
        ALIAS + b" settings=0BADCAFE",
        ALIAS + b" settings=0badcafe rule=0badcafe",
        ALIAS + b" persistent=0",
        ALIAS + b" persistent",
        ALIAS + b" revoked=0",
        ALIAS + b" vhost=0",
        ALIAS + b" vhost=1 persistent=1",
        ALIAS + b" revoked=1 persistent=1",
        ALIAS + b" rule=",
        ALIAS + b" rule=0badcaf",
        ALIAS + b" rule=0BADCAFE",
        ALIAS + b" rule=0badcafe rule=0badcafe",
        ALIAS + b" rule=0badcafe x=y",
    ],
)
def test_what_only_looks_like_a_lease_is_none(alias: bytes) -> None:
    """Another program's interface is not ours to delete, whatever its alias begins with."""
    assert parse_alias(alias) is None
