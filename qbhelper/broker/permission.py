# SPDX-License-Identifier: GPL-2.0-or-later
"""Could this caller read that file?  The kernel's own rule, worked out for somebody else.

path_resolution(7), acl(5), and acl_permission_check() and posix_acl_permission() in the kernel, for a
caller without CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: that is what callers are on the standalone way.
"""

import errno
import os
import struct
from dataclasses import dataclass

from qbhelper.request import Caller

READ = 4
SEARCH = 1

_ACL_VERSION = 2
_ACL_HEADER = struct.Struct("<I")
_ACL_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20


@dataclass(frozen=True)
class Entry:
    """One entry of a POSIX ACL: a tag, permission bits as in a mode, and the uid or gid for some tags."""

    tag: int
    bits: int
    number: int


@dataclass(frozen=True)
class Gate:
    """What one file or directory on a path asks of who passes: `want` is READ or SEARCH."""

    want: int
    mode: int
    uid: int
    gid: int
    acl: tuple[Entry, ...]

    def lets_pass(self, caller: Caller) -> bool:
        """Whether `caller` has the permission that is wanted."""
        if caller.uid == self.uid:
            return bool(self.mode >> 6 & self.want)
        # With an ACL the group bits of the mode are its mask; where that is empty, the kernel does not look at the ACL.
        if self.acl and self.mode & 0o070:
            return self._acl_lets_pass(caller)
        return bool(self.mode >> (3 if _is_in(caller, self.gid) else 0) & self.want)

    def _acl_lets_pass(self, caller: Caller) -> bool:
        mask = next((entry.bits for entry in self.acl if entry.tag == _MASK), 7)
        in_a_group = False
        for entry in self.acl:
            if entry.tag == _USER and entry.number == caller.uid:
                return bool(entry.bits & mask & self.want)
            if (entry.tag == _GROUP_OBJ and _is_in(caller, self.gid)) or (
                entry.tag == _GROUP and _is_in(caller, entry.number)
            ):
                in_a_group = True
                if entry.bits & self.want:
                    return bool(entry.bits & mask & self.want)
            if entry.tag == _OTHER:
                return not in_a_group and bool(entry.bits & self.want)
        return False


def gate(fd: int, want: int) -> Gate:
    """Return what the file or directory that `fd` (O_PATH will do) refers to asks.  Raises OSError."""
    status = os.fstat(fd)
    return Gate(want, status.st_mode & 0o777, status.st_uid, status.st_gid, _read_acl(fd))


def _read_acl(fd: int) -> tuple[Entry, ...]:
    try:
        # fgetxattr(2) takes no O_PATH fd; this way round it does.
        raw = os.getxattr(f"/proc/self/fd/{fd}", "system.posix_acl_access")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return ()
        raise
    if len(raw) % _ACL_ENTRY.size != _ACL_HEADER.size or _ACL_HEADER.unpack_from(raw)[0] != _ACL_VERSION:
        raise OSError(errno.EBADMSG, "an ACL of a version that is not known")
    return tuple(Entry(*fields) for fields in _ACL_ENTRY.iter_unpack(raw[_ACL_HEADER.size :]))


def _is_in(caller: Caller, gid: int) -> bool:
    return gid == caller.gid or gid in caller.groups
