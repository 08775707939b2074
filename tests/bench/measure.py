# SPDX-License-Identifier: GPL-2.0-or-later
"""The measurements, each by a process of a plain uid, as QEMU is one."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from qbhelper import wire
from tests.bench import timing
from tests.bench.timing import Ports
from tests.support import broker, world
from tests.support.caller import PLAIN_UID
from tests.support.install import Privilege, ours, theirs

PYTHON = "/usr/bin/python3"
PORTS_MAX = 1000
"""A bridge has room for 1023."""
LAST_PORTS = 50
"""Of these, so many are made again and again, while the others stay."""
CALLERS = 200

ORIGINAL = "qemu-bridge-helper, setuid"
BROKERED = "qbhelper, brokered"
STANDALONE = "qbhelper standalone, setuid"
FILE_CAPABILITY = "qbhelper standalone, file capability"
INTERPRETER = "python3 -I -S -c pass"
NATIVE = "qbhelper, native part alone (usage error)"
NOTHING = "a C program that does nothing (cc, its libc)"
POLICY = "qbhelper standalone, setuid, with a TOML policy"
COLD = "qbhelperd from its start to the first answer"

Series = list[float]
T = TypeVar("T")


def first_ports(rounds: int) -> dict[str, float]:
    """Median ms of each program, each run once in every round, on a bridge without other ports."""
    nothing = world.WORLD / "nothing"
    subprocess.run(["cc", "-O2", "-x", "c", "-o", str(nothing), "-"], input=b"int main(void) { return 0; }", check=True)
    helpers = {
        ORIGINAL: theirs(Privilege.SETUID),
        BROKERED: ours(Privilege.NONE),
        STANDALONE: ours(Privilege.SETUID),
        FILE_CAPABILITY: ours(Privilege.FILE_CAPABILITY),
    }
    programs: dict[str, Callable[[], float]] = {
        **{name: partial(_first_port, helper) for name, helper in helpers.items()},
        INTERPRETER: partial(timing.run, [PYTHON, "-I", "-S", "-c", "pass"], 0),
        NATIVE: partial(timing.run, [str(ours(Privilege.NONE))], 1),
        NOTHING: partial(timing.run, [str(nothing)], 0),
    }
    with world.bridge("br0"):
        return as_a_plain_user(lambda: _medians(programs, rounds))


def _first_port(helper: Path) -> float:
    ports = Ports()
    elapsed = timing.grant(helper, "br0", ports)
    ports.close()
    return elapsed


def _medians(programs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    times: dict[str, Series] = {name: [] for name in programs}
    for number in range(-3, rounds):  # the first rounds warm the caches
        for name, program in programs.items():
            elapsed = program()
            if number >= 0:
                times[name].append(elapsed)
        progress(f"first port: {number + 1} of {rounds}")
    return {name: statistics.median(values) * 1000 for name, values in times.items()}


def with_policy(rounds: int) -> dict[str, float]:
    """Median ms of the helper alone where a policy rules, and of a bare interpreter beside it."""
    programs: dict[str, Callable[[], float]] = {
        POLICY: partial(_first_port, ours(Privilege.SETUID)),
        INTERPRETER: partial(timing.run, [PYTHON, "-I", "-S", "-c", "pass"], 0),
    }
    with world.rule('users = ["1-4000000000"]', "max_ports = 9"), world.bridge("br0"):
        return as_a_plain_user(lambda: _medians(programs, rounds))


def growing_bridge(rounds: int) -> tuple[dict[str, Series], dict[str, Series]]:
    """Ms for each port up to PORTS_MAX, by ours and the original in turn, so that both see the same bridge.

    And for the last LAST_PORTS, which are given back and made again until each program has made `rounds` of them.
    """
    helpers = {BROKERED: ours(Privilege.NONE), ORIGINAL: theirs(Privilege.SETUID)}

    def make(count: int, keeper: timing.Keeper, times: dict[str, Series], what: str) -> None:
        ports = Ports()
        for number in range(count // 2):
            for name, helper in helpers.items():
                times[name].append(timing.grant(helper, "br0", ports) * 1000)
                keeper.take_over(ports)
            progress(f"{what}: {2 * number + 2} of {count}")

    def measure() -> tuple[dict[str, Series], dict[str, Series]]:
        growth: dict[str, Series] = {name: [] for name in helpers}
        last: dict[str, Series] = {name: [] for name in helpers}
        with closing(timing.Keeper()) as others:
            make(PORTS_MAX - LAST_PORTS, others, growth, "growing bridge")
            while len(last[BROKERED]) < rounds:
                with closing(timing.Keeper()) as newest:
                    make(LAST_PORTS, newest, last, "the last ports")
        return {name: growth[name] + last[name][: LAST_PORTS // 2] for name in helpers}, last

    with world.bridge("br0"):
        growth, last = as_a_plain_user(measure)
    return growth, last


def callers_at_once(rounds: int) -> dict[str, float]:
    """Median ms until CALLERS helpers that were started together have all ended."""
    helpers = {BROKERED: ours(Privilege.NONE), ORIGINAL: theirs(Privilege.SETUID)}
    times: dict[str, Series] = {name: [] for name in helpers}
    for number in range(rounds):
        for name, helper in helpers.items():
            with world.bridge("br0"):
                times[name].append(as_a_plain_user(lambda helper=helper: _crowd(helper)))  # type: ignore[misc]
            progress(f"{CALLERS} callers at once: {number + 1} of {rounds}")
    return {name: statistics.median(values) for name, values in times.items()}


def _crowd(helper: Path) -> float:
    return timing.grants_at_once(helper, "br0", CALLERS, Ports()) * 1000


def cold_start(rounds: int) -> float:
    """Median ms from the start of a socket-activated broker to the answer to who is waiting already."""
    times = []
    with world.bridge("br0"):
        for number in range(rounds):
            times.append(as_a_plain_user(_answer_of_a_cold_broker, uid=None))
            progress(f"cold start: {number + 1} of {rounds}")
    return statistics.median(times)


def _answer_of_a_cold_broker() -> float:
    path = world.WORLD / "cold.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(str(path))
            client.send(broker.question("br0"))
            capabilities = "+net_admin,+dac_read_search"
            words = [
                *("setpriv", "--reuid", str(broker.NOBODY), "--regid", str(broker.NOBODY), "--clear-groups"),
                *("--inh-caps", capabilities, "--ambient-caps", capabilities),
                *("sh", "-c", f'LISTEN_PID=$$ LISTEN_FDS=1 exec "{broker.program()}" 3<&{listener.fileno()}'),
            ]
            begin = time.perf_counter()
            with subprocess.Popen(words, pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL) as daemon:
                datagram, fds, _, _ = socket.recv_fds(client, wire.REPLY_MAX, 1)
                elapsed = time.perf_counter() - begin
                daemon.terminate()
    for fd in fds:
        os.close(fd)
    if len(fds) != 1:
        raise RuntimeError(f"the broker refused: {datagram!r}")
    return elapsed * 1000


def as_a_plain_user(measure: Callable[[], T], uid: int | None = PLAIN_UID) -> T:
    """Return what `measure` returns in a process of its own; all its ports go when that ends."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            world.die_with_parent()
            if uid is not None:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            os.write(write_end, json.dumps(measure()).encode())
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
    result: T = json.loads(text)
    return result


def progress(text: str) -> None:
    """Show, on a terminal, how far it is."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
