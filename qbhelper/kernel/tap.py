# SPDX-License-Identifier: GPL-2.0-or-later
"""TAP devices through /dev/net/tun (linux/if_tun.h, Documentation/networking/tuntap.rst)."""

import errno
import os
import stat
import struct
from fcntl import ioctl

from qbhelper.errors import KernelError, printable, reason
from qbhelper.request import IFNAMSIZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

TUN_DEVICE = "/dev/net/tun"
TUN_NUMBER = os.makedev(10, 200)
"""Documentation/admin-guide/devices.txt in the kernel's source."""
NAME_TEMPLATE = b"tap%d"

NOBODYS = 0
"""As owner: that of root, who needs no leave."""

IFF_TAP = 0x0002
IFF_MULTI_QUEUE = 0x0100
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_TUN_EXCL = 0x8000

# _IOW() puts the direction bits elsewhere on these machines (their asm/ioctl.h).
_SWAPPED = os.uname().machine.startswith(("alpha", "mips", "parisc", "ppc", "sparc"))
_WRITE, _READ = (0x80000000, 0x40000000) if _SWAPPED else (0x40000000, 0x80000000)
_INT = 4 << 16
TUNSETIFF = _WRITE | _INT | ord("T") << 8 | 202
TUNSETPERSIST = _WRITE | _INT | ord("T") << 8 | 203
TUNSETOWNER = _WRITE | _INT | ord("T") << 8 | 204
TUNGETIFF = _READ | _INT | ord("T") << 8 | 210

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


def keep(fd: int, name: bytes) -> None:
    """Have a TAP, called `name`, be there also when no fd of it is open any more.  Raises KernelError."""
    try:
        ioctl(fd, TUNSETPERSIST, 1)
    except OSError as error:
        raise KernelError(f"failed to set `{printable(name)}' persistent: {reason(error)}") from error


def name_now(fd: int) -> bytes:
    """Return the name of the TAP that is open here; nobody but root gives it another.  Raises OSError."""
    found: bytes = _IFREQ.unpack(ioctl(fd, TUNGETIFF, _IFREQ.pack(b"", 0)))[0]
    return found.rstrip(b"\0")


def has_device() -> bool:
    """Whether TUN_DEVICE is what it should be, as far as we see."""
    try:
        status = os.stat(TUN_DEVICE)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == TUN_NUMBER


_last_numbers: dict[bytes, int] = {}
"""Template -> the number in the last name that was made of it."""


def create(vnet_header: bool, queues: int = 1, template: bytes = NAME_TEMPLATE, owner: int = NOBODYS) -> Tap:
    """Create a TAP that nobody but `owner`, a uid, can attach to by its name, down and on no bridge.

    With `vnet_header` its frames carry a virtio-net header, as every kernel that we run on can do it; `queues`: at
    least 1; `template`: of its name, in which a number that is free takes the place of `%d`.  Raises KernelError.
    """
    try:
        return _create(vnet_header, queues, template, owner)
    except OSError as error:
        raise _failed_to_create(error) from error


def _names(template: bytes) -> "Iterator[bytes]":
    """Yield the names to try: those after the last one, then the template itself.

    For the lowest free number the kernel would look at all interfaces; with a thousand that takes as long as all the
    rest.  And a port that follows another soon is not taken for it in anybody's log.
    """
    last = _last_numbers.get(template)
    if last is not None:
        for number in (last + 1, last + 2):  # somebody else may make TAPs of such names, too
            name = template.replace(b"%d", b"%d" % number)
            if len(name) < IFNAMSIZ:
                yield name
    yield template


def _create(vnet_header: bool, queues: int, template: bytes, owner: int) -> Tap:
    flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet_header else 0) | (IFF_MULTI_QUEUE if queues > 1 else 0)
    fds: list[int] = []
    name = template
    try:
        for queue in range(queues):
            fds.append(_open())
            if queue:
                ioctl(fds[queue], TUNSETIFF, _IFREQ.pack(name, flags))
                continue
            # Exclusive: this makes a new TAP, and never attaches to somebody's existing one.
            names = _names(template) if owner == NOBODYS else (template,)  # people type the names of theirs
            name = _made(fds[0], template, names, flags | IFF_TUN_EXCL)
            # A TAP without an owner may be opened by its name by any local user, once it is persistent
            # or has several queues.  Owned by uid 0, by nobody without CAP_NET_ADMIN.
            ioctl(fds[0], TUNSETOWNER, NOBODYS)
        if owner != NOBODYS:
            # Not before all queues are there: its owner could take the last ones, and keep what is left of a failure.
            ioctl(fds[0], TUNSETOWNER, owner - (1 << 32) if owner >> 31 else owner)
    except BaseException:
        Tap(tuple(fds), name).close()
        raise
    return Tap(tuple(fds), name)


def _made(fd: int, template: bytes, names: "Iterable[bytes]", flags: int) -> bytes:
    """Make the TAP, and return its name, of `names` the first that is free.  Raises OSError."""
    answer = b""
    for name in names:
        try:
            answer = ioctl(fd, TUNSETIFF, _IFREQ.pack(name, flags))
        except OSError as error:
            if error.errno == errno.EBUSY and name != template:
                continue
            raise
        break
    made: bytes = _IFREQ.unpack(answer)[0].rstrip(b"\0")
    before, found, after = template.partition(b"%d")
    if found:
        _last_numbers[template] = int(made[len(before) : len(made) - len(after)])
    return made


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
