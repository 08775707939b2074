# SPDX-License-Identifier: GPL-2.0-or-later
"""Where to run what takes a kernel with all that distributions' have: here if this one has it, else in a machine."""

import subprocess
from collections.abc import Callable
from functools import cache

import pytest

from tests.support import world

MACHINE = "debian13-vm"

PROBES = {
    "act_gact": "tc actions add action gact drop index 471 && tc actions del action gact index 471",
    "act_police": "tc actions add action police rate 1mbit burst 9k index 471"
    " && tc actions del action police index 471",
    "cls_bpf": "ip link add probe type veth && tc qdisc add dev probe ingress"
    " && tc filter add dev probe ingress bpf bytecode '1,6 0 0 0'; status=$?; ip link del probe; exit $status",
    "CONFIG_BRIDGE_VLAN_FILTERING": "ip link add probe type bridge"
    " && bridge vlan add dev probe vid 2 self; status=$?; ip link del probe; exit $status",
}
"""What a kernel may lack, and a command that succeeds where it does not."""


@cache
def lacks() -> frozenset[str]:
    """What this kernel lacks."""
    return frozenset(
        name
        for name, command in PROBES.items()
        if subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode != 0
    )


def marks() -> list[pytest.MarkDecorator]:
    """The marks (`pytestmark`) of a module whose tests take such a kernel."""
    # In the machine the tests have the names that they have out here.  Without a private network nothing is probed.
    if world.machine() is not None or not world.is_private() or lacks():
        return [pytest.mark.inside(MACHINE)]
    return []


def wanted(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a single test."""
    for mark in marks():
        test = mark(test)
    return test
