# SPDX-License-Identifier: GPL-2.0-or-later
"""TAP devices through /dev/net/tun (linux/if_tun.h, Documentation/networking/tuntap.rst)."""

import os
import struct
from fcntl import ioctl

from qbhelper.errors import KernelError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

TUN_DEVICE = "/dev/net/tun"
NAME_TEMPLATE = b"tap%d"
"""The kernel puts in the lowest free number."""

IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000

# _IOW() puts the direction bits elsewhere on these machines (their asm/ioctl.h).
_SWAPPED = os.uname().machine.startswith(("alpha", "mips", "parisc", "ppc", "sparc"))
_WRITE = 0x80000000 if _SWAPPED else 0x40000000
_INT = 4 << 16
TUNSETIFF = _WRITE | _INT | ord("T") << 8 | 202
TUNSETOWNER = _WRITE | _INT | ord("T") << 8 | 204

_IFREQ = struct.Struct("16sH22x")
"""struct ifreq: a name, then here the flags, in a union as large as the largest of the ABIs has it."""


class Tap:
    """A TAP that lives as long as an fd of it is open: closing `fd` is what undoes everything.

    fd: blocking, close-on-exec; name: as the kernel chose it.
    """

    __slots__ = ("fd", "name")

    def __init__(self, fd: int, name: bytes) -> None:
        self.fd: Final = fd
        self.name: Final = name

    def close(self) -> None:
        """Close our fd; unless it was handed over, the kernel now removes the TAP."""
        os.close(self.fd)


def create(vnet_header: bool) -> Tap:
    """Create a TAP that nobody else can attach to, down and on no bridge.

    With `vnet_header` its frames carry a virtio-net header, as every kernel that we run on can do it.
    Raises KernelError.
    """
    try:
        fd = os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"failed to open {TUN_DEVICE}: {reason(error)}", _how_to_open(error)) from error
    try:
        flags = IFF_TAP | IFF_NO_PI
        if vnet_header:
            flags |= IFF_VNET_HDR
        # `%d` always makes a new one, so this never attaches to somebody's existing TAP.
        answer = ioctl(fd, TUNSETIFF, _IFREQ.pack(NAME_TEMPLATE, flags))
        # A TAP without an owner may be opened by its name by any local user, once it is persistent
        # or has several queues.  Owned by uid 0, by nobody without CAP_NET_ADMIN.
        ioctl(fd, TUNSETOWNER, 0)
    except OSError as error:
        os.close(fd)
        what = f"failed to create tun device: {reason(error)}"
        if isinstance(error, PermissionError):
            raise KernelError(what, "CAP_NET_ADMIN is held, but not over the network namespace we are in") from error
        raise KernelError(what) from error
    name: bytes = _IFREQ.unpack(answer)[0]
    return Tap(fd, name.rstrip(b"\0"))


def _how_to_open(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"as root: chmod 0666 {TUN_DEVICE}"
    return f"as root: modprobe tun; in a container, let it have the device {TUN_DEVICE}"
