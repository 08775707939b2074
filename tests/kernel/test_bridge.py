# SPDX-License-Identifier: GPL-2.0-or-later
"""The bridge that a name leads to is asked for anew each time: names change hands, and MTUs change.

One that was found before is found again by its index, which is much faster than to have it described; what is found
so has to be what a description would say.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from qbhelper.errors import NoSuchBridge
from qbhelper.kernel import tap
from qbhelper.kernel.link import Network
from qbhelper.kernel.netlink import Links
from tests.support import world

NAME, OTHER = "br0", "br1"


@pytest.fixture
def network() -> Iterator[Network]:
    """A network that has found the bridge already."""
    with world.bridge(NAME), closing(Network()) as found:
        assert what(found, NAME) == described(NAME)
        yield found
        with suppress(RuntimeError):  # there is none
            world.run("ip", "link", "delete", OTHER)


Found = tuple[int, bytes, int, bool] | None


def what(network: Network, name: str) -> Found:
    """Return index, name, MTU and kind of what is found by a name."""
    bridge = network.find(name.encode())
    return (bridge.index, bridge.name, bridge.mtu, bridge.is_bridge) if bridge else None


def described(name: str) -> Found:
    """Return the same as who has never looked before finds it."""
    with closing(Network()) as fresh:
        return what(fresh, name)


def ip(*words: str) -> Callable[[], str]:
    """Return what changes an interface."""
    return lambda: world.run("ip", *words)


CHANGES: dict[str, list[Callable[[], str]]] = {
    "nothing": [],
    "its MTU": [ip("link", "set", NAME, "mtu", "1400")],
    "it is gone": [ip("link", "delete", NAME)],
    "it is another bridge": [ip("link", "delete", NAME), ip("link", "add", NAME, "type", "bridge")],
    "it is no bridge": [ip("link", "delete", NAME), ip("tuntap", "add", NAME, "mode", "tap")],
    "it has another name": [ip("link", "set", NAME, "name", OTHER)],
    "another has its name": [
        ip("link", "set", NAME, "name", OTHER),
        ip("link", "add", NAME, "mtu", "1300", "type", "bridge"),
    ],
    "its name is an altname": [
        ip("link", "set", NAME, "name", OTHER),
        ip("link", "property", "add", "dev", OTHER, "altname", NAME),
    ],
}


def test_it_is_found_again_without_a_description(network: Network) -> None:
    """To have it described takes longer, while QEMU waits."""
    asked = network._links._sequence
    assert what(network, NAME) == described(NAME)
    assert network._links._sequence == asked


def test_one_that_goes_while_it_is_looked_for_is_not_there(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between the two questions about it: that is no error, for a caller who may not know of it either."""
    name_of = Links.name_of

    def name_of_what_goes_then(links: Links, index: int) -> bytes | None:
        name = name_of(links, index)
        world.run("ip", "link", "delete", NAME)
        return name

    monkeypatch.setattr(Links, "name_of", name_of_what_goes_then)
    assert what(network, NAME) is None


def test_a_port_of_another_thing_with_its_name_and_index_is_not_taken_for_one_of_it(network: Network) -> None:
    """Root may give the index to what is no bridge.  Whatever the kernel makes of that, it says what it has made."""
    bridge = network.find(NAME.encode())
    assert bridge is not None
    world.run("ip", "link", "delete", NAME)
    world.run("ip", "link", "add", NAME, "index", str(bridge.index), "type", "veth", "peer", "name", "other")
    again = network.find(NAME.encode())
    assert again is not None
    with closing(tap.create(vnet_header=True)) as made, pytest.raises(NoSuchBridge, match="is not a Linux bridge"):
        network.attach(made.name, again, b"")


def test_the_kind_of_what_a_port_is_on_is_told(network: Network) -> None:
    """By the kernel, of the port itself."""
    bridge = network.find(NAME.encode())
    assert bridge is not None
    with closing(tap.create(vnet_header=True)) as made:
        assert network.label(made.name, b"").master_kind == b""
        assert network.attach(made.name, bridge, b"").master_kind == b"bridge"


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_found_again_is_what_is_there_now(network: Network, change: str) -> None:
    """Each time, by its name and by any other: also after it was found, and not found, in between."""
    for step in CHANGES[change]:
        step()
        for name in (NAME, OTHER, NAME):
            assert what(network, name) == described(name)
