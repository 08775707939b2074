# SPDX-License-Identifier: GPL-2.0-or-later
"""A TAP becomes a port in one order, on any kernel; at no moment it looks like one that was tampered with."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from qbhelper.errors import KernelError
from qbhelper.kernel import link, tap
from qbhelper.kernel.announcements import Announcements
from qbhelper.kernel.link import Network
from qbhelper.kernel.message import IFLA_AF_SPEC, attribute
from qbhelper.lease import Lease
from tests.support import world

UNKNOWN_FAMILY = 27
"""The kernel answers it as it answers AF_INET6 where it has no IPv6 (do_setlink in net/core/rtnetlink.c)."""


@pytest.fixture
def br0() -> Iterator[str]:
    """A bridge."""
    with world.bridge() as name:
        yield name


def shown_mtu(interface: str) -> int:
    """Return an MTU, as the kernel shows it to everybody."""
    return int(Path("/sys/class/net", interface, "mtu").read_text())


@pytest.mark.parametrize("has_ipv6", [True, False], ids=["IPv6", "no IPv6"])
@pytest.mark.parametrize("mtu", [1500, 1000])
def test_nothing_suspicious_is_announced(br0: str, monkeypatch: pytest.MonkeyPatch, has_ipv6: bool, mtu: int) -> None:
    """The broker deletes a leased TAP with another MAC than ours: it must not see one that is being made."""
    if not has_ipv6:
        monkeypatch.setattr(link, "_NO_IPV6_ADDRESS", attribute(IFLA_AF_SPEC, attribute(UNKNOWN_FAMILY, b"")))
    world.run("ip", "link", "set", br0, "mtu", str(mtu))
    with closing(Announcements()) as events, closing(Network()) as network:
        bridge = network.find(br0.encode())
        assert bridge is not None
        for _ in range(2):
            made = tap.create(vnet_header=True)
            with closing(made):
                port = network.attach(made.name, bridge, Lease.begin(61234, 1, 1, None).alias())
                assert (port.master, port.up) == (bridge.index, True)
                assert shown_mtu(port.name.decode()) == mtu
                assert network._has_ipv6 is has_ipv6
            made = tap.create(vnet_header=True)
            with closing(made):
                claim = network.label(made.name, Lease.begin(61234, 1, 1, None).alias())
                network.attach_down(claim, bridge, mtu)
                assert network.bring_up(claim).master == bridge.index
        assert events.read() == []


def test_a_tap_that_gets_no_place_on_its_bridge_takes_no_address_either(br0: str) -> None:
    """The kernel sets it up all the same, on no bridge: until it is removed the host must say nothing through it."""
    with closing(Network()) as network:
        bridge = network.find(br0.encode())
        assert bridge is not None
        world.run("ip", "link", "delete", br0)
        for _ in range(2):  # what is seen of the kernel at the first must make no difference at the second
            with closing(tap.create(vnet_header=True)) as made:
                with pytest.raises(KernelError):
                    network.attach(made.name, bridge, b"")
                about = world.run("ip", "-d", "link", "show", made.name.decode())
                assert "UP" in about
                assert "addrgenmode none" in about
