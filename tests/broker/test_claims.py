# SPDX-License-Identifier: GPL-2.0-or-later
"""A helper that is stopped in the middle of its work does not keep the last ports of a rule for ever."""

import time

import pytest

from qbhelper.broker.claims import STALE_SECONDS
from tests.kernel import traced
from tests.support import broker, install, world

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip]

ROOTS = "~f.0"
"""What root has named as if it were a claim; it counts as one."""


def claims() -> frozenset[str]:
    """The interfaces that claim a port."""
    return frozenset(name for name in world.interfaces() if name.startswith("~"))


def test_a_claim_whose_helper_was_stopped_is_removed() -> None:
    """Others are told to try again; they have the port when it is there for longer than any helper takes.

    What no helper can have made is left alone.
    """
    helper = install.ours(install.Privilege.SETUID)
    world.run("ip", "tuntap", "add", ROOTS, "mode", "tap")
    try:
        with world.rule("max_ports_total = 2"), world.bridge("br0"), broker.by_hand() as daemon:
            with traced.stopped_at(helper, "ioctl", "1+") as run:
                run.wait_until_stopped()
                while not claims() - {ROOTS}:
                    run.go_on()
                    run.wait_until_stopped()
                (claim,) = claims() - {ROOTS}
                started = time.monotonic()
                with broker.call() as outcome:
                    assert outcome.refused
                    assert "try again" in outcome.stderr
                assert claims() == {claim, ROOTS}
                with broker.call() as outcome:
                    assert outcome.granted, outcome
                    assert claims() == {ROOTS}
                assert time.monotonic() - started >= STALE_SECONDS
            assert f"claim {claim} deleted: uid " in daemon.log()
            assert broker.await_links(lambda: broker.taps() == {ROOTS})
    finally:
        world.run("ip", "link", "del", ROOTS)
