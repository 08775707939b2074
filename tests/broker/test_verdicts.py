# SPDX-License-Identifier: GPL-2.0-or-later
"""The broker, which has read everything, says of each caller what the kernel would have let that caller read."""

import os
import subprocess
from collections.abc import Iterator
from random import Random

import pytest

from qbhelper.broker.snapshot import Snapshot
from qbhelper.errors import AccessListError
from qbhelper.request import Caller
from tests.broker import forest
from tests.broker.judge import Verdict, judges, verdict_of

pytestmark = pytest.mark.needs_root

CALLERS = (
    Caller(61234, 61234, ()),
    Caller(61234, 61300, (61234, 61301)),
    Caller(61235, 61235, (61300,)),
    Caller(61235, 61301, (0, 61300, 65534)),
    Caller(65534, 65534, ()),
    Caller(0, 0, (0,)),
)
TREES = 600
"""In each of the tests with a seed."""


@pytest.fixture(autouse=True)
def _cleared() -> Iterator[None]:
    yield
    forest.clear()


def verdict_of_broker(snapshot: Snapshot, caller: Caller) -> Verdict:
    """Return what a broker with this snapshot says to a caller."""
    try:
        return verdict_of(snapshot.load_for(caller), forest.BRIDGES)
    except AccessListError as error:
        return str(error)


def picture() -> str:
    """Return the tree as a person wants to see it."""
    listing = subprocess.run(["ls", "-lRan", "/etc/qemu", "/etc/qemu-kvm"], capture_output=True, text=True, check=False)
    texts = subprocess.run(
        ["find", "/etc/qemu", "/etc/qemu-kvm", "-type", "f", "-exec", "head", "-v", "-c", "2000", "{}", "+"],
        capture_output=True,
        text=True,
        check=False,
    )
    rights = subprocess.run(["getfacl", "-Rnp", "/etc/qemu"], capture_output=True, text=True, check=False)
    return listing.stdout + texts.stdout + rights.stdout


@pytest.mark.parametrize("seed", range(8))
def test_the_verdict_is_that_of_a_process_of_the_caller(seed: int) -> None:
    """Modes, owners, groups, ACLs, symlinks, loops, detours: for each tree and caller the same words, line and all."""
    forester = forest.Forester(Random(seed))
    granted = refused = 0
    with judges(CALLERS) as all_judges:
        for number in range(TREES):
            forester.plant()
            snapshot = Snapshot()
            for judge in all_judges:
                judge.ask(forest.BRIDGES)
            for judge in all_judges:
                expected, found = judge.answer(), verdict_of_broker(snapshot, judge.caller)
                who = f"uid {judge.caller.uid} gid {judge.caller.gid} groups {judge.caller.groups}"
                assert found == expected, f"seed {seed}, tree {number}, {who}:\n{picture()}"
                granted += "allow" in str(found)
                refused += isinstance(found, str)
            assert snapshot.is_current(), f"seed {seed}, tree {number}: nothing has changed"
            snapshot.close()
    # Trees in which everybody is refused everything would prove nothing.
    assert min(granted, refused) > TREES


def test_nothing_is_left_open() -> None:
    """A snapshot that is closed has closed every file that it watched."""
    forest.Forester(Random(1)).plant()
    before = os.listdir("/proc/self/fd")
    Snapshot().close()
    assert os.listdir("/proc/self/fd") == before
