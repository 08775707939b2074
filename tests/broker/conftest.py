# SPDX-License-Identifier: GPL-2.0-or-later
"""A bridge, an access list that allows it, and a broker in each of its ways."""

from collections.abc import Iterator

import pytest

from tests.support import broker, world
from tests.support.broker import Broker, Way


@pytest.fixture
def br0() -> Iterator[str]:
    """A bridge that the access list allows."""
    world.write_access_list("allow br0\n")
    with world.bridge("br0") as name:
        yield name
    world.ACCESS_LIST.unlink(missing_ok=True)


@pytest.fixture(params=[broker.by_hand, broker.activated], ids=["by hand", "activated"])
def way(request: pytest.FixtureRequest) -> Way:
    """Both ways to start a broker: by root's hand, and on a socket as systemd does."""
    chosen: Way = request.param
    return chosen


@pytest.fixture
def either(br0: str, way: Way) -> Iterator[Broker]:
    """A broker for br0, in each way of starting it."""
    with way() as running:
        yield running


@pytest.fixture
def daemon(br0: str) -> Iterator[Broker]:
    """A broker for br0 that root started by hand."""
    with broker.by_hand() as running:
        yield running
