# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that need not be children of ours: daemons, and what somebody left behind."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def running(program: str) -> frozenset[int]:
    """The processes of this PID namespace that were started by this name; the dead don't count."""
    return frozenset(int(path.name) for path in Path("/proc").glob("[0-9]*") if _is(path, program))


def below(pid: int, program: str) -> int | None:
    """The process of this name that `pid` is, or has started directly or through others; None if there is none."""
    if _is(Path("/proc", str(pid)), program):
        return pid
    return next((one for one in running(program) if pid in _ancestors(one)), None)


def _is(process: Path, program: str) -> bool:
    with suppress(OSError):
        return (process / "cmdline").read_bytes().split(b"\0")[0] == program.encode()
    return False


def _ancestors(pid: int) -> Iterator[int]:
    with suppress(OSError):
        while pid:
            # The name, in brackets, may hold anything (proc(5)).
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            yield pid


def end(pid: int, patience: float) -> None:
    """Have a process end, and wait until it has; it is killed when it takes longer than `patience`.

    Process 1 is left to bury it, as `./dev` does.
    """
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            if not select.select([handle], [], [], patience)[0]:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [])
        finally:
            os.close(handle)
