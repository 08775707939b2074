# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel tells of all interfaces while some of them come and go is not believed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

import pytest

from qbhelper.kernel.message import DUMPS_MAX, NLM_F_DUMP, RTM_GETLINK, Link, ifinfo, parse_link
from tests.support import world
from tests.support.disturbed import DisturbedExchange, DisturbedLinks, many_interfaces

pytestmark = pytest.mark.needs_root

Ask = Callable[[], frozenset[str]]


def names(links: Iterable[Link]) -> frozenset[str]:
    """The names of interfaces."""
    return frozenset(link.name.decode() for link in links)


@pytest.fixture(params=["Links", "Exchange"])
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[DisturbedLinks | DisturbedExchange, Ask]]:
    """Each way to ask the kernel, and a function that asks for the names of all interfaces, of which there are many."""
    with many_interfaces():
        if request.param == "Links":
            with closing(DisturbedLinks()) as links:
                yield links, lambda: names(links.dump())
        else:
            exchange = DisturbedExchange()
            with exchange:
                yield exchange, lambda: names(map(parse_link, exchange.ask(RTM_GETLINK, ifinfo(0), NLM_F_DUMP)))


def test_an_interrupted_dump_is_asked_for_again(asked: tuple[DisturbedLinks | DisturbedExchange, Ask]) -> None:
    """An interface that went while the others were told of is not among them, and none is missing."""
    kernel, ask = asked
    kernel.times = 3
    assert ask() == world.interfaces()
    assert (kernel.times, kernel.dumps) == (0, 4)


def test_one_that_is_interrupted_time_and_again_is_an_error(
    asked: tuple[DisturbedLinks | DisturbedExchange, Ask],
) -> None:
    """It is given up after so many times, and what is asked afterwards is answered."""
    kernel, ask = asked
    kernel.times = 1000
    with pytest.raises(InterruptedError):
        ask()
    assert kernel.dumps == DUMPS_MAX
    kernel.times = 0
    assert ask() == world.interfaces()
