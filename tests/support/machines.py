# SPDX-License-Identifier: GPL-2.0-or-later
"""Which whole machines there are, by name: debian13, debian12, debian13-vm."""

from functools import cache

from tests.support import trees, world
from tests.support.container import Container
from tests.support.machine import Machine
from tests.support.virtual_machine import VirtualMachine

VIRTUAL = {f"{release}-vm": release for release in trees.WITH_KERNEL}
NAMES = frozenset(trees.SUITES) | frozenset(VIRTUAL)


def boot(name: str) -> Machine:
    """Boot a machine; to be used as a context manager."""
    if name in VIRTUAL:
        return VirtualMachine(name, VIRTUAL[name])
    return Container(name)


@cache
def why_not(name: str) -> str | None:
    """Tell why this machine can't be booted here, if it can't."""
    if not world.is_private():
        return "no private network here: start this through sudo ./dev test"
    if not world.is_real_root():
        return "whole machines take the machine's root: use sudo ./dev test"
    try:
        trees.cached(VIRTUAL.get(name, name))
    except trees.NoTree as error:
        return str(error)
    return None
