# SPDX-License-Identifier: GPL-2.0-or-later
"""The bridge changes while the helper works: it ends on the bridge that was allowed, or on none."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.kernel import traced
from tests.kernel.ways import Way, refused, taps
from tests.support import world

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip, pytest.mark.usefixtures("br0")]

CHANGED = "failed to add interface `tap0' to bridge `br0': the bridge changed meanwhile; try again"


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


def step(way: Way, text: str) -> str:
    """The number of the ioctl whose words contain `text`."""
    return str(traced.find(way.helper, "ioctl", text).nth)


FOUND = "TUNGETFEATURES"
"""The first ioctl after the bridge was found."""


@pytest.mark.parametrize("after", [FOUND, "TUNSETIFF", "SIOCSIFHWADDR"])
def test_a_bridge_that_goes_away_is_a_refusal(lent: Way, after: str) -> None:
    """Deleted after it was found, before the TAP is attached: the step that needs it says so."""
    with traced.stopped_at(lent.helper, "ioctl", step(lent, after)) as run:
        run.wait_until_stopped()
        delete("br0")
        refused(run.finish(), "failed to ")


def test_a_bridge_that_goes_away_with_its_port_is_a_refusal(lent: Way) -> None:
    """Deleted after the TAP was attached: the TAP is on no bridge, so it is not handed over."""
    with traced.stopped_at(lent.helper, "ioctl", step(lent, "SIOCSIFFLAGS")) as run:
        run.wait_until_stopped()
        delete("br0")
        assert refused(run.finish()) == CHANGED


@pytest.mark.parametrize("after", [FOUND, "TUNSETIFF"])
def test_a_bridge_that_takes_the_name_of_an_allowed_one_gets_no_port(lent: Way, after: str) -> None:
    """Another bridge slips under the name between decision and attaching: the caller gets no place on it."""
    world.run("ip", "link", "add", "secret", "type", "bridge")
    with traced.stopped_at(lent.helper, "ioctl", step(lent, after)) as run:
        run.wait_until_stopped()
        rename("br0", "moved")
        rename("secret", "br0")
        assert refused(run.finish()) == CHANGED
    assert world.ports("br0") == world.ports("moved") == frozenset()


def test_a_bridge_that_is_renamed_after_attaching_keeps_its_port(lent: Way) -> None:
    """It is the bridge that the access list allowed, whatever it is called now."""
    with traced.stopped_at(lent.helper, "ioctl", step(lent, "SIOCBRADDIF")) as run:
        run.wait_until_stopped()
        rename("br0", "moved")
        with run.finish() as outcome:
            assert outcome.granted, outcome
            assert world.ports("moved") == {outcome.tap().name}


def test_names_that_are_swapped_and_swapped_back_deceive_nobody(lent: Way) -> None:
    """The other bridge has the name only while the TAP is attached: it is noticed all the same."""
    world.run("ip", "link", "add", "secret", "type", "bridge")
    found, attached = int(step(lent, FOUND)), int(step(lent, "SIOCBRADDIF"))
    with traced.stopped_at(lent.helper, "ioctl", f"{found}..{attached}+{attached - found}") as run:
        run.wait_until_stopped()
        rename("br0", "moved")
        rename("secret", "br0")
        run.go_on()
        run.wait_until_stopped()
        rename("br0", "secret")
        rename("moved", "br0")
        outcome = run.finish()
        assert world.ports("secret") == frozenset()
        assert refused(outcome) == CHANGED


def test_an_access_list_that_changes_meanwhile_was_read_once(lent: Way) -> None:
    """The verdict is of the file as it was when it was read, and never of a mixture."""
    read = traced.find(lent.helper, "ioctl", FOUND)
    with traced.stopped_at(lent.helper, read.name, str(read.nth)) as run:
        run.wait_until_stopped()
        world.write_access_list("deny all\n")
        assert run.finish().granted


def test_a_tap_that_is_deleted_meanwhile_is_a_refusal(lent: Way) -> None:
    """Somebody with the right to do it deletes the TAP before it is attached: there is nothing to hand over."""
    with traced.stopped_at(lent.helper, "ioctl", step(lent, "TUNSETIFF")) as run:
        run.wait_until_stopped()
        (tap,) = taps()
        delete(tap)
        refused(run.finish(), "failed to ")
