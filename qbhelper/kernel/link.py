# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces and bridge ports: netlink to look at them, ioctls to change them (netdevice(7), linux/sockios.h).

The ioctls name interfaces by their names, and names can change hands.  So a name is resolved once to the
interface's index, and after the last step `Network.master_of` tells the index that the port is really on.
"""

import errno
import struct
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM
from _socket import socket as Socket  # noqa: N812  the same class without the 8 ms that socket.py takes
from fcntl import ioctl

from qbhelper.errors import KernelError, NoSuchBridge, printable, reason
from qbhelper.kernel.netlink import Links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SIOCGIFFLAGS = 0x8913
SIOCSIFFLAGS = 0x8914
SIOCGIFMTU = 0x8921
SIOCSIFMTU = 0x8922
SIOCSIFHWADDR = 0x8924
SIOCGIFHWADDR = 0x8927
SIOCGIFINDEX = 0x8933
SIOCBRADDIF = 0x89A2

IFF_UP = 0x1

_HIGH_FIRST_BYTE = b"\xfe"
"""A bridge takes the lowest MAC of its ports for its own; with fe: first it does not take the TAP's."""

_INTEGER = struct.Struct("16si20x")
_FLAGS = struct.Struct("16sh22x")
_ADDRESS = struct.Struct("16sH14s8x")


class Bridge:
    """An interface that a request named: its index, and its one canonical name, whatever it was called."""

    __slots__ = ("index", "name")

    def __init__(self, index: int, name: bytes) -> None:
        self.index: Final = index
        self.name: Final = name


class Network:
    """The network namespace of this process."""

    __slots__ = ("_links", "_socket")

    def __init__(self) -> None:
        """Raises KernelError if there is no socket to be had."""
        try:
            # Any socket will do for these ioctls.
            self._socket = Socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        except OSError as error:
            raise KernelError(f"failed to open control socket: {reason(error)}") from error
        try:
            self._links = Links()
        except OSError as error:
            raise KernelError(
                f"failed to open control socket: {reason(error)} (netlink)",
                "let the sandbox that QEMU runs in have AF_NETLINK (systemd: RestrictAddressFamilies=)",
            ) from error

    def close(self) -> None:
        """Close what it asks the kernel through."""
        self._socket.close()
        self._links.close()

    def find(self, name: bytes) -> Bridge | None:
        """Resolve `name`, which may be an altname, to the interface; None if there is none.

        Whether it is a bridge shows when a port is attached.
        """
        try:
            link = self._links.find(name)
        except OSError as error:
            raise KernelError(f"failed to look up bridge `{printable(name)}': {reason(error)}") from error
        return None if link is None else Bridge(link.index, link.name)

    def copy_mtu(self, bridge: Bridge, tap: bytes) -> None:
        """Give `tap` the MTU of `bridge` (bytes).  Before attaching: a bridge follows its smallest port."""
        try:
            mtu = self._integer(SIOCGIFMTU, bridge.name)
        except OSError as error:
            raise KernelError(f"failed to get mtu of bridge `{printable(bridge.name)}': {reason(error)}") from error
        try:
            self._ioctl(SIOCSIFMTU, _INTEGER.pack(tap, mtu))
        except OSError as error:
            raise KernelError(
                f"failed to set mtu of device `{printable(tap)}' to {mtu}: {reason(error)}",
                f"a TAP takes 68 to 65521 bytes; if `{printable(bridge.name)}' is the bridge you mean, change its MTU",
            ) from error

    def raise_address(self, tap: bytes) -> None:
        """Put fe: first in the random MAC of `tap`, so that the bridge keeps its own."""
        try:
            family, address = _ADDRESS.unpack(self._ioctl(SIOCGIFHWADDR, _ADDRESS.pack(tap, 0, b"")))[1:]
        except OSError as error:
            raise KernelError(f"failed to get MAC address of device `{printable(tap)}': {reason(error)}") from error
        try:
            self._ioctl(SIOCSIFHWADDR, _ADDRESS.pack(tap, family, _HIGH_FIRST_BYTE + address[1:]))
        except OSError as error:
            raise KernelError(f"failed to set MAC address of device `{printable(tap)}': {reason(error)}") from error

    def label(self, tap: bytes, alias: bytes) -> None:
        """Give `tap` an alias (at most 255 bytes)."""
        try:
            self._links.set_alias(self._integer(SIOCGIFINDEX, tap), alias)
        except OSError as error:
            raise KernelError(f"failed to set the alias of `{printable(tap)}': {reason(error)}") from error

    def attach(self, tap: bytes, bridge: Bridge) -> None:
        """Make `tap` a port of `bridge`.  Raises NoSuchBridge where that is no Linux bridge."""
        try:
            self._ioctl(SIOCBRADDIF, _INTEGER.pack(bridge.name, self._integer(SIOCGIFINDEX, tap)))
        except OSError as error:
            what = f"failed to add interface `{printable(tap)}' to bridge `{printable(bridge.name)}': {reason(error)}"
            if error.errno == errno.EOPNOTSUPP:
                raise NoSuchBridge(what, "it is not a Linux bridge; `ip link show type bridge' lists them") from error
            if error.errno == errno.EXFULL:
                raise KernelError(what, "all 1023 ports of the bridge are taken") from error
            raise KernelError(what) from error

    def bring_up(self, tap: bytes) -> None:
        """Set `tap` up, and read back that it is."""
        try:
            flags = self._flags(tap)
        except OSError as error:
            raise KernelError(f"failed to get interface flags for `{printable(tap)}': {reason(error)}") from error
        try:
            self._ioctl(SIOCSIFFLAGS, _FLAGS.pack(tap, flags | IFF_UP))
            if not self._flags(tap) & IFF_UP:
                raise OSError(errno.EIO, "the kernel did not set what was asked")
        except OSError as error:
            raise KernelError(f"failed to bring up interface `{printable(tap)}': {reason(error)}") from error

    def master_of(self, tap: bytes) -> int:
        """Return the index of the bridge that `tap` is a port of, 0 if of none.  No ioctl tells; netlink does."""
        try:
            link = self._links.get(self._integer(SIOCGIFINDEX, tap))
        except OSError as error:
            raise KernelError(f"failed to read back the bridge of `{printable(tap)}': {reason(error)}") from error
        return link.master if link is not None else 0

    def _integer(self, command: int, name: bytes) -> int:
        value: int = _INTEGER.unpack(self._ioctl(command, _INTEGER.pack(name, 0)))[1]
        return value

    def _flags(self, name: bytes) -> int:
        flags: int = _FLAGS.unpack(self._ioctl(SIOCGIFFLAGS, _FLAGS.pack(name, 0)))[1]
        return flags

    def _ioctl(self, command: int, request: bytes) -> bytes:
        return ioctl(self._socket.fileno(), command, request)
