# SPDX-License-Identifier: GPL-2.0-or-later
"""The bridge changes while the helper works: it ends on the bridge that was allowed, or on none."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kernel import traced
from tests.kernel.ways import Way, refused, taps
from tests.support import world

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip, pytest.mark.usefixtures("br0")]


def rename(name: str, to: str) -> None:
    """Rename an interface, as an administrator or a network manager would."""
    world.run("ip", "link", "set", name, "name", to)


def delete(name: str) -> None:
    """Delete a bridge."""
    world.run("ip", "link", "del", name)


@pytest.fixture(autouse=True)
def no_other_bridges() -> Iterator[None]:
    """Whatever a test made of the bridges, they are gone."""
    yield
    for name in ("br0", "secret", "moved"):
        subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL, check=False)


FOUND = ("openat", "/dev/net/tun")
"""The first step after the bridge was found."""
CREATED = ("ioctl", "TUNSETIFF")
ATTACHED = ("sendto", "IFLA_MASTER")


@contextmanager
def held_after(way: Way, which: tuple[str, str]) -> Iterator[traced.Stopped]:
    """A run that stands still since it has taken one of the steps above."""
    step = traced.find(way.helper, *which)
    with traced.stopped_at(way.helper, step.name, str(step.nth)) as run:
        run.wait_until_stopped()
        yield run


@pytest.mark.parametrize("after", [FOUND, CREATED], ids=["found", "created"])
def test_a_bridge_that_goes_away_is_a_refusal(lent: Way, after: tuple[str, str]) -> None:
    """Deleted after it was found, before the TAP is attached: the step that needs it says so."""
    with held_after(lent, after) as run:
        delete("br0")
        refused(run.finish(), "failed to add interface `tap0' to bridge `br0': ")


@pytest.mark.parametrize("after", [FOUND, CREATED], ids=["found", "created"])
def test_a_bridge_that_takes_the_name_of_an_allowed_one_gets_no_port(lent: Way, after: tuple[str, str]) -> None:
    """Another bridge slips under the name between decision and attaching: the port is where it was allowed."""
    world.run("ip", "link", "add", "secret", "type", "bridge")
    with held_after(lent, after) as run:
        rename("br0", "moved")
        rename("secret", "br0")
        with run.finish() as outcome:
            assert outcome.granted, outcome
            assert world.ports("moved") == {outcome.tap().name}
            assert world.ports("br0") == frozenset()


def test_a_bridge_that_is_renamed_after_attaching_keeps_its_port(lent: Way) -> None:
    """It is the bridge that the access list allowed, whatever it is called now."""
    with held_after(lent, ATTACHED) as run:
        rename("br0", "moved")
        with run.finish() as outcome:
            assert outcome.granted, outcome
            assert world.ports("moved") == {outcome.tap().name}


def test_a_tap_whose_name_changes_hands_is_a_refusal(lent: Way) -> None:
    """Renamed between creation and attaching: no other interface of that name is attached in its place."""
    with held_after(lent, CREATED) as run:
        (tap,) = taps()
        rename(tap, "elsewhere")
        refused(run.finish(), "failed to ")
        assert world.ports("br0") == frozenset()


def test_an_access_list_that_changes_meanwhile_was_read_once(lent: Way) -> None:
    """The verdict is of the file as it was when it was read, and never of a mixture."""
    with held_after(lent, FOUND) as run:
        world.write_access_list("deny all\n")
        assert run.finish().granted


def test_a_tap_that_is_deleted_meanwhile_is_a_refusal(lent: Way) -> None:
    """Somebody with the right to do it deletes the TAP before it is attached: there is nothing to hand over."""
    with held_after(lent, CREATED) as run:
        (tap,) = taps()
        delete(tap)
        refused(run.finish(), "failed to ")
