# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that run inside a whole machine, and are seen out here like any other.

    @pytest.mark.inside("debian13", "debian12")
    def test_the_machine_is_up() -> None: ...

runs once in each of these machines (tests/support/machines.py has the names).  A pytest in there
runs all the tests of its machine in one go, so fixtures last as long as ever, and what a test
changes stays changed.  Tests in tests/host have the machine as it was booted; those of all other
directories have a private world in it, like the one that `./dev test` makes out here.

This plugin of pytest plays both parts: out here it boots the machines, hands them their tests and
passes on the reports that come back; in there it sends the reports.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support import machines, world
from tests.support.machine import Machine, MachineFailed

RECORD = b"\x1e"
"""Begins a report in what the pytest in there prints (ASCII's record separator)."""

PARAMETER = "machine_name"
PATIENCE = 180.0
"""Seconds that a test in there may take; a virtual one is slow, the more so on a busy machine."""


def machine_of(item: pytest.Item) -> str | None:
    """Return the name of the machine that a test is to run in; None if it is to run here."""
    if world.machine() is not None or item.get_closest_marker("inside") is None:
        return None
    assert isinstance(item, pytest.Function)
    return str(item.callspec.params[PARAMETER])


def _has_the_machine(item: pytest.Item) -> bool:
    """Whether a test has the machine as it was booted, and no private world in it."""
    return item.nodeid.startswith("tests/host/")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test for each machine that the marker names."""
    marker = metafunc.definition.get_closest_marker("inside")
    if marker is not None:
        assert marker.args, "inside() wants the name of a machine"
        assert set(marker.args) <= machines.NAMES, f"inside{marker.args}: there are {sorted(machines.NAMES)}"
        metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, marker.args, scope="session")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what takes a machine as what takes root, for who runs without."""
    if item.get_closest_marker("inside") is not None:
        item.add_marker("needs_root")


@pytest.hookimpl(trylast=True)  # when others have put them in order
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have those of one machine run one after another, and after all that need none; skip what can't run here."""
    items.sort(key=lambda item: (machine_of(item) or "", _has_the_machine(item)))
    for item in items:
        name = machine_of(item)
        obstacle = machines.why_not(name) if name else None
        if obstacle:
            item.add_marker(pytest.mark.skip(reason=obstacle))


def pytest_configure(config: pytest.Config) -> None:
    """Play the part that is ours."""
    config.pluginmanager.register(Runner(config) if world.machine() is None else Sender(config))


class Sender:
    """In there: sends each report as it is made."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print it, in a line of its own; pytest has stdout while no test runs."""
        if report.failed and world.is_whole_machine():
            journal = subprocess.run(["journalctl", "--lines=80"], capture_output=True, text=True, check=False).stdout
            report.sections.append(("The machine's journal ends with", journal))
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        print(f"\n{RECORD.decode()}{json.dumps(data)}", flush=True)


class Runner:
    """Out here: has machines run their tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._items: list[pytest.Item] = []
        self._machine: Machine | None = None
        self._run: object = None
        """What the reports are of: a machine, and whether that is all they have."""
        self._reports: Iterator[pytest.TestReport] = iter(())
        self._came: dict[str, list[pytest.TestReport]] = {}
        """Reports that came and were not asked for yet, by the test's node id."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the tests that were chosen."""
        self._items = session.items

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Have a test run in its machine, in place of what pytest would do."""
        name = machine_of(item)
        if name is None or item.get_closest_marker("skip") is not None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports_of(item, name):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if nextitem is None or machine_of(nextitem) != name:
            self._end()
        return True

    def pytest_unconfigure(self) -> None:
        """Leave no machine running, whatever ended the tests."""
        self._end()

    def _reports_of(self, item: pytest.Item, name: str) -> list[pytest.TestReport]:
        try:
            if self._run != (name, _has_the_machine(item)):
                self._start(item, name)
            while not any(report.when == "teardown" for report in self._came.get(item.nodeid, ())):
                report = next(self._reports)
                self._came.setdefault(report.nodeid, []).append(report)
        except StopIteration:
            why = f"{name} has ended its tests, or could not be booted, and never came to this one"
        except MachineFailed as error:
            why = str(error)
        else:
            return self._came.pop(item.nodeid)
        failed = pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")
        return [*self._came.pop(item.nodeid, []), failed]

    def _start(self, item: pytest.Item, name: str) -> None:
        """Have the machine run this test and all others that have as much of it."""
        whole = _has_the_machine(item)
        self._run, self._reports = (name, whole), iter(())
        if self._machine is None:
            self._machine = machines.boot(name)
        tests = [one.nodeid for one in self._items if (machine_of(one), _has_the_machine(one)) == self._run]
        self._reports = self._run_tests(self._machine, tests, whole)

    def _run_tests(self, machine: Machine, tests: list[str], whole: bool) -> Iterator[pytest.TestReport]:
        options = ["-q", f"--tb={self._config.getoption('tbstyle')}"]
        stream = machine.pytest(*options, *tests, in_private_world=not whole, patience=PATIENCE)
        received, said = bytearray(), bytearray()
        for chunk in stream:
            received += chunk
            while b"\n" in received:
                line, _, received = received.partition(b"\n")
                if line.startswith(RECORD):
                    data = json.loads(line[len(RECORD) :])
                    for name in ("location", "longrepr"):  # JSON knows lists alone
                        data[name] = tuple(data[name]) if isinstance(data[name], list) else data[name]
                    yield self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
                else:
                    said += line + b"\n"
        raise machine.failure(f"pytest has ended; it said:\n{said.decode(errors='replace')[-3000:]}")

    def _end(self) -> None:
        if self._machine is not None:
            self._machine.end()
        self._machine, self._run = None, None
