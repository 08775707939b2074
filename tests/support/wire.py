# SPDX-License-Identifier: GPL-2.0-or-later
"""The world outside: a PC in a network namespace of its own, at the other end of a cable."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support import world

ADDRESS = "10.0.0.5"


@dataclass(frozen=True)
class Pc:
    """A machine that is not ours; the process keeps its network namespace alive."""

    pid: int
    cable: str
    """Our end of the cable, as our namespace calls it."""

    def run(self, *argv: str) -> str:
        """Run a command on that machine, and return what it printed."""
        return world.run("nsenter", "--target", str(self.pid), "--net", *argv)


@contextmanager
def plugged_into(bridge: str, *, cable: str = "wire", mtu: int = 1500) -> Iterator[Pc]:
    """A PC at 10.0.0.5 whose cable is a port of `bridge`, for the time of the block."""
    # The PC is a `cat` that ends when we close its input, or end ourselves: nothing to clean up.
    # It has a session of its own: a Ctrl-C is for us alone.
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo here; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "here\n":
            raise RuntimeError("no second network namespace here")
        pc = Pc(process.pid, cable)
        world.run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(pc.pid))
        try:
            pc.run("ip", "link", "set", "eth0", "mtu", str(mtu), "up")
            pc.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "eth0")
            world.run("ip", "link", "set", cable, "mtu", str(mtu), "master", bridge, "up")
            yield pc
        finally:
            # Here and now: the end of its namespace would delete it too, but some time later.
            world.run("ip", "link", "delete", cable)
