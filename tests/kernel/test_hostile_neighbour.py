# SPDX-License-Identifier: GPL-2.0-or-later
"""Another process of the same uid tries to get at the helper while it holds CAP_NET_ADMIN.

Real native part, real state; only the core is one that stands still there, so that there is time.
"""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import probe
from tests.kernel.conftest import LENT
from tests.support import caller
from tests.support.install import Privilege

pytestmark = pytest.mark.needs_root

PLAIN: dict[str, Any] = {"user": caller.PLAIN_UID, "group": caller.PLAIN_UID, "extra_groups": []}

ATTACK = r"""
import ctypes, json, os, sys

pid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
results = {}

def attempt(name, act):
    try:
        results[name] = "done: %r" % (act(),)
    except OSError as error:
        results[name] = error.errno

def call(name, *arguments):
    ctypes.set_errno(0)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
RLIMIT_CORE, RLIMIT_NOFILE = 4, 7
PIDFD_OPEN, PIDFD_GETFD = 434, 438

def steal_fd():
    pidfd = libc.syscall(PIDFD_OPEN, pid, 0)
    return call("syscall", PIDFD_GETFD, pidfd, 3, 0)

class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

def read_memory():
    here, there = Vector(ctypes.addressof(ctypes.create_string_buffer(8)), 8), Vector(4096, 8)
    return call("process_vm_readv", pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)

attempt("attach", lambda: call("ptrace", PTRACE_ATTACH, pid, None, None))
attempt("seize", lambda: call("ptrace", PTRACE_SEIZE, pid, None, None))
attempt("process_vm_readv", read_memory)
attempt("pidfd_getfd", steal_fd)
for name, mode in (("mem", "r+b"), ("mem", "rb"), ("environ", "rb"), ("maps", "rb"), ("auxv", "rb"), ("stack", "rb")):
    attempt(name + " " + mode, lambda: open("/proc/%d/%s" % (pid, name), mode, 0).read(1))
attempt("count fds", lambda: os.listdir("/proc/%d/fd" % pid))
attempt("fd 3", lambda: os.open("/proc/%d/fd/3" % pid, os.O_RDWR))
attempt("cwd", lambda: os.readlink("/proc/%d/cwd" % pid))
attempt("exe", lambda: os.readlink("/proc/%d/exe" % pid))
attempt("lower a limit", lambda: call("prlimit64", pid, RLIMIT_NOFILE, (ctypes.c_uint64 * 2)(100, 100), None))
attempt("have a core dumped", lambda: call("prlimit64", pid, RLIMIT_CORE, (ctypes.c_uint64 * 2)(1, 1), None))
attempt("oom_score_adj", lambda: open("/proc/%d/oom_score_adj" % pid, "w").write("1000"))
print(json.dumps(results))
"""
"""Everything that ptrace(2) and /proc offer against a process of one's own uid."""

HARMLESS = {"lower a limit", "oom_score_adj", "count fds"}
"""What the kernel may let a uid do to its processes whatever they hold: it could as well kill them."""


@contextlib.contextmanager
def held(privilege: Privilege, *, entered: bool) -> Iterator[int]:
    """Hold a helper still while it has its capability, before or after privilege.enter(); its pid."""
    way = probe.probe("entered" if entered else "started", probe.HOLD.replace("ENTER", str(entered)), privilege)
    end, theirs = socket.socketpair()
    with end, theirs:
        words = [str(way.helper), "--br=br0", f"--fd={theirs.fileno()}"]
        process = subprocess.Popen(words, pass_fds=[theirs.fileno()], **PLAIN)
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), status
            assert probe.status_of(process.pid)["CapPrm"] == f"{1 << 12:016x}"
            yield process.pid
        finally:
            process.kill()
            process.wait(30)


def attack(pid: int) -> dict[str, object]:
    """Let a process of the same uid try everything on `pid`."""
    words = ["/usr/bin/python3", "-I", "-c", ATTACK, str(pid)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True, **PLAIN)
    results: dict[str, object] = json.loads(done.stdout)
    return results


@pytest.fixture(params=LENT)
def privilege(request: pytest.FixtureRequest) -> Privilege:
    """The two ways on which a plain uid is lent the capability."""
    chosen: Privilege = request.param
    return chosen


@pytest.mark.parametrize("entered", [False, True], ids=["as Python starts", "after privilege.enter"])
def test_a_process_of_the_same_uid_gets_at_nothing(privilege: Privilege, *, entered: bool) -> None:
    """No attaching, no memory, no fd: the kernel forbids each, at the weakest moment and later."""
    with held(privilege, entered=entered) as pid:
        results = attack(pid)
    refusals = {name: result for name, result in results.items() if name not in HARMLESS}
    assert len(refusals) >= 14
    for name, result in refusals.items():
        assert result in (errno.EPERM, errno.EACCES), f"{name}: {result}"


def test_once_it_has_entered_the_helper_is_not_dumpable(privilege: Privilege) -> None:
    """Its files in /proc are not even the caller's: execve opened that again, and the core shuts it first of all."""
    with held(privilege, entered=True) as pid:
        assert Path("/proc", str(pid), "environ").stat().st_uid == 0
        assert attack(pid)["count fds"] in (errno.EPERM, errno.EACCES)


def test_the_attack_works_on_an_ordinary_process() -> None:
    """The check of the checks: the same attempts on a process without the capability succeed."""
    with subprocess.Popen(["sleep", "60"], **PLAIN) as victim:
        results = attack(victim.pid)
        victim.kill()
    assert str(results["attach"]).startswith("done")
    assert str(results["environ rb"]).startswith("done")
    assert str(results["fd 3"]).startswith(("done", "2"))  # there may be none, but nothing forbids it


def test_a_signal_of_the_same_uid_leaves_nothing(privilege: Privilege) -> None:
    """A caller may kill its own helper: that gives it nothing and leaves nothing."""
    with held(privilege, entered=True) as pid:
        user = f"import os; os.kill({pid}, {int(signal.SIGKILL)})"
        subprocess.run(["/usr/bin/python3", "-I", "-c", user], timeout=30, check=True, **PLAIN)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        assert ended.si_status == signal.SIGKILL
