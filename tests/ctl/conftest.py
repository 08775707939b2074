# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts for qbhelperctl."""

from collections.abc import Iterator

import pytest

from tests.ctl import host, ward
from tests.support import broker, world


@pytest.fixture
def a_host() -> Iterator[None]:
    """A host with a few accounts, a bridge br0, and no policy or access list."""
    host.clear()
    with host.accounts(), world.bridge("br0"):
        world.run("ip", "link", "property", "add", "dev", "br0", "altname", "lan0")
        yield
    host.clear()


@pytest.fixture
def a_ward(a_host: None) -> Iterator[ward.Ward]:
    """A host on which alice may have ports on br0, which leads out; but no broker runs."""
    with ward.ward(world.WORLD / "ward") as made, ward.healthy_host():
        yield made


@pytest.fixture
def a_healthy_ward(a_ward: ward.Ward) -> Iterator[ward.Ward]:
    """The same with a broker: nothing is wrong."""
    with broker.by_hand():
        yield a_ward
