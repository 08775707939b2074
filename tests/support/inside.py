# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests that run inside a whole machine, and are seen out here like any other.

    @pytest.mark.inside("debian13", "debian12")
    def test_the_machine_is_up() -> None: ...

runs once in each of these machines (tests/support/machines.py has the names).  In tests/host, a
module has a machine of its own, freshly booted, and what one of its tests changes is changed for the
next; `prepare=` names a function that is given the machine, out here, before its first test.  The tests of
all other directories share a machine, and have a private world in it, like the one that `./dev test` makes
out here.

This plugin of pytest plays both parts: out here it boots the machines, hands them their tests and
passes on the reports that come back; in there it sends the reports.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support import machines, world
from tests.support.machine import Machine, MachineFailed

RECORD = b"\x1e"
"""Begins a report in what the pytest in there prints (ASCII's record separator)."""

PARAMETER = "machine_name"
PATIENCE = 180.0
"""Seconds that a test in there may take; a virtual one is slow, the more so on a busy machine."""


@dataclass(frozen=True, order=True)
class Lodging:
    """A machine, and whose it is."""

    machine: str
    module: str
    """The module of tests/host that has it for itself; empty if it is for all who have private worlds in it."""


def lodging_of(item: pytest.Item) -> Lodging | None:
    """Return where a test is to run; None if it is to run here."""
    if world.machine() is not None or item.get_closest_marker("inside") is None:
        return None
    assert isinstance(item, pytest.Function)
    module = item.nodeid.split("::")[0]
    return Lodging(str(item.callspec.params[PARAMETER]), module if module.startswith("tests/host/") else "")


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
    """Have the tests of one machine run one after another, and after all that need none; skip what can't run here."""
    items.sort(key=lambda item: lodging_of(item) or Lodging("", ""))
    for item in items:
        lodging = lodging_of(item)
        obstacle = machines.why_not(lodging.machine) if lodging else None
        if obstacle:
            item.add_marker(pytest.mark.skip(reason=obstacle))


def pytest_configure(config: pytest.Config) -> None:
    """Play the part that is ours."""
    config.pluginmanager.register(Runner(config) if world.machine() is None else Sender(config))


class Sender:
    """In there: sends each report as it is made."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._since = 0.0
        """When the test began, in seconds since the epoch."""

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print it, in a line of its own; pytest has stdout while no test runs."""
        if report.when == "setup":
            self._since = report.start
        if report.failed and world.is_whole_machine():
            command = ["journalctl", "--no-hostname", f"--since=@{self._since:.3f}"]
            journal = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            report.sections.append(("What the machine's journal says of that time", journal))
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        print(f"\n{RECORD.decode()}{json.dumps(data)}", flush=True)


class Runner:
    """Out here: has machines run their tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._items: list[pytest.Item] = []
        self._lodging: Lodging | None = None
        """Where tests run at present."""
        self._machine: Machine | None = None
        self._reports: Iterator[pytest.TestReport] = iter(())
        self._came: dict[str, list[pytest.TestReport]] = {}
        """Reports that came and were not asked for yet, by the test's node id."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the tests that were chosen."""
        self._items = session.items

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Have a test run in its machine, in place of what pytest would do."""
        lodging = lodging_of(item)
        if lodging is None or item.get_closest_marker("skip") is not None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports_of(item, lodging):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if nextitem is None or lodging_of(nextitem) != lodging:
            self._end()
        return True

    def pytest_unconfigure(self) -> None:
        """Leave no machine running, whatever ended the tests."""
        self._end()

    def _reports_of(self, item: pytest.Item, lodging: Lodging) -> list[pytest.TestReport]:
        try:
            if lodging != self._lodging:
                self._lodging = lodging
                self._machine = machines.boot(lodging.machine)
                _prepare(self._machine, item)
                tests = [one.nodeid for one in self._items if lodging_of(one) == lodging]
                self._reports = self._run_tests(self._machine, tests, in_private_world=not lodging.module)
            while not any(report.when == "teardown" for report in self._came.get(item.nodeid, ())):
                report = next(self._reports)
                self._came.setdefault(report.nodeid, []).append(report)
        except StopIteration:
            why = f"{lodging.machine} never came to this test: see the first one that failed there"
        except MachineFailed as error:
            why = str(error)
        else:
            return self._came.pop(item.nodeid)
        failed = pytest.TestReport(item.nodeid, item.location, {}, "failed", why, "call")
        return [*self._came.pop(item.nodeid, []), failed]

    def _run_tests(self, machine: Machine, tests: list[str], *, in_private_world: bool) -> Iterator[pytest.TestReport]:
        """Yield the reports as they come; after the last one the machine is at fault if more is wanted."""
        options = ["-q", f"--tb={self._config.getoption('tbstyle')}"]
        received, said, status = bytearray(), bytearray(), None

        def output() -> Iterator[bytes]:
            nonlocal status
            status = yield from machine.pytest(*options, *tests, in_private_world=in_private_world, patience=PATIENCE)

        for chunk in output():
            received += chunk
            while b"\n" in received:
                line, _, received = received.partition(b"\n")
                if line.startswith(RECORD):
                    yield self._parse(line[len(RECORD) :])
                else:
                    said += line + b"\n"
        raise machine.failure(
            f"pytest has ended with status {status}; it said:\n{said.decode(errors='replace')[-3000:]}"
        )

    def _parse(self, record: bytearray) -> pytest.TestReport:
        data = json.loads(record)
        for name in ("location", "longrepr"):  # JSON knows lists alone
            data[name] = tuple(data[name]) if isinstance(data[name], list) else data[name]
        report = self._config.hook.pytest_report_from_serializable(config=self._config, data=data)
        assert isinstance(report, pytest.TestReport)
        return report

    def _end(self) -> None:
        if self._machine is not None:
            self._machine.end()
        self._machine, self._lodging, self._reports = None, None, iter(())


def _prepare(machine: Machine, item: pytest.Item) -> None:
    marker = item.get_closest_marker("inside")
    if marker is not None and "prepare" in marker.kwargs:
        try:
            marker.kwargs["prepare"](machine)
        except AssertionError as error:
            raise machine.failure(f"it could not be prepared: {error}") from error
