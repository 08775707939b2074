# SPDX-License-Identifier: GPL-2.0-or-later
"""How long QEMU stands still: our helper against the original and a bare interpreter, in one run.

    ./dev bench [--rounds N] [--write]

Prints a table of medians and the ratios that the design gives a budget for; `--write` puts it into
docs/benchmarks.md.  Every round runs each program once, so that a slow moment hits all of them; ports
are kept open until a program's round is timed, because removing a TAP takes the kernel longer than
making one.  The exit status is 1 if a ratio is over its budget.
"""

import argparse
import array
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support import world
from tests.support.caller import PLAIN_UID
from tests.support.install import TREE, Privilege, ours, theirs

DOCUMENT = TREE / "docs" / "benchmarks.md"
PYTHON = "/usr/bin/python3"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
Timer = Callable[[], float]


@dataclass(frozen=True)
class Budget:
    """A ratio that must not be exceeded: the median of `subject` over that of `against`."""

    subject: str
    against: str
    at_most: float


ORIGINAL = "qemu-bridge-helper, setuid"
STANDALONE = "qbhelper standalone, setuid"
FILE_CAPABILITY = "qbhelper standalone, file capability"
INTERPRETER = "python3 -I -S -c pass"
NATIVE = "qbhelper, native part alone (usage error)"
NOTHING = "a C program that does nothing"
BUDGETS = (
    Budget(STANDALONE, INTERPRETER, 3.0),
    Budget(FILE_CAPABILITY, INTERPRETER, 3.0),
    Budget(NATIVE, NOTHING, 1.3),
)
INFORMATION = (Budget(STANDALONE, ORIGINAL, float("inf")),)


def main() -> int:
    """Measure, print, and say by the exit status whether all budgets were met."""
    options = _parser().parse_args()
    world.prepare()
    with world.bridge("br0"):
        world.write_access_list("allow br0\n")
        medians = _in_a_plain_process(options.rounds)
    table = _table(medians, options.rounds)
    print(table)
    if options.write:
        _write(table)
    return 0 if all(_ratio(medians, budget) <= budget.at_most for budget in BUDGETS) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev bench", description="time qbhelper against the original")
    parser.add_argument("--rounds", type=int, default=200, help="how often each program is run (default: 200)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    return parser


def _in_a_plain_process(rounds: int) -> dict[str, float]:
    """Measure in a child process of the plain uid, as QEMU is one, and return medians in ms."""
    programs = _programs()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            world.die_with_parent()
            os.setgroups([])
            os.setresgid(PLAIN_UID, PLAIN_UID, PLAIN_UID)
            os.setresuid(PLAIN_UID, PLAIN_UID, PLAIN_UID)
            os.write(write_end, json.dumps(_measure(programs, rounds)).encode())
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  a forked copy must not go on as if it were its parent
            print(f"bench: {error}", file=sys.stderr)
        finally:
            os._exit(1)
    os.close(write_end)
    with open(read_end, "rb") as answer:
        text = answer.read()
    if os.waitpid(child, 0)[1] != 0:
        raise SystemExit("bench: a program did not do its work; see above")
    medians: dict[str, float] = json.loads(text)
    return medians


def _programs() -> dict[str, Timer]:
    """Every program by its name.  All are installed now: the process that times them may not."""
    nothing = world.WORLD / "nothing"
    subprocess.run(["cc", "-O2", "-x", "c", "-o", str(nothing), "-"], input=b"int main(void) { return 0; }", check=True)
    return {
        ORIGINAL: partial(_time_grant, theirs(Privilege.SETUID)),
        STANDALONE: partial(_time_grant, ours(Privilege.SETUID)),
        FILE_CAPABILITY: partial(_time_grant, ours(Privilege.FILE_CAPABILITY)),
        INTERPRETER: partial(_time_run, [PYTHON, "-I", "-S", "-c", "pass"], 0),
        NATIVE: partial(_time_run, [str(ours(Privilege.NONE))], 1),
        NOTHING: partial(_time_run, [str(nothing)], 0),
    }


def _measure(programs: dict[str, Timer], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(-3, rounds):  # the first rounds warm the caches
        for name, run in programs.items():
            elapsed = run()
            if number >= 0:
                times[name].append(elapsed)
        if number >= 0 and sys.stderr.isatty():
            print(f"\r{number + 1}/{rounds}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return {name: statistics.median(values) * 1000 for name, values in times.items()}


def _time_run(words: list[str], status: int) -> float:
    """Seconds from the start of a program to its end."""
    begin = time.perf_counter()
    _wait(_spawn(words), status)
    return time.perf_counter() - begin


def _time_grant(helper: Path) -> float:
    """Seconds from the start of a helper to fd received and helper ended; the port stays open till then."""
    near, far = socket.socketpair()
    fds = array.array("i")
    with near, far:
        far.set_inheritable(True)
        words = [str(helper), "--use-vnet", f"--fd={far.fileno()}", "--br=br0"]
        begin = time.perf_counter()
        process = _spawn(words)
        far.close()
        _, ancillary, _, _ = near.recvmsg(1, socket.CMSG_SPACE(4))
        _wait(process, 0)
        elapsed = time.perf_counter() - begin
        for _, _, payload in ancillary:
            fds.frombytes(payload)
    for fd in fds:
        os.close(fd)
    if len(fds) != 1:
        raise RuntimeError(f"{helper}: no fd")
    return elapsed


def _spawn(words: list[str]) -> int:
    silence = [(os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0)]
    return os.posix_spawn(words[0], words, ENVIRONMENT, file_actions=silence)


def _wait(process: int, status: int) -> None:
    ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if ended != status:
        raise RuntimeError(f"a program ended with {ended}, not {status}")


def _ratio(medians: dict[str, float], budget: Budget) -> float:
    return medians[budget.subject] / medians[budget.against]


def _table(medians: dict[str, float], rounds: int) -> str:
    lines = [f"Medians of {rounds} rounds, {_machine()}:", ""]
    lines += ["| program | ms |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in medians.items()]
    lines += ["", "| ratio | measured | budget |", "|---|---|---|"]
    for budget in (*BUDGETS, *INFORMATION):
        at_most = "none" if budget.at_most == float("inf") else f"{budget.at_most:g}"
        lines.append(f"| {budget.subject} : {budget.against} | {_ratio(medians, budget):.2f} | {at_most} |")
    return "\n".join(lines)


def _machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    processor = model.group(1) if model else platform.machine()
    return f"{os.cpu_count()} x {processor}, Linux {platform.release().split('-')[0]}, {version}"


def _write(table: str) -> None:
    begin, end = "<!-- ./dev bench --write -->", "<!-- end -->"
    text = DOCUMENT.read_text()
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    DOCUMENT.write_text(f"{before}{begin}\n{table}\n{end}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
