# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked, and by whom.

Plain classes, not dataclasses: importing `dataclasses` costs the one-shot helper more than the
start of the whole interpreter (design section 7).  `Final` keeps them immutable for the type checker.
"""

import os

TYPE_CHECKING = False  # as typing has it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Final

IFNAMSIZ = 16
"""Size of an interface name with its final NUL byte (linux/if.h)."""

_FORBIDDEN = frozenset(b":/% \t\n\v\f\r\0\xa0")
"""`br0:1` is another name for br0 to the kernel's ioctls; `%` asks it to make up a name; `/` is a path; the rest
is white space, as the kernel's isspace() has it."""


def is_bridge_name(name: bytes) -> bool:
    """Whether the kernel could have an interface of exactly this name (dev_valid_name in net/core/dev.c)."""
    if not 0 < len(name) < IFNAMSIZ or name in (b".", b".."):
        return False
    return _FORBIDDEN.isdisjoint(name)


class Caller:
    """Who asks, as the kernel says: numeric ids, never names.

    uid, gid: the caller's own; groups: the supplementary groups; pid: of their process, 0 if it is not known;
    is_elsewhere: whether they are in another network namespace than this process.
    """

    __slots__ = ("gid", "groups", "is_elsewhere", "pid", "uid")

    def __init__(
        self, uid: int, gid: int, groups: tuple[int, ...], *, pid: int = 0, is_elsewhere: bool = False
    ) -> None:
        self.uid: Final = uid
        self.gid: Final = gid
        self.groups: Final = groups
        self.pid: Final = pid
        self.is_elsewhere: Final = is_elsewhere

    @classmethod
    def of_this_process(cls) -> "Caller":
        """The caller on the standalone way: the native part has made this process theirs; pid: of who started it."""
        return cls(os.getuid(), os.getgid(), tuple(os.getgroups()), pid=os.getppid())


class Request:
    """A port on `bridge` with `queues` fds; with `vnet_header`, frames carry a virtio-net header.

    vhost: as many fds of /dev/vhost-net come with it; persistent: the caller may set the TAP persistent, and open it
    by its name.
    """

    __slots__ = ("bridge", "persistent", "queues", "vhost", "vnet_header")

    def __init__(
        self, bridge: bytes, vnet_header: bool, queues: int = 1, *, vhost: bool = False, persistent: bool = False
    ) -> None:
        self.bridge: Final = bridge
        self.vnet_header: Final = vnet_header
        self.queues: Final = queues
        self.vhost: Final = vhost
        self.persistent: Final = persistent
