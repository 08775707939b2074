# SPDX-License-Identifier: GPL-2.0-or-later
"""All interfaces at one look, with their traffic and VLANs, and word of when to look again.

It takes no privilege: the kernel tells anyone in a network namespace all of this (linux/if_link.h).
"""

import errno
import struct
from _socket import AF_NETLINK, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_RAW
from _socket import socket as Socket  # noqa: N812

from qbhelper.errors import KernelError, reason
from qbhelper.kernel.bridge_port import Interface, vlans_of
from qbhelper.kernel.exchange import Exchange, Refused, attributes
from qbhelper.kernel.message import NETLINK_ROUTE, NLM_F_DUMP, RTM_GETLINK, RTMGRP_LINK, Link, ifinfo, parse_link
from qbhelper.kernel.traffic import Limits, limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IFLA_STATS64 = 23

_IFINFO_SIZE = 16
_STATISTICS = struct.Struct("=8Q")
_EVENT_SIZE = 16
_AT_ONCE = 1024
"""Announcements read in one go: whoever holds a TAP can have it announced faster than we read."""


class Counted:
    """What went through a port in one direction since its interface was made: bytes, packets, and packets dropped."""

    __slots__ = ("bytes", "dropped", "packets")

    def __init__(self, bytes_: int, packets: int, dropped: int) -> None:
        self.bytes: Final = bytes_
        self.packets: Final = packets
        self.dropped: Final = dropped


class Seen:
    """An interface as it was seen.

    link and interface: what it is; is_open: of a TAP, whether a process has it open; from_port: what it received, of a
    TAP what the guest sent; to_port: the other way; vlans: those that the port is in, with the flags of each, None
    where its bridge does not tell VLANs apart; limits: of a TAP, what traffic control does as we set it up.
    """

    __slots__ = ("from_port", "interface", "is_open", "limits", "link", "to_port", "vlans")

    def __init__(self, payload: bytes) -> None:
        described = dict(attributes(payload, _IFINFO_SIZE))
        self.link: Final[Link] = parse_link(payload)
        self.interface: Final = Interface(payload)
        # Without a process there is no carrier; but a process can also take it away (TUNSETCARRIER).  Only a TAP that
        # is persistent is there without a process.
        self.is_open: Final = not self.link.persistent or self.link.has_carrier
        statistics = described.get(IFLA_STATS64, b"").ljust(_STATISTICS.size, b"\0")
        in_packets, out_packets, in_bytes, out_bytes, _, _, in_lost, out_lost = _STATISTICS.unpack_from(statistics)
        self.from_port: Final = Counted(in_bytes, in_packets, in_lost)
        self.to_port: Final = Counted(out_bytes, out_packets, out_lost)
        self.vlans: dict[int, int] | None = None
        self.limits = Limits()


def look() -> list[Seen]:
    """Return all interfaces of the network namespace, in the order of their indexes.  Raises KernelError."""
    try:
        with Exchange() as exchange:
            return _look(exchange)
    except (OSError, struct.error, LookupError) as error:
        what = reason(error) if isinstance(error, OSError) else "its answer makes no sense"
        raise KernelError(f"failed to ask the kernel for its interfaces: {what}") from error


def _look(exchange: Exchange) -> list[Seen]:
    # By index: an interface that comes while the kernel tells of the others may be told of twice.
    found = {seen.link.index: seen for seen in map(Seen, exchange.ask(RTM_GETLINK, ifinfo(0), NLM_F_DUMP))}
    for seen in found.values():
        bridge = found.get(seen.link.master)
        if bridge is not None and bridge.interface.filters_vlans:
            try:
                seen.vlans = vlans_of(exchange, seen.link.index)
            except OSError as error:
                if error.errno != errno.ENODEV:  # gone since
                    raise
    taps = {index for index, seen in found.items() if seen.link.kind == b"tun"}
    if taps:
        for index, done in _limits(exchange, taps).items():
            found[index].limits = done
    return [found[index] for index in sorted(found)]


def _limits(exchange: Exchange, taps: set[int]) -> dict[int, Limits]:
    try:
        return limits(exchange, taps)
    except Refused as refusal:
        # A kernel without traffic control; or a TAP has just gone, and what there was to know of the others is left
        # for the next look.
        if refusal.errno in (errno.EOPNOTSUPP, errno.ENODEV, errno.ENOENT, errno.EINVAL):
            return {}
        raise


class Changes:
    """Word of each change of an interface.  A context manager: leaving it closes the socket."""

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        """From now on.  Raises KernelError."""
        try:
            self._socket = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
            self._socket.bind((0, RTMGRP_LINK))
        except OSError as error:
            raise KernelError(f"failed to hear of changes: {reason(error)} (netlink)") from error

    def __enter__(self) -> "Changes":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The fd to wait on until something has changed."""
        return self._socket.fileno()

    def forget(self) -> None:
        """Pass over what was announced by now, as far as it is read in one go."""
        for _ in range(_AT_ONCE):
            try:
                self._socket.recv(_EVENT_SIZE, MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # more than there is room for: that, too, means to look
                    raise
