# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts for qbhelperctl."""

from collections.abc import Iterator

import pytest

from tests.ctl import host
from tests.support import world


@pytest.fixture
def a_host() -> Iterator[None]:
    """A host with a few accounts, a bridge br0, and no policy or access list."""
    host.clear()
    with host.accounts(), world.bridge("br0"):
        world.run("ip", "link", "property", "add", "dev", "br0", "altname", "lan0")
        yield
    host.clear()
