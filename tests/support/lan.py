# SPDX-License-Identifier: GPL-2.0-or-later
"""A bridge with an uplink and a neighbour, ports with settings on it, and all that can be seen at each.

What is sent passes through the kernel on one processor, in order.  So whoever has seen the last of some frames has seen
all of them that will ever come, and no test has to wait for nothing to happen.
"""

import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from qbhelper.kernel import port, tap
from qbhelper.kernel.link import Bridge
from qbhelper.policy.port import PLAIN, PortSettings
from tests.support import world

PATIENCE = 20.0
"""Seconds that a frame may take; in an emulated machine on a busy one, that may be long."""
LARGEST = 1 << 17
ETH_P_ALL = 3
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, PACKET_MR_PROMISC = 263, 1, 8, 23, 1
TP_STATUS_VLAN_VALID = 0x10
AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata."""
SO_RCVBUFFORCE = 33
VNET_HEADER = struct.Struct("<BBHHHH")
"""struct virtio_net_hdr."""


class Observer:
    """A place where frames can be seen, and sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[bytes] = []

    def fileno(self) -> int:
        """What to wait on."""
        raise NotImplementedError

    def send(self, frame: bytes) -> None:
        """Send a frame from here."""
        raise NotImplementedError

    def read(self) -> bytes:
        """The next frame; BlockingIOError if there is none."""
        raise NotImplementedError

    def until(self, last: bytes) -> list[bytes]:
        """All frames up to this one, with those seen before."""
        deadline = time.monotonic() + PATIENCE
        while last not in self.seen:
            if not select.select([self], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{self.name} has never seen {last.hex(' ')}")
            self.seen.append(self.read())
        return self.seen

    def all_there(self) -> list[bytes]:
        """All frames that have come and were not read."""
        frames = []
        try:
            while True:
                frames.append(self.read())
        except BlockingIOError:
            return frames


class Wire(Observer):
    """An interface of this network, with all that comes in on it."""

    def __init__(self, interface: str) -> None:
        super().__init__(interface)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        index = socket.if_nametoindex(interface)
        membership = struct.pack("=iHH8s", index, PACKET_MR_PROMISC, 0, b"")
        self.socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
        self.socket.bind((interface, ETH_P_ALL))

    def fileno(self) -> int:
        """The socket's."""
        return self.socket.fileno()

    def send(self, frame: bytes) -> None:
        """Send a frame out of the interface."""
        self.socket.send(frame)

    def read(self) -> bytes:
        """The next frame that came in, with the tag that the kernel has taken off."""
        data, ancillary, _, _ = self.socket.recvmsg(LARGEST, socket.CMSG_SPACE(AUXDATA.size))
        for _, _, payload in ancillary:
            status, *_, tag, protocol = AUXDATA.unpack_from(payload)
            if status & TP_STATUS_VLAN_VALID:
                return data[:12] + struct.pack("!HH", protocol, tag) + data[12:]
        return data

    def close(self) -> None:
        """Look no more."""
        self.socket.close()


class Port(Observer):
    """A TAP on the bridge, and what its guest can see and send."""

    def __init__(self, made: tap.Tap, header: bytes) -> None:
        super().__init__(made.name.decode())
        self._tap = made
        self._header = header
        fcntl.fcntl(made.fds[0], fcntl.F_SETFL, fcntl.fcntl(made.fds[0], fcntl.F_GETFL) | os.O_NONBLOCK)

    def fileno(self) -> int:
        """The TAP's."""
        return self._tap.fds[0]

    def send(self, frame: bytes) -> None:
        """Send a frame as the guest does; OSError if it is too short to be one."""
        os.write(self._tap.fds[0], self._header + frame)

    def send_to_be_cut(self, frame: bytes, size: int) -> None:
        """Send a frame with TCP over IPv4, for the kernel to cut it into pieces with so many bytes of the stream."""
        needs_checksum, tcp_over_ipv4 = 1, 1
        os.write(self._tap.fds[0], VNET_HEADER.pack(needs_checksum, tcp_over_ipv4, 54, size, 34, 16) + frame)

    def read(self) -> bytes:
        """The next frame that the guest receives."""
        return os.read(self._tap.fds[0], LARGEST)[len(self._header) :]


@dataclass
class Lan:
    """A bridge, and the places to look from: what is plugged in at its uplink, the host, and a plain port."""

    bridge: str
    uplink: Wire
    host: Wire
    neighbour: Port

    @property
    def observers(self) -> Sequence[Observer]:
        """All of them."""
        return (self.uplink, self.host, self.neighbour)


def describe(bridge: str) -> Bridge:
    """A bridge as grant() knows it."""
    link = world.links()[bridge]
    return Bridge(int(str(link["ifindex"])), bridge.encode(), int(str(link["mtu"])), True)


@contextmanager
def port_on(bridge: str, settings: PortSettings = PLAIN, *, vnet: bool = False) -> Iterator[Port]:
    """A port with these settings: made as grant() makes it, step by step.  What `shape` raises is not caught."""
    tap._last_numbers.clear()  # as for the first port of a process: the lowest free name
    made = tap.create(vnet_header=vnet)
    try:
        name, on = made.name.decode(), describe(bridge)
        mtu = port.mtu_for(on, settings)
        world.run("ip", "link", "set", name, "address", f"fe:00:00:00:00:{made.fds[0] % 256:02x}", "mtu", str(mtu))
        world.run("ip", "link", "set", name, "master", bridge)
        index = socket.if_nametoindex(name)
        if not settings.is_plain:
            port.shape(index, made.name, on, settings)
        world.run("ip", "link", "set", name, "up")
        yield Port(made, bytes(VNET_HEADER.size if vnet else 0))
    finally:
        made.close()


@contextmanager
def lan(bridge: str = "br0", *, filters_vlans: bool = False, uplink: Sequence[str] = ()) -> Iterator[Lan]:
    """A LAN for the time of the block.  `uplink`: words of `bridge vlan add dev UPLINK`, if there are VLANs."""
    with ExitStack() as undo:
        undo.enter_context(_one_processor())
        # New interfaces say nothing by themselves.
        world.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        undo.callback(world.run, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=0")
        undo.enter_context(world.bridge(bridge, up=False))
        # Nothing of its own among what is seen: neither queries, nor reports, seconds later, of the group of the
        # snoopers, which it would join when it is set up.
        world.run("ip", "link", "set", bridge, "type", "bridge", "mcast_snooping", "0")
        world.run("ip", "link", "set", bridge, "up")
        world.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far")
        undo.callback(world.run, "ip", "link", "del", "uplink")
        world.run("ip", "link", "set", "uplink", "master", bridge)
        if filters_vlans:
            world.run("ip", "link", "set", bridge, "type", "bridge", "vlan_filtering", "1")
        for words in uplink:
            world.run("bridge", "vlan", "add", "dev", "uplink", *words.split())
        world.run("ip", "link", "set", "uplink", "up")
        world.run("ip", "link", "set", "far", "up")
        neighbour = undo.enter_context(port_on(bridge))
        far, host = (undo.enter_context(closing(Wire(name))) for name in ("far", bridge))
        yield Lan(bridge, far, host, neighbour)


@contextmanager
def _one_processor() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
