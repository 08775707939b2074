# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl import` keeps every verdict: the policy that it prints says what the kernel let each caller read."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from qbhelper.accounts import HostAccounts
from qbhelper.ctl import tree
from qbhelper.ctl.importing import NotToBeSaid, imported
from qbhelper.policy.rules import Policy
from qbhelper.request import Caller
from tests.broker import forest
from tests.broker.judge import Judge, Verdict, judges
from tests.broker.test_verdicts import picture
from tests.support.policies import TODAY, policy_of

pytestmark = pytest.mark.needs_root

CALLERS = (
    Caller(61234, 61234, ()),
    Caller(61234, 61300, (61234, 61301)),
    Caller(61235, 61235, (61300,)),
    Caller(61235, 61301, (0, 61300, 65534)),
    Caller(61236, 61236, ()),
    Caller(61236, 61300, (61301,)),
    Caller(65534, 65534, ()),
    Caller(0, 0, (0,)),
)
BRIDGES = (*forest.BRIDGES, b"unnamed")
TREES = 300
"""In each of the tests with a seed."""
WILD_IMPORTED_MIN = 40
"""Of the wild trees of a seed: random modes all the way mostly ask for more than a rule can say."""


@pytest.fixture(autouse=True)
def _cleared() -> Iterator[None]:
    yield
    forest.clear()


def allowed_by_list(verdict: Verdict) -> list[bool]:
    """Which bridges the access list allows to a caller; a list with an error allows none."""
    if isinstance(verdict, str):
        return [False] * len(BRIDGES)
    return [word.startswith("allow") for word in verdict]


def compare(all_judges: list[Judge], policy: Policy, where: str) -> None:
    """Fail unless the policy allows each caller what the list does."""
    accounts = HostAccounts()
    for judge in all_judges:
        judge.ask(BRIDGES)
    for judge in all_judges:
        found = [policy.decide(name, name, judge.caller, accounts, TODAY).allowed for name in BRIDGES]
        caller = judge.caller
        who = f"{where}, uid {caller.uid} gid {caller.gid} groups {caller.groups}"
        assert found == allowed_by_list(judge.answer()), f"{who}:\n{picture()}"


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_imported_has_the_same_verdicts(seed: int) -> None:
    """Any modes, owners, groups, ACLs, links, loops: either there is no policy, or it is equal for every caller."""
    forester = forest.Forester(Random(seed))
    count = 0
    with judges(CALLERS) as all_judges:
        for number in range(TREES):
            forester.plant()
            try:
                text = imported(tree.of_host())
            except (NotToBeSaid, OSError):
                continue
            count += 1
            compare(all_judges, policy_of(text), f"seed {seed}, tree {number}\n{text}")
    assert count >= WILD_IMPORTED_MIN


def _acl(user: int | None, group: int | None) -> bytes:
    """Return the ACL of a file that root, perhaps one user and perhaps one group can read."""
    entries = [(0x01, 6, -1)]
    entries += [(0x02, 4, user)] if user is not None else []
    entries += [(0x04, 0, -1)]
    entries += [(0x08, 4, group)] if group is not None else []
    entries += [(0x10, 4, -1), (0x20, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, bits, n & 0xFFFFFFFF) for tag, bits, n in entries)


class Gardener:
    """Plants access lists as administrators do: includes for a user or a group, some in a directory of their own."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def plant(self) -> None:
        """Put a random list into the place of the last one."""
        forest.clear()
        random = self.random
        names = [f"{random.choice(('', 'd/'))}{name}.conf" for name in "abcde"]
        (forest.HOME / "d").mkdir()
        (forest.HOME / "d").chmod(0o755)
        self._write(forest.TOP, [*(f"include {forest.HOME}/{name}" for name in names), "include /etc/qemu/gone.conf"])
        if random.random() < 0.3:
            # A list that is itself for some only, as it is where the helper was root's and a group's.
            self._lock(forest.TOP, random.choice((61300, 61301)))
            names = []
        for number, name in enumerate(names):
            # What everybody may read may be included from anywhere.
            open_ = [] if number else [f"include {forest.HOME}/all.conf"]
            self._write(forest.HOME / name, open_)
            self._give(forest.HOME / name)
        self._write(forest.HOME / "all.conf", [])

    def _write(self, path: Path, includes: list[str]) -> None:
        words = [f"{self.random.choice(('allow', 'allow', 'deny'))} {self.random.choice(('qa', 'qb', 'qc', 'all'))}"]
        lines = [*words[: self.random.randint(0, 2)], *includes, "# a comment"]
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o644)

    def _lock(self, path: Path, gid: int) -> None:
        os.chown(path, 0, gid)
        path.chmod(0o640)

    def _give(self, path: Path) -> None:
        random = self.random
        uid, gid = random.choice((61234, 61235)), random.choice((61234, 61300, 61301))
        match random.randint(0, 4):
            case 0:
                self._lock(path, gid)
            case 1:
                os.chown(path, uid, gid)
                path.chmod(0o640)
            case 2:
                os.chown(path, uid, 0)
                path.chmod(0o600)
            case 3:
                acl = _acl(random.choice((None, uid)), random.choice((None, gid)))
                os.setxattr(path, "system.posix_acl_access", acl)


@pytest.mark.parametrize("seed", range(4))
def test_a_list_as_administrators_write_it_is_always_imported(seed: int) -> None:
    """Files for a user or a group, by mode or ACL, become rules with the same verdicts: none of them is refused."""
    gardener = Gardener(Random(seed))
    granted = 0
    with judges(CALLERS) as all_judges:
        for number in range(TREES):
            gardener.plant()
            text = imported(tree.of_host())
            compare(all_judges, policy_of(text), f"seed {seed}, tree {number}\n{text}")
            granted += "[[allow]]" in text
    assert granted > TREES // 2
