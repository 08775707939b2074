# SPDX-License-Identifier: GPL-2.0-or-later
"""What privilege the helper's file gives, by a setuid bit or a file capability, and what takes it away."""

import errno
import os
import re
import stat
import struct

from qbhelper.ctl.doctor import this_process
from qbhelper.ctl.doctor.finding import word

_XATTR = "security.capability"
_REVISIONS = (0x01000000, 0x02000000, 0x03000000)
"""Of what a file's capabilities look like (linux/capability.h, VFS_CAP_REVISION_*)."""
_ESCAPE = re.compile(rb"\\([0-7]{3})")
_MOUNTS = "/proc/self/mountinfo"


class Privilege:
    """What a file gives.

    what: in words; works: whether who starts it gets CAP_NET_ADMIN; fault: why not, to be put behind the file's path;
    remedy: what has it give that, empty if nothing can; again: what gives it anew, after chown took it.
    """

    def __init__(self, what: str, fault: str = "", remedy: str = "", again: str = "") -> None:
        self.what = what
        self.works = not fault
        self.fault = fault
        self.remedy = remedy
        self.again = again


def privilege_of(path: str, *, is_of_this_process: bool) -> Privilege:
    """Return what the file gives.  is_of_this_process: to one that is started from where we were.  Raises OSError."""
    status = os.stat(path)
    name = word(path)
    give = f"setcap cap_net_admin=ep {name}"
    capability = _net_admin_of(path)
    if status.st_mode & stat.S_ISUID:
        kind, again = "setuid root", f"chmod 4755 {name}"
        if status.st_uid != 0:
            fault = "is setuid, but not owned by root"
            return Privilege(fault, fault, f"chown root {name} && {again}", again)
    elif capability is not None:
        kind, again = "it has the file capability cap_net_admin", give
        if not capability:
            return Privilege("it has a file capability", "has a file capability, but not cap_net_admin", give, give)
    else:
        what = "no privilege of its own: it asks the broker"
        return Privilege(what, "is not setuid root and has no file capability", give)
    return _as_it_counts(path, kind, again, is_of_this_process=is_of_this_process)


def _as_it_counts(path: str, kind: str, again: str, *, is_of_this_process: bool) -> Privilege:
    """Return the privilege, or what takes it away where it is (execve(2))."""
    what = "setuid bit" if kind.startswith("setuid") else "file capability"
    if not this_process.can_ever_have(this_process.CAP_NET_ADMIN):
        fault = f"has no use of its {what}: CAP_NET_ADMIN is not in the bounding set, as in most containers"
        return Privilege(f"{kind}, which is of no use here", fault)
    if is_of_this_process and this_process.has_no_new_privs():
        fault = f"has no use of its {what}: no_new_privs is set here, as in a sandbox"
        return Privilege(f"{kind}, which is of no use here: no_new_privs is set", fault, again=again)
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        mount = _mount_point(path)
        fault = f"has no use of its {what}: {mount} is mounted nosuid"
        remedy = f"mount -o remount,suid {word(mount)}"
        return Privilege(f"{kind}, which is of no use: {mount} is mounted nosuid", fault, remedy, again)
    return Privilege(kind, again=again)


def _net_admin_of(path: str) -> bool | None:
    """Whether the capabilities of a file have CAP_NET_ADMIN among those permitted; None if it has none."""
    try:
        value = os.getxattr(path, _XATTR)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise
    if len(value) < 8:
        return False
    magic, permitted = struct.unpack_from("<II", value)
    return magic & 0xFF000000 in _REVISIONS and bool(permitted >> this_process.CAP_NET_ADMIN & 1)


def _mount_point(path: str) -> str:
    """Return where the file system is mounted that a file is on (proc(5), mountinfo)."""
    real = os.path.realpath(path)
    with open(_MOUNTS, "rb") as mounts:
        points = [os.fsdecode(_ESCAPE.sub(_unescaped, line.split()[4])) for line in mounts]
    return max((point for point in points if f"{real}/".startswith(f"{point.rstrip('/')}/")), key=len, default="/")


def _unescaped(found: "re.Match[bytes]") -> bytes:
    return bytes([int(found[1], 8)])
