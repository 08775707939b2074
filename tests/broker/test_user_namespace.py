# SPDX-License-Identifier: GPL-2.0-or-later
"""The broker in a user namespace, as in an unprivileged system container, where root is not the host's root."""

import subprocess
import sys

import pytest

from tests.support import install, rootless

pytestmark = pytest.mark.needs_root


@pytest.mark.usefixtures("br0")
def test_it_serves_a_network_that_its_namespace_owns() -> None:
    """It needs no right over the host: it grants, labels, and ends what is kept against the rules."""
    namespaces = ("--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    inside = (sys.executable, "-m", "tests.broker.in_user_namespace")
    done = subprocess.run(
        [rootless.UNSHARE, *namespaces, *inside],
        cwd=install.TREE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
