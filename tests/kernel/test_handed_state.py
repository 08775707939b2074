# SPDX-License-Identifier: GPL-2.0-or-later
"""The state in which the native part starts Python: one and the same, however privilege came.

The caller here does what it can to have it otherwise; the report is the process's own.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernel import limits, probe
from tests.kernel.conftest import LENT, ROOT
from tests.kernel.ways import Way
from tests.support import caller
from tests.support.install import Privilege

NET_ADMIN = f"{1 << 12:016x}"
NOTHING = f"{0:016x}"
GROUPS = (5, 7777, 4294967294)

Report = dict[str, Any]


def hostile() -> None:
    """Set everything that a process passes on to the program it becomes, as a caller would not."""
    os.umask(0)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    for name, value in (("CORE", 1 << 20), ("NOFILE", 2048), ("STACK", 16 << 20)):
        limits.lower(name, value)
    for _ in range(20):
        os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)


@pytest.fixture(params=[ROOT, *LENT])
def privilege(request: pytest.FixtureRequest) -> Privilege:
    """Each way to privilege."""
    chosen: Privilege = request.param
    return chosen


@pytest.fixture
def way(privilege: Privilege) -> Way:
    """A helper whose core reports on itself."""
    return probe.probe("report", probe.REPORT, privilege)


@pytest.fixture
def report(way: Way) -> Report:
    """What the core says of its process, called by somebody hostile."""
    outcome = caller.call(
        way.helper,
        uid=way.uid,
        groups=GROUPS,
        env={"PYTHONPATH": "/tmp", "PYTHONVERBOSE": "1", "LC_ALL": "tr_TR.UTF-8", "IFS": "/", "": "x"},
        cwd="/tmp",
        prepare=hostile,
    )
    return probe.reported(outcome)


def test_every_id_is_the_callers(report: Report, way: Way) -> None:
    """Real, effective, saved and file system ids are the caller's, and so are all groups."""
    uid = way.uid or 0
    assert report["status"]["Uid"].split() == [str(uid)] * 4
    assert report["status"]["Gid"].split() == [str(uid)] * 4
    if way.uid is not None:
        assert sorted(map(int, report["status"]["Groups"].split())) == sorted(GROUPS)


def test_there_is_one_capability_and_no_way_to_more(report: Report, privilege: Privilege) -> None:
    """CAP_NET_ADMIN is all there is in any set; nothing that is executed later can get another."""
    status = report["status"]
    assert {status[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {NET_ADMIN}
    assert status["NoNewPrivs"] == "1"
    # A file capability does not bring CAP_SETPCAP, which this takes; no_new_privs serves there.
    if privilege is not Privilege.FILE_CAPABILITY:
        assert status["CapBnd"] == NOTHING


def test_the_environment_is_constant(report: Report) -> None:
    """Not one variable of the caller's gets through."""
    assert report["environment"] == ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]


def test_only_the_socket_is_open_besides_the_standard_fds(report: Report) -> None:
    """Twenty inherited files are closed, and QEMU's socket has one number alone."""
    fds = {number: name for number, name in report["fds"].items() if name != "/proc/self/fd"}
    assert set(fds) == {"0", "1", "2", "3"}
    assert fds["3"].startswith("socket:")
    assert {fds["0"], fds["1"]} == {"/dev/null"}
    assert report["words"] == ["--fd=3", "--br=br0", "--use-vnet"]


def test_standard_fds_that_were_closed_are_filled(way: Way) -> None:
    """No file that the core opens, the TAP least of all, may become its stdin or stdout."""

    def prepare() -> None:
        os.close(0)
        os.close(1)

    fds = probe.reported(caller.call(way.helper, uid=way.uid, prepare=prepare))["fds"]
    # Where privilege is lent, the C library has filled them before us, and one of them with /dev/full.
    assert {fds["0"], fds["1"]} <= {"/dev/null", "/dev/full"}


def test_the_limits_protect_us(report: Report) -> None:
    """No core dump of a privileged process, enough room for the rest, whatever the caller had set."""
    handed = report["limits"]
    assert handed["RLIMIT_CORE"] == [0, 0]
    assert handed["RLIMIT_NOFILE"] == [1024, 1024]
    assert handed["RLIMIT_STACK"][0] == 8 << 20
    assert handed["RLIMIT_FSIZE"][0] == -1


def test_place_and_mask_are_fixed(report: Report) -> None:
    """The working directory is / and new files would be nobody else's."""
    assert report["cwd"] == "/"
    assert report["status"]["Umask"] == "0077"


def test_signals_are_as_in_a_fresh_process(report: Report) -> None:
    """None is blocked or pending; ignored are those that would end Python with a traceback or without a word."""
    status = report["status"]
    assert {status["SigBlk"], status["SigPnd"], status["ShdPnd"]} == {NOTHING}
    ignored = {number for number in range(1, 65) if int(status["SigIgn"], 16) >> (number - 1) & 1}
    # SIGTTOU may be among them: it would stop a helper in the background of a terminal.
    assert ignored - {signal.SIGTTOU} == {signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ}
    assert status["SigCgt"] == NOTHING


def test_the_time_to_live_is_running(report: Report) -> None:
    """The timer that bounds everything survives the start of Python."""
    assert 0 < report["alarm"] <= 10


def test_python_is_isolated(report: Report) -> None:
    """No environment, no user's and no site's modules, no working directory, and nothing is written."""
    flags = report["flags"]
    assert (flags["isolated"], flags["no_site"], flags["dont_write_bytecode"], flags["safe_path"]) == (1, 1, 1, True)
    assert report["command"][0] == "/usr/bin/python3"
    assert "" not in report["path"]
    assert "/tmp" not in report["path"]


@pytest.mark.needs_root
def test_every_module_and_directory_is_roots(report: Report) -> None:
    """Whatever Python loaded, or would look for a module in, nobody but root can change."""
    looked_in = {Path(entry) for entry in report["path"]} | {Path(file) for file in report["modules"] if file}
    for path in sorted(looked_in):
        for part in (path, *path.parents):
            if part.exists():
                assert part.stat().st_uid == 0, part
                assert not part.stat().st_mode & 0o022 or part.stat().st_mode & 0o1000, part


def test_the_report_comes_from_the_helpers_python(report: Report) -> None:
    """The check of the checks: the process that reports is not one of the tests' own."""
    assert int(report["status"]["Pid"]) != os.getpid()
    assert sys.executable not in report["command"]
