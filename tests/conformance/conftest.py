# SPDX-License-Identifier: GPL-2.0-or-later
"""What every comparison with the original needs: the original, installed copies, and no list left over."""

import os
from collections.abc import Iterator

import pytest

from tests.conformance.comparison import Case
from tests.conformance.differences import ask
from tests.conformance.trees import Tree, plant
from tests.support import install, world
from tests.support.install import Privilege


@pytest.fixture(scope="session", autouse=True)
def _both_are_installed() -> None:
    """Install and start all copies once, so that no case pays for it."""
    if install.original() is None:
        pytest.skip("no qemu-bridge-helper to compare with: install qemu-system-common")
    if not world.is_private() or not world.is_real_root():
        return
    plant(Tree())
    for privilege in Privilege:
        ask(Case(Tree(), privilege=privilege))


@pytest.fixture(autouse=True)
def _no_list_is_left() -> Iterator[None]:
    """Take the access list away after each test."""
    yield
    if world.is_private() and os.geteuid() == 0:
        plant(Tree())


@pytest.fixture(scope="module")
def br0() -> Iterator[str]:
    """A bridge br0 of 1500 bytes, up, with its MAC pinned, for all tests of a file."""
    with world.bridge("br0") as name:
        world.run("ip", "link", "set", name, "address", "02:00:00:00:00:b0")
        yield name
