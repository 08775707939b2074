# SPDX-License-Identifier: GPL-2.0-or-later
"""What qbhelperctl takes of an answer of the broker's for a guest's MAC address (docs/protocol.md)."""

from qbhelper.ctl.client import Granted
from qbhelper.wire import MACS_TOLD

ADDRESSES = tuple(f"52:54:00:00:00:{number:02x}" for number in range(MACS_TOLD + 1))


def a_port(macs: tuple[str, ...]) -> Granted:
    """A port by a rule with these addresses, of which the broker has told as many as there is room for."""
    return Granted(b"tap0", (), (), macs[:MACS_TOLD])


def test_an_address_that_the_rule_does_not_have_is_not_heard() -> None:
    """Without any in the rule, each is."""
    assert a_port(()).may_be_heard(ADDRESSES[0])
    assert a_port(ADDRESSES[:2]).may_be_heard(ADDRESSES[1])
    assert not a_port(ADDRESSES[:2]).may_be_heard(ADDRESSES[2])


def test_an_address_that_the_broker_had_no_room_to_tell_may_be_heard() -> None:
    """It stands in the rule behind those that were told: to refuse it would be wrong."""
    assert a_port(ADDRESSES).may_be_heard(ADDRESSES[-1])
