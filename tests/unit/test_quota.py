# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interfaces count against a quota; tests/kernel/test_quota.py has callers that race for real."""

from contextlib import AbstractContextManager, nullcontext

import pytest

from qbhelper import quota
from qbhelper.errors import Busy, QuotaExceeded
from qbhelper.kernel.message import Link
from qbhelper.lease import Lease
from qbhelper.policy.decision import Decision, Place
from qbhelper.policy.port import Terms

LEASE = Lease("0123456789abcdef", 61234, 77, 1700000000, 1, "0badcafe")


def tap(index: int, name: bytes) -> Link:
    """A TAP with a lease of the same user by the same rule."""
    return Link(
        index=index,
        name=name,
        alias=LEASE.alias(),
        master=0,
        kind=b"tun",
        mtu=1500,
        up=False,
        owner=0,
        group=None,
        persistent=False,
        address=b"\xfe\0\0\0\0\1",
        queues=1,
        has_carrier=True,
    )


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        (tap(6, b"tap0"), pytest.raises(QuotaExceeded)),
        (tap(2**31 - 1, b"tap0"), pytest.raises(QuotaExceeded)),
        (tap(6, b"~ef32.1"), pytest.raises(Busy)),
        (tap(8, b"~ef32.1"), nullcontext()),
    ],
    ids=["port", "port of a higher index", "earlier claim", "later claim"],
)
def test_a_port_counts_by_whatever_index_and_a_claim_by_a_lower_one(
    other: Link, outcome: AbstractContextManager[object]
) -> None:
    """Indices begin again after 2 ** 31 interfaces, and ports from before that are still ports."""
    claim = tap(7, b"~ef32.0")
    decision = Decision(True, Place("policy.toml", 1), Terms(LEASE.rule, max_ports=1))
    with outcome:
        quota.check(claim, LEASE, decision, [claim, other])
