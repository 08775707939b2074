# SPDX-License-Identifier: GPL-2.0-or-later
"""Stand-ins for the Python core: what the native part hands over, told by the process itself.

A copy of our helper is installed with another `qbhelper/standalone.py`; everything else about it
is as `make install` leaves it.
"""

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.kernel.ways import Way
from tests.support import caller, world
from tests.support.install import TREE, Privilege

REPORT = '''
def main(words):
    """Tell everything about this process on stderr, and end."""
    import json, os, resource, signal, sys

    def read(name):
        with open("/proc/self/" + name, "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")

    fds = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            fds[fd] = os.readlink("/proc/self/fd/" + fd)
        except FileNotFoundError:
            pass
    report = {
        "words": words,
        "status": dict(line.split(":\\t", 1) for line in read("status").splitlines() if ":\\t" in line),
        "environment": read("environ").split("\\0")[:-1],
        "command": read("cmdline").split("\\0")[:-1],
        "fds": fds,
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if "RLIMIT_" in name},
        "cwd": os.getcwd(),
        "path": sys.path,
        "flags": {
            name: getattr(sys.flags, name) for name in ("isolated", "no_site", "dont_write_bytecode", "safe_path")
        },
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0],
        "modules": [getattr(module, "__file__", None) for module in list(sys.modules.values())],
    }
    os.write(2, json.dumps(report).encode())
    os._exit(0)
'''
"""A core that reports on its process and ends."""

HOLD = '''
def main(words):
    """Stop, as SIGSTOP does, in the state that the native part left, or after privilege.enter()."""
    import os, signal
    if ENTER:
        from qbhelper import privilege
        privilege.enter()
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
'''
"""A core that stands still until it gets SIGCONT."""


@cache
def installation(name: str, core: str | None, *settings: str) -> Path:
    """Install our helper, with `core` (if any) in place of its standalone.py, and settings of make; the prefix."""
    prefix = world.WORLD / "probes" / name
    subprocess.run(
        ["make", "-s", "-C", str(TREE), "install", f"prefix={prefix}", f"BUILD={world.WORLD}/build-{name}", *settings],
        check=True,
        umask=0o022,
    )
    if core is None:
        return prefix
    modules = prefix / "lib/qbhelper/qbhelper"
    (modules / "standalone.py").write_text(core)
    # What was compiled counts without a look at its source, so it has to go.
    for compiled in (modules / "__pycache__").glob("standalone.*"):
        compiled.unlink()
    return prefix


@cache
def probe(name: str, core: str | None, privilege: Privilege, *settings: str) -> Way:
    """A helper with this core and this way to privilege."""
    native = installation(name, core, *settings) / "bin/qbhelper"
    copy = native.with_name(f"qbhelper-{privilege.value}")
    shutil.copyfile(native, copy)
    copy.chmod(0o4755 if privilege is Privilege.SETUID else 0o755)
    if privilege is Privilege.FILE_CAPABILITY:
        world.run("setcap", "cap_net_admin=ep", str(copy))
    return Way(copy, None if privilege is Privilege.NONE else caller.PLAIN_UID)


def reported(outcome: caller.Outcome) -> dict[str, Any]:
    """What a core of REPORT said."""
    assert outcome.status == 0, outcome
    report: dict[str, Any] = json.loads(outcome.stderr)
    return report


def fields(text: str) -> dict[str, str]:
    """The lines of a /proc/PID/status."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def status_of(pid: int) -> dict[str, str]:
    """The /proc/PID/status of a process, by its lines."""
    return fields(Path("/proc", str(pid), "status").read_text())


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def end(pid: int) -> None:
    """End one process that a test has started, if it is still there."""
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
