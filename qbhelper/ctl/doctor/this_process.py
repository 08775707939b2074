# SPDX-License-Identifier: GPL-2.0-or-later
"""What the process that asks may become: what is true of it is true of a QEMU that is started from the same place."""

from functools import cache
from pathlib import Path

CAP_NET_ADMIN = 12
CAP_MKNOD = 27


@cache
def _status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text(errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def has_no_new_privs() -> bool:
    """Whether setuid bits and file capabilities give it nothing (prctl(2), PR_SET_NO_NEW_PRIVS).  Raises OSError."""
    return _status().get("NoNewPrivs") == "1"


def can_ever_have(capability: int) -> bool:
    """Whether a capability is in its bounding set; in most containers few are.  Raises OSError."""
    return bool(int(_status().get("CapBnd", "0"), 16) >> capability & 1)
