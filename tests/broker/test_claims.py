# SPDX-License-Identifier: GPL-2.0-or-later
"""A helper that is stopped in the middle of its work does not keep the last ports of a rule for ever."""

import time
from pathlib import Path

import pytest

from qbhelper import wire
from qbhelper.broker.claims import STALE_SECONDS
from qbhelper.lease import parse_alias
from qbhelper.wire import Code, Ending
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


def test_a_claim_that_was_revoked_becomes_no_port() -> None:
    """Whoever stops their helper and ends the lease meanwhile gets nothing: it would be a port that says `revoked'."""
    helper = install.ours(install.Privilege.SETUID)
    with world.rule("max_ports = 2"), world.bridge("br0"), broker.by_hand():
        with traced.stopped_at(helper, "sendto", "2") as run:  # after it has found the bridge: the claim has its lease
            run.wait_until_stopped()
            (claim,) = claims()
            lease = parse_alias(Path("/sys/class/net", claim, "ifalias").read_bytes().rstrip(b"\n"))
            assert lease is not None
            with broker.connect(broker.NOBODY) as connection:
                connection.send(wire.pack_question(Ending(lease.identity, detach=False)))
                answer = broker.take_answer(connection)
            assert answer is not None
            assert answer.reply.code is Code.GRANTED
            outcome = run.finish()
            assert outcome.refused, outcome
            assert "was ended" in outcome.stderr
        assert broker.no_tap_is_left()
