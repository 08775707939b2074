# SPDX-License-Identifier: GPL-2.0-or-later
"""A host on which all is well, and qbhelperctl doctor called to it: what a test breaks, the printed command mends."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.ctl import host
from tests.ctl.host import POLICY, write
from tests.support import broker, install, world

OURS = ("device", "helper", "broker", "way", "policy", "verdict", "bridge", "STP", "address", "uplink", "VLANs")
"""The stations that this is about; others look at what this host is not."""
RULE = '[[allow]]\nbridge = "br0"\nusers = "alice"\nmax_ports = 2\n[end]\n'
_UCRED = struct.Struct("3i")


@dataclass(frozen=True)
class Found:
    """One finding, as JSON has it."""

    station: str
    state: str
    what: str
    remedy: str | None


def findings_in(text: str) -> tuple[Found, ...]:
    """What is told in JSON."""
    return tuple(Found(**each) for each in json.loads(text)["findings"])


@dataclass(frozen=True)
class Visit:
    """All that was found, and the exit status."""

    status: int
    findings: tuple[Found, ...]

    def of(self, station: str) -> list[Found]:
        """What was found at one station."""
        return [found for found in self.findings if found.station == station]

    def problems(self) -> list[Found]:
        """What is wrong."""
        return [found for found in self.findings if found.state == "problem"]

    def unknown(self) -> list[Found]:
        """What could not be told."""
        return [found for found in self.findings if found.state == "cannot tell"]


@dataclass(frozen=True)
class Ward:
    """Where the programs are that are called."""

    directory: Path

    @property
    def helper(self) -> Path:
        """The helper that the doctor looks at, with no privilege until a test gives it some."""
        return self.directory / "bin" / "qbhelper"

    def visit(self, *words: str, user: str = "alice", wrapper: Sequence[str] = ()) -> Visit:
        """Have the doctor come, called by a user."""
        done = subprocess.run(
            [*host.as_user(user), *wrapper, str(self.directory / "bin" / "qbhelperctl"), "doctor", "--json", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        findings = findings_in(done.stdout)
        assert done.returncode == any(each.state == "problem" for each in findings)
        return Visit(done.returncode, tuple(each for each in findings if each.station in OURS))

    def cured(self, station: str, *words: str, user: str = "alice", also: Collection[str] = ()) -> Found:
        """Have a problem mended by the command that is printed for it, as it is; return what it was.

        There is no other, but what it brings with it at the stations `also`; and none is left.
        """
        problems = self.visit(*words, user=user).problems()
        [found] = [problem for problem in problems if problem.station == station]
        assert {problem.station for problem in problems} == {station, *also}
        assert found.remedy is not None, found.what
        self.run(found.remedy)
        after = self.visit(*words, user=user)
        assert after.problems() == []
        assert after.of(station), "what is well is said, too"
        return found

    def run(self, remedy: str) -> None:
        """Run a command as root would, who has copied it from the terminal."""
        with open(self.directory / "output", "w+") as output:
            done = subprocess.run(
                ["sh", "-c", remedy],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                timeout=60,
                check=False,
            )
            output.seek(0)
            assert done.returncode == 0, f"{remedy}: {output.read()}"


@contextmanager
def ward(directory: Path) -> Iterator[Ward]:
    """Programs of their own for a test, in a new directory."""
    prefix = install.installed().parents[1]
    for name in ("bin/qbhelper", "bin/qbhelperctl", "sbin/qbhelperd"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(prefix / name, directory / name)
    try:
        yield Ward(directory)
    finally:
        stop_broker()
        shutil.rmtree(directory)


def stop_broker() -> None:
    """Have the broker end that a remedy has started, if it has."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as knock, suppress(OSError):
        knock.connect(str(broker.SOCKET))
        keeper = _UCRED.unpack(knock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[0]
        assert keeper != os.getpid(), "a test has left its own listener"
        broker.kill(keeper, signal.SIGTERM)
    broker.SOCKET.unlink(missing_ok=True)


@contextmanager
def healthy_bridge(name: str = "br0") -> Iterator[None]:
    """The bridge of a_host with an uplink, and a MAC address that stays its own."""
    world.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "lan0-far")
    try:
        world.run("ip", "link", "set", "lan0-far", "up")
        world.run("ip", "link", "set", "up0", "up", "master", name)
        world.run("ip", "link", "set", name, "address", "52:54:00:00:00:01")
        yield
    finally:
        world.run("ip", "link", "del", "up0")


@contextmanager
def healthy_host() -> Iterator[None]:
    """To a_host: a rule for alice, and a bridge that leads out."""
    write(POLICY, RULE)
    os.chmod(POLICY.parent, 0o755)
    with healthy_bridge():
        yield
