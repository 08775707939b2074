# SPDX-License-Identifier: GPL-2.0-or-later
"""A bridge to ask for, and the helper with each way to privilege."""

from collections.abc import Iterator

import pytest

from tests.kernel.ways import Way
from tests.support import caller, install, world
from tests.support.install import Privilege

ROOT = pytest.param(Privilege.NONE, id="root")
LENT = [
    pytest.param(Privilege.SETUID, id="setuid", marks=pytest.mark.needs_root),
    pytest.param(Privilege.FILE_CAPABILITY, id="filecap", marks=pytest.mark.needs_root),
]
"""Privilege that a file lends to whoever calls it; a user namespace can't show these."""


@pytest.fixture
def br0() -> Iterator[str]:
    """A bridge that the access list allows."""
    world.write_access_list("allow br0\n")
    with world.bridge("br0") as name:
        yield name
    world.ACCESS_LIST.unlink(missing_ok=True)


@pytest.fixture(params=[ROOT, *LENT])
def way(request: pytest.FixtureRequest) -> Way:
    """Each way: called by root, and the setuid and file-capability copies called by a plain uid."""
    privilege: Privilege = request.param
    return Way(install.ours(privilege), None if privilege is Privilege.NONE else caller.PLAIN_UID)


@pytest.fixture(params=LENT)
def lent(request: pytest.FixtureRequest) -> Way:
    """The ways on which a plain uid is lent privilege, so that a hostile one gains by misleading us."""
    return Way(install.ours(request.param), caller.PLAIN_UID)


@pytest.fixture
def setuid() -> Way:
    """The setuid copy, called by a plain uid."""
    return Way(install.ours(Privilege.SETUID), caller.PLAIN_UID)
