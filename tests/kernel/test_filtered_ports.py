# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest sends can't be changed after it was looked at; this needs a kernel that can look."""

import pytest

from tests.kernel.ways import Way
from tests.support import world

pytestmark = pytest.mark.inside("debian13-vm")


@pytest.mark.parametrize(
    ("line", "has_header"),
    [
        ('guards = ["ra"]', False),
        ('addresses = ["10.0.0.0/24"]', False),
        ('rate_from_guest = "50mbit"', False),
        ("isolated = true", True),
    ],
    ids=["guards", "addresses", "rate_from_guest", "isolated"],
)
def test_a_port_that_is_looked_at_has_no_virtio_net_header(setuid: Way, line: str, has_header: bool) -> None:
    """By that header a guest has the kernel write into a frame that passed; QEMU asked for it, and does without."""
    with world.rule(line), world.bridge("br0"), setuid.call() as outcome:
        assert outcome.granted, outcome
        assert outcome.tap().has_vnet_header is has_header
