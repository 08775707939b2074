# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps of interfaces that the kernel marks as interrupted, as one of them goes while they are told of."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from qbhelper.kernel.exchange import Exchange
from qbhelper.kernel.message import parse_link
from qbhelper.kernel.netlink import Links
from tests.support import world

GROUP = "4711"
MANY = 300
"""More than the kernel tells in one go."""

Answer = TypeVar("Answer", tuple[int, int, int, bytes], tuple[int, int, bytes])
"""The payload stands last."""


@contextmanager
def many_interfaces() -> Iterator[None]:
    """Interfaces for the time of the block, some of which may go before."""
    names = [f"many{number}" for number in range(MANY)]
    made = "".join(f"tuntap add {name} mode tap\nlink set {name} group {GROUP}\n" for name in names)
    subprocess.run(["ip", "-batch", "-"], input=made, text=True, check=True)
    try:
        yield
    finally:
        world.run("ip", "link", "del", "group", GROUP)


def _delete(payload: bytes) -> bool:
    """Delete the interface that an answer is about, if it is one of many."""
    name = parse_link(payload).name.decode()
    if name.startswith("many"):
        world.run("ip", "link", "del", name)
    return name.startswith("many")


class DisturbedLinks(Links):
    """In each of the next `times` dumps, the first interface of many is gone as soon as it was told of."""

    times = 0
    dumps = 0

    def _answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        return _disturbed(self, super()._answers())


class DisturbedExchange(Exchange):
    """The same for the other way to ask."""

    times = 0
    dumps = 0

    def _answers(self) -> Iterator[tuple[int, int, bytes]]:
        return _disturbed(self, super()._answers())


def _disturbed(kernel: DisturbedLinks | DisturbedExchange, answers: Iterator[Answer]) -> Iterator[Answer]:
    is_due = kernel.times > 0
    kernel.times -= is_due
    kernel.dumps += 1
    for answer in answers:
        yield answer
        is_due = is_due and not _delete(answer[-1])
