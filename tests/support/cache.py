# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests have downloaded and built, kept between runs and outside the checkout.

An interrupted run leaves nothing behind that looks complete, and of two runs at once the second
one waits for the first.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

UNFINISHED = ".unfinished-"


def directory(kind: str) -> Path:
    """Where things of this kind are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "qbhelper" / kind


def once(target: Path, make: Callable[[Path], None]) -> Path:
    """Have `make` fill a directory that then becomes the target, unless the target is there; return the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".lock-{target.name}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = f"{UNFINISHED}{target.name}-"
            for killed in target.parent.glob(unfinished + "*"):
                shutil.rmtree(killed)
            # Beside the target, so that a rename puts the finished thing in its place.
            with tempfile.TemporaryDirectory(prefix=unfinished, dir=target.parent) as scratch:
                result = Path(scratch) / "result"
                result.mkdir(mode=0o755)
                make(result)
                result.rename(target)
    return target
