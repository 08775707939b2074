# SPDX-License-Identifier: GPL-2.0-or-later
"""Callers in namespaces of their own: the helper acts where its caller is, and nowhere else."""

import shutil
from pathlib import Path

import pytest

from tests.kernel.ways import Way, refused, taps
from tests.support import caller, world
from tests.support.caller import Outcome

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("br0")]

UNSHARE = Path(shutil.which("unshare") or "unshare")


def call_in_own_namespaces(way: Way, script: str) -> Outcome:
    """Call a helper as a plain uid that has made itself root of its own user and network namespaces."""
    options = ["--user", "--map-root-user", "--net", "sh", "-c", script, "sh"]
    return caller.call(UNSHARE, argv=lambda fd: [*options, str(way.helper), f"--fd={fd}", "--br=br0"])


def test_a_caller_in_a_namespace_of_its_own_gets_no_port_here(lent: Way) -> None:
    """CVE-2017-5985: with no br0 where the caller is, our br0 is not what it gets."""
    with call_in_own_namespaces(lent, 'exec "$@"') as outcome:
        refused(outcome, "failed to ")
    assert world.ports("br0") == frozenset()


def test_a_caller_that_made_its_own_bridge_gets_a_port_there(lent: Way) -> None:
    """Where the caller is root of its own network, the port is made there, and nothing appears in ours."""
    before = world.interfaces()
    with call_in_own_namespaces(lent, 'ip link add br0 type bridge && exec "$@"') as outcome:
        assert outcome.granted, outcome
        assert world.interfaces() == before
        assert taps() == world.ports("br0") == frozenset()


def test_root_of_a_user_namespace_gains_nothing_outside_it(lent: Way) -> None:
    """A helper called from a user namespace without its own network has no power over the network it sees."""
    options = ["--user", "--map-root-user"]
    with caller.call(UNSHARE, argv=lambda fd: [*options, str(lent.helper), f"--fd={fd}", "--br=br0"]) as outcome:
        refused(outcome, "failed to ")
    assert world.ports("br0") == frozenset()
