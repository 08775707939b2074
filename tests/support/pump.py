# SPDX-License-Identifier: GPL-2.0-or-later
"""The output of a child process as it comes.  For whole machines, on both sides of their walls."""

import os
import select
import subprocess
from collections.abc import Generator


def output_of(process: "subprocess.Popen[bytes]", patience: float) -> Generator[bytes, None, int]:
    """Yield what a process writes until it ends; return its exit status, as a shell counts it.

    What it leaves running in the background may keep its stdout: that is not waited for.  If there
    is no word for `patience` seconds, or who listens goes away, the process is killed; in the
    first case `TimeoutError` is raised.
    """
    assert process.stdout is not None
    handle = os.pidfd_open(process.pid)
    try:
        stdout = process.stdout.fileno()
        while ready := select.select([stdout, handle], [], [], patience)[0]:
            chunk = os.read(stdout, 1 << 16) if stdout in ready else b""
            if not chunk:
                break
            yield chunk
        if not ready:
            raise TimeoutError
        status = process.wait()
        return status if status >= 0 else 128 - status
    finally:
        os.close(handle)
        process.stdout.close()
        process.kill()
        process.wait()
