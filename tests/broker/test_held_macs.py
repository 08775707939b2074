# SPDX-License-Identifier: GPL-2.0-or-later
"""`macs`: where a guest is found stays known, though who holds another TAP can make the bridge forget it."""

import os
import signal

import pytest

from tests.broker.test_leases import change_mac
from tests.support import broker, full_kernel, left, world
from tests.support.broker import Broker
from tests.support.caller import PLAIN_UID

pytestmark = full_kernel.marks()

VICTIM, VICTIMS_MAC = PLAIN_UID + 1, "52:54:00:12:34:56"


@pytest.mark.parametrize("is_closed", [False, True], ids=["kept", "closed"])
@pytest.mark.parametrize("times", [1, 6000], ids=["once", "until announcements are lost"])
def test_a_mac_that_was_taken_and_given_back_is_held_again(
    either: Broker, br0: str, times: int, is_closed: bool
) -> None:
    """However short the moment, the bridge has forgotten where the guest is that may use no other address."""
    rules = (
        f'[[allow]]\nbridge = "br0"\nusers = ["{VICTIM}"]\nmacs = ["{VICTIMS_MAC}"]\n'
        f'[[allow]]\nbridge = "br0"\nusers = ["{PLAIN_UID}"]\n[end]\n'
    )
    world.write_access_list(rules, world.POLICY)
    packed = bytes.fromhex(VICTIMS_MAC.replace(":", ""))
    try:
        with broker.ask(uid=VICTIM, vnet=False) as victim, broker.ask() as answer:
            held, name = left.entries(br0, packed), answer.name
            assert {(port, sticky) for port, _, _, sticky in held} == {(victim.name, True)}
            worker = either.latest_worker()
            os.kill(worker, signal.SIGSTOP)
            change_mac(answer, *[VICTIMS_MAC, "fe:00:00:00:00:01"] * times)
            assert left.entries(br0, packed) == []
            if is_closed:
                answer.close()
            os.kill(worker, signal.SIGCONT)
            assert broker.await_links(lambda: name not in world.interfaces())
            broker.ask().close()
            if times == 1:  # what is lost is not told of
                assert f"{name} of uid {PLAIN_UID} deleted: its holder changed its MAC to {VICTIMS_MAC}" in either.log()
            assert left.entries(br0, packed) == held
    finally:
        world.POLICY.unlink()
