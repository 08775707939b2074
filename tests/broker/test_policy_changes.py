# SPDX-License-Identifier: GPL-2.0-or-later
"""A changed policy is in force for the next request, and no request is lost on the way to it."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import broker, caller, world
from tests.support.broker import Broker, Way
from tests.support.caller import PLAIN_UID
from tests.support.crowd import crowd

pytestmark = pytest.mark.needs_root

LIST = world.ACCESS_LIST
INCLUDE = LIST.with_name("include.conf")
DIRECTORY = LIST.with_name("directory")
ROUNDS = 25


@pytest.fixture(autouse=True)
def _cleared(br0: str) -> Iterator[None]:
    yield
    if str(INCLUDE) in Path("/proc/self/mountinfo").read_text():
        world.run("umount", "--lazy", str(INCLUDE))
    for path in (INCLUDE, DIRECTORY / "inside", LIST.with_name("new")):
        path.unlink(missing_ok=True)
    if DIRECTORY.exists():
        DIRECTORY.rmdir()


def edited(allow: bool) -> None:
    """The list is written in place."""
    LIST.write_text("allow br0\n" if allow else "deny br0\n")


def replaced(allow: bool) -> None:
    """A new list is renamed over the old one, as editors do it."""
    world.write_access_list("allow br0\n" if allow else "deny br0\n", LIST.with_name("new")).rename(LIST)


def include_appears(allow: bool) -> None:
    """An include is there, or not."""
    if allow:
        INCLUDE.unlink(missing_ok=True)
    else:
        world.write_access_list("deny br0\n", INCLUDE)


def mode_changes(allow: bool) -> None:
    """An include that denies may be read by others, or not."""
    INCLUDE.chmod(0o600 if allow else 0o604)


def acl_changes(allow: bool) -> None:
    """An ACL lets the caller read an include that denies, or not."""
    world.run("setfacl", *(("-b",) if allow else ("-m", f"u:{PLAIN_UID}:r")), str(INCLUDE))


def directory_changes(allow: bool) -> None:
    """The directory of an include that denies may be searched, or not."""
    DIRECTORY.chmod(0o700 if allow else 0o711)


def mount_changes(allow: bool) -> None:
    """A file that denies is mounted over an include, or not."""
    if not allow:
        world.run("mount", "--bind", str(world.write_access_list("deny br0\n", LIST.with_name("new"))), str(INCLUDE))
    elif INCLUDE.read_text():
        world.run("umount", "--lazy", str(INCLUDE))  # the broker holds it


CHANGES = [
    pytest.param(edited, "allow br0\n", None, id="edited"),
    pytest.param(replaced, "allow br0\n", None, id="replaced by rename"),
    pytest.param(include_appears, f"allow br0\ninclude {INCLUDE}\n", None, id="an include appears"),
    pytest.param(mode_changes, f"allow br0\ninclude {INCLUDE}\n", INCLUDE, id="chmod"),
    pytest.param(acl_changes, f"allow br0\ninclude {INCLUDE}\n", INCLUDE, id="setfacl"),
    pytest.param(mount_changes, f"allow br0\ninclude {INCLUDE}\n", INCLUDE, id="mount"),
    pytest.param(directory_changes, f"allow br0\ninclude {DIRECTORY}/inside\n", DIRECTORY / "inside", id="directory"),
]


@pytest.mark.parametrize(("change", "text", "include"), CHANGES)
def test_the_next_request_is_judged_by_the_new_policy(
    way: Way, change: Callable[[bool], None], text: str, include: Path | None
) -> None:
    """Allowed and denied in turn, each time at once: whoever asks after the change gets the new verdict."""
    if change is mount_changes:
        world.write_access_list("", INCLUDE)
    elif include is not None:
        world.write_access_list("deny br0\n", include, mode=0o600 if include == INCLUDE else 0o644)
    world.write_access_list(text)
    if include is None or include == INCLUDE:
        DIRECTORY.mkdir()
    DIRECTORY.chmod(0o700)
    with way():
        for turn in range(6):
            change(turn % 2 == 0)
            with broker.call() as outcome:
                assert outcome.granted == (turn % 2 == 0), outcome
                assert outcome.granted or outcome.refused


def test_no_request_is_lost_while_the_policy_changes(either: Broker, br0: str) -> None:
    """Eight callers at any time: every call ends with a port, or with the reason that a policy in force gave."""
    rounds = 0
    ends: Counter[bool] = Counter()

    def change_sometimes() -> None:
        nonlocal rounds
        either.latest_worker()
        rounds += rounds < 6 * ROUNDS
        if rounds % 6 == 0:
            replaced(rounds % 12 != 0)

    with crowd(broker.helper(), 8) as callers:
        callers.go_on(until=lambda: rounds == 6 * ROUNDS, also=change_sometimes)
    for end, count in callers.seen.items():
        ends[end == "granted"] += count
        assert end == "granted" or end.startswith("access denied by acl file: /etc/qemu/bridge.conf:1 denies"), end
    assert min(ends.values()) > ROUNDS, ends
    assert broker.no_tap_is_left()


def test_a_change_that_all_allow_refuses_nobody(either: Broker, br0: str) -> None:
    """While every version of the policy allows the bridge, every caller gets a port."""
    version = 0

    def change() -> None:
        nonlocal version
        either.latest_worker()
        version += 1
        if version % 4 == 0:
            world.write_access_list(f"allow br0\n# {version}\n", LIST.with_name("new")).rename(LIST)

    with crowd(broker.helper(), 6) as callers:
        callers.go_on(until=lambda: version >= 120, also=change)
    assert set(callers.seen) == {"granted"}, callers.seen


def test_after_a_change_the_leases_go_on(either: Broker, br0: str) -> None:
    """A lease outlives the broker that granted it, and what the next one allows is for new requests only."""
    with broker.ask() as answer:
        edited(False)
        assert not broker.ask().granted
        assert world.ports(br0) == {answer.name}
        assert os.write(answer.fds[0], bytes(72)) == 72


@pytest.mark.parametrize("where", [LIST.parent, Path("/etc")], ids=str)
def test_an_unrelated_change_is_no_restart(either: Broker, where: Path) -> None:
    """/etc changes all day long; the broker stays the same process."""
    with broker.ask() as answer:
        assert answer.granted
    before = either.latest_worker()
    for number in range(5):
        stranger = where / f"stranger{number}"
        stranger.write_text("x")
        with broker.ask() as answer:
            assert answer.granted
        stranger.unlink()
        with broker.ask() as answer:
            assert answer.granted
    assert either.latest_worker() == before


def test_a_list_that_becomes_bad_refuses_and_one_that_is_mended_grants(either: Broker) -> None:
    """A broken policy grants nothing and names the line; the broker neither dies of it nor clings to the old one."""
    for text, words in (
        ("allow br0\nnonsense\n", ":2: Invalid config line"),
        ("", "no line of"),
        (None, "No such file"),
    ):
        if text is None:
            LIST.unlink()
        else:
            world.write_access_list(text)
        outcome = broker.call()
        assert outcome.refused
        assert words in outcome.stderr
        world.write_access_list("allow br0\n")
        with broker.call() as granted:
            assert granted.granted


def test_many_callers_at_once_after_a_change_all_get_the_new_verdict(either: Broker) -> None:
    """Whoever has already connected when the policy changes is judged by the new one as well."""
    with broker.connect(PLAIN_UID) as early, broker.ask() as answer:
        assert answer.granted  # so the early one has been accepted
        edited(False)
        early.send(broker.question())
        reply = broker.take_answer(early)
        assert reply is None or not reply.granted
    for _ in range(3):
        assert caller.call(broker.helper()).refused
