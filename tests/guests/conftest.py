# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests with real guests need: a helper, a user to run QEMU as, and a clean end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import guest, install, processes, world
from tests.support.caller import PLAIN_UID


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_of_a_module() -> Iterator[None]:
    """After a module, whose tests may share guests, no interface and no QEMU is left."""
    before = world.interfaces()
    yield
    assert world.interfaces() == before
    assert not processes.running(guest.QEMU)


@pytest.fixture(scope="session")
def uid() -> int | None:
    """Who runs QEMU: a user without any privilege, or (in a user namespace) we ourselves."""
    return PLAIN_UID if world.is_real_root() else None


@pytest.fixture(scope="session")
def helper() -> Path:
    """Our helper: setuid, or (in a user namespace) a plain copy that its root may use."""
    return install.ours(install.Privilege.SETUID if world.is_real_root() else install.Privilege.NONE)


@pytest.fixture(scope="module")
def br0() -> Iterator[str]:
    """A bridge that everybody may use; the host is 10.0.0.254 on it."""
    world.write_access_list("allow br0\n")
    with world.bridge("br0") as name:
        world.run("ip", "address", "add", "10.0.0.254/24", "dev", name)
        yield name
