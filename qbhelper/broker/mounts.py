# SPDX-License-Identifier: GPL-2.0-or-later
"""What is mounted where, as far as it decides which file a path leads to (proc_pid_mountinfo(5)).

A mount over a directory changes nothing in it that its clock could show.  But the kernel says of each change of the
mounts that there was one.
"""

import os
import re
import select

_ESCAPE = re.compile(rb"\\([0-7]{3})")
_HIDING = (b"/systemd-private-", b"/systemd/inaccessible/", b"/host/inaccessible/")
"""In the name of what systemd mounts over a path for PrivateTmp=; for InaccessiblePaths=, ProtectHome=yes,
ProtectKernelModules=; and for these in a container."""
_NOBODYS = (b"/dev", b"/proc", b"/sys")
"""Not the same for each process: PrivateDevices=, /proc/self.  And reading may change things there."""


def is_users(mount: bytes) -> bool:
    """Whether a mount, in the kernel's words, may have been made by a user: fusermount(1) alone does that for them."""
    return b" - fuse" in mount


class Mounts:
    """The mounts of this mount namespace.  Of a change `at` knows after `have_changed`."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._changes = select.poll()
        self._changes.register(self._fd, select.POLLPRI)  # not POLLIN: it can always be read
        self._at = self._read()

    def close(self) -> None:
        """Close what tells of changes."""
        os.close(self._fd)

    def at(self, path: bytes) -> tuple[bytes, ...]:
        """Return what is mounted at `path`, which has no symbolic links in it: the kernel's words, to be compared."""
        return self._at.get(path, ())

    def why_hidden(self, path: bytes) -> str:
        """Return why the broker can't tell what its callers find at `path`, or below; empty if it can."""
        if path in _NOBODYS:
            return f"{path.decode()} is no place for an access list"
        # The fourth field: the path in the mounted file system that is to be seen here (mount(2), MS_BIND).
        if any(marker in line.split(b" ")[3] for line in self.at(path) for marker in _HIDING):
            return "systemd hides it from the broker"
        if any(is_users(line) for line in self.at(path)):
            return "it is on a FUSE file system, where a user could keep the broker waiting"
        return ""

    def have_changed(self) -> bool:
        """Whether there was any change since the last call, and if so look again."""
        if not self._changes.poll(0):
            return False
        self._at = self._read()
        return True

    def _read(self) -> dict[bytes, tuple[bytes, ...]]:
        text = b""
        os.lseek(self._fd, 0, os.SEEK_SET)
        while part := os.read(self._fd, 1 << 16):
            text += part
        found: dict[bytes, tuple[bytes, ...]] = {}
        for line in text.splitlines():
            point = _ESCAPE.sub(lambda escape: bytes((int(escape[1], 8),)), line.split(b" ")[4])
            found[point] = (*found.get(point, ()), line)
        return found
