# SPDX-License-Identifier: GPL-2.0-or-later
"""./dev bench: measures, prints tables and ratios, and says whether the budgets of the design are met.

    ./dev bench [--rounds N] [--write]

`--write` puts the tables into docs/benchmarks.md and draws docs/latency.svg.  The exit status is 1 if a
ratio is over its budget.  Every round runs each program once, so that a slow moment hits all of them; rounds that take
long are fewer.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench import chart, measure
from tests.bench.measure import (
    BROKERED,
    CALLERS,
    COLD,
    INTERPRETER,
    NATIVE,
    NOTHING,
    ORIGINAL,
    POLICY,
    PORTS_MAX,
    STANDALONE,
)
from tests.support import broker, world
from tests.support.install import TREE

DOCUMENT = TREE / "docs" / "benchmarks.md"
PICTURE = TREE / "docs" / "latency.svg"
MEMORY_MAX = 40
"""MiB of the broker."""


@dataclass(frozen=True)
class Result:
    """One ratio, with the budget that the design gives it."""

    what: str
    value: float
    at_most: float | None
    unit: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether it is within its budget, if it has one."""
        return self.at_most is None or self.value <= self.at_most

    def row(self) -> str:
        """The row of the table."""
        at_most = "none" if self.at_most is None else f"{self.at_most:g}{self.unit}"
        return f"| {self.what} | {self.value:.2f}{self.unit} | {at_most} | {'yes' if self.is_kept else '**no**'} |"


def main() -> int:
    """Measure, print, and say by the exit status whether all budgets were met."""
    options = _parser().parse_args()
    world.prepare()
    world.write_access_list("allow br0\n")
    with broker.by_hand() as daemon:
        first = measure.first_ports(options.rounds)
        growth, latest = measure.growing_bridge(options.rounds)
        crowd = measure.callers_at_once(_few(options.rounds))
        memory = daemon.memory() / 2**20
    policy = measure.with_policy(options.rounds)
    first[POLICY] = policy[POLICY]
    first[COLD] = measure.cold_start(_few(options.rounds))
    measure.progress("")
    last = {name: statistics.median(series) for name, series in latest.items()}
    results = [
        Result(f"{BROKERED} : {ORIGINAL}, 1st port", first[BROKERED] / first[ORIGINAL], 0.5),
        Result(f"the same, {PORTS_MAX}th port", last[BROKERED] / last[ORIGINAL], 0.5),
        Result(f"the same, {CALLERS} callers at once", crowd[BROKERED] / crowd[ORIGINAL], 0.5),
        Result(f"{STANDALONE} : {INTERPRETER}", first[STANDALONE] / first[INTERPRETER], 3),
        Result(f"{POLICY} : {INTERPRETER}", policy[POLICY] / policy[INTERPRETER], 5),
        Result(f"{COLD} : {INTERPRETER}", first[COLD] / first[INTERPRETER], 10),
        Result(f"{NATIVE} : {NOTHING}", first[NATIVE] / first[NOTHING], 1.3),
        Result("memory of the broker after all this", memory, MEMORY_MAX, " MiB"),
        Result(f"{STANDALONE} : {ORIGINAL}", first[STANDALONE] / first[ORIGINAL], None),
    ]
    table = _tables(first, last, crowd, results, options.rounds)
    print(table)
    if options.write:
        _write(table)
        title = f"Time until QEMU goes on, by number of ports on the bridge (1 to {PORTS_MAX})"
        PICTURE.write_text(chart.draw(title, "ports on the bridge", "ms", growth, PORTS_MAX))
    return 0 if all(result.is_kept for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev bench", description="time qbhelper against the original")
    parser.add_argument("--rounds", type=int, default=200, help="how often each program is run (default: 200)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    return parser


def _tables(
    first: dict[str, float], last: dict[str, float], crowd: dict[str, float], results: list[Result], rounds: int
) -> str:
    fewer = f"of {_few(rounds)} for {CALLERS} callers at once and for the start of qbhelperd"
    lines = [f"Medians of {rounds} rounds, {fewer}; {_machine()}:", "", "| program | ms |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in first.items()]
    lines += [f"| {name}, {PORTS_MAX}th port | {value:.2f} |" for name, value in last.items()]
    lines += [f"| {name}, {CALLERS} callers at once | {value:.0f} |" for name, value in crowd.items()]
    lines += ["", "| ratio | measured | budget | kept |", "|---|---|---|---|"]
    return "\n".join([*lines, *(result.row() for result in results)])


def _few(rounds: int) -> int:
    """How often to run what takes long."""
    return max(5, rounds // 10)


def _machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    version = subprocess.run([measure.PYTHON, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    processor = model.group(1) if model else platform.machine()
    return f"{os.cpu_count()} x {processor}, Linux {platform.release().split('-')[0]}, {version}"


def _write(table: str) -> None:
    begin, end = "<!-- ./dev bench --write -->", "<!-- end -->"
    before, rest = DOCUMENT.read_text().split(begin)
    DOCUMENT.write_text(f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    raise SystemExit(main())
