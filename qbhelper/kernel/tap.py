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
IFF_MULTI_QUEUE = 0x0100
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000

# _IOW() puts the direction bits elsewhere on these machines (their asm/ioctl.h).
_SWAPPED = os.uname().machine.startswith(("alpha", "mips", "parisc", "ppc", "sparc"))
_WRITE = 0x80000000 if _SWAPPED else 0x40000000
_INT = 4 << 16
TUNSETIFF = _WRITE | _INT | ord("T") << 8 | 202
TUNSETOWNER = _WRITE | _INT | ord("T") << 8 | 204

_IFREQ = struct.Struct("16sH22x")
"""struct ifreq: a name, then here the flags, in a union as large as the largest of the ABIs has it."""


class Tap:
    """A TAP that lives as long as an fd of it is open: closing all of them is what undoes everything.

    fds: one for each queue, blocking, close-on-exec; name: as the kernel chose it.
    """

    __slots__ = ("fds", "name")

    def __init__(self, fds: tuple[int, ...], name: bytes) -> None:
        self.fds: Final = fds
        self.name: Final = name

    def close(self) -> None:
        """Close our fds; unless they were handed over, the kernel now removes the TAP."""
        for fd in self.fds:
            os.close(fd)


def create(vnet_header: bool, queues: int = 1, template: bytes = NAME_TEMPLATE) -> Tap:
    """Create a TAP that nobody else can attach to, down and on no bridge.

    With `vnet_header` its frames carry a virtio-net header, as every kernel that we run on can do it; `queues`: at
    least 1; `template`: of its name, in which the kernel puts the lowest free number for `%d`.  Raises KernelError.
    """
    flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet_header else 0) | (IFF_MULTI_QUEUE if queues > 1 else 0)
    fds: list[int] = []
    name = template
    try:
        for number in range(queues):
            fds.append(_open())
            # The first one makes a new TAP, and never attaches to somebody's existing one.
            answer = ioctl(fds[-1], TUNSETIFF, _IFREQ.pack(name, flags if number else flags | IFF_TUN_EXCL))
            name = _IFREQ.unpack(answer)[0].rstrip(b"\0")
            if not number:
                # A TAP without an owner may be opened by its name by any local user, once it is persistent
                # or has several queues.  Owned by uid 0, by nobody without CAP_NET_ADMIN.
                ioctl(fds[0], TUNSETOWNER, 0)
    except BaseException as error:
        Tap(tuple(fds), name).close()
        if isinstance(error, OSError):
            raise _failed_to_create(error) from error
        raise
    return Tap(tuple(fds), name)


def _open() -> int:
    try:
        return os.open(TUN_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"failed to open {TUN_DEVICE}: {reason(error)}", _how_to_open(error)) from error


def _failed_to_create(error: OSError) -> KernelError:
    what = f"failed to create tun device: {reason(error)}"
    if isinstance(error, PermissionError):
        return KernelError(what, "CAP_NET_ADMIN is held, but not over the network namespace we are in")
    return KernelError(what)


def _how_to_open(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"as root: chmod 0666 {TUN_DEVICE}"
    return f"as root: modprobe tun; in a container, let it have the device {TUN_DEVICE}"
