# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for all tests: who needs which world, nothing skipped in CI, nothing left behind."""

import gc
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support import world

pytest_plugins = ["tests.support.inside"]

HERE = Path(__file__).parent
IN_A_WORLD = frozenset({"kernel", "conformance", "guests", "broker", "packages", "host"})
"""Directories whose tests make interfaces or mounts, and so need a private world; also their markers."""

PATIENCE = 20.0
"""Seconds that the kernel and the end of a process may take to clean up on a busy machine."""


def pytest_sessionstart() -> None:
    """Make the private world before anything of it is imported."""
    if world.is_private():
        world.prepare()


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by their directory, and skip those that can't run here, with the reason."""
    for item in items:
        kind = _directory(item)
        obstacle = None
        if kind in IN_A_WORLD:
            item.add_marker(kind)
            obstacle = _why_no_world()
        if item.get_closest_marker("needs_root"):
            obstacle = obstacle or _why_no_root()
        if obstacle:
            item.add_marker(pytest.mark.skip(reason=obstacle))


def _directory(item: pytest.Item) -> str:
    """Return the directory below tests/ that a test stands in, or '' if it stands there itself."""
    return item.path.relative_to(HERE).parts[0] if item.path.parent != HERE else ""


@cache
def _why_no_world() -> str | None:
    if not world.is_private():
        return "no private network here: start this through ./dev test"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"cannot open /dev/net/tun ({error.strerror}): run this as root, or give the device mode 0666"
    return None


@cache
def _why_no_root() -> str | None:
    if not world.is_private():
        return "no private world here: start this through sudo ./dev test"
    if not world.is_real_root():
        return "uid 0 is not the machine's root here, so set-id and other users are not real: use sudo ./dev test"
    return None


# --- In CI nothing may be skipped: a hole in the tests looks just like success ----------------


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost, so that an expected failure is known as one
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one if this is CI."""
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module into a failed one if this is CI."""
    report = yield
    _forbid_skip(report)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") != "true" or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: nothing may be skipped in CI, and this was: {why}"


# --- Nothing is left --------------------------------------------------------------------------


@dataclass(frozen=True)
class Traces:
    """What a test could leave behind, each in words that a message can use."""

    seen: frozenset[str]

    @classmethod
    def now(cls) -> "Traces":
        """Look around.  Reads directories only, so that it costs a fraction of a millisecond."""
        interfaces = {f"interface {name}" for name in world.interfaces()}
        # In a whole machine, processes come and go by themselves.
        processes = set() if world.is_whole_machine() else _processes()
        return cls(frozenset(interfaces | _open_files() | processes))

    def since(self, before: "Traces") -> list[str]:
        """What is here and was not `before`."""
        return sorted(self.seen - before.seen)


def _open_files() -> set[str]:
    seen = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            seen.add(f"fd {fd} ({os.readlink(f'/proc/self/fd/{fd}')})")
        except FileNotFoundError:
            continue  # the one that listdir itself had open
    return seen


def _processes() -> set[str]:
    """Every process of this world, which has a process namespace of its own."""
    seen = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            seen.add(f"process {pid} ({Path('/proc', pid, 'comm').read_text().strip()})")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return seen


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in a world that leaves an interface, a process or an open file.

    The first fixture to be set up, so the last to look: what a test's own fixtures undo is gone.
    """
    if _directory(request.node) not in IN_A_WORLD:
        yield
        return
    before = Traces.now()
    yield
    left = Traces.now().since(before)
    if left:
        gc.collect()
    deadline = time.monotonic() + PATIENCE
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = Traces.now().since(before)
    if left:
        pytest.fail(f"left behind: {', '.join(left)}", pytrace=False)
