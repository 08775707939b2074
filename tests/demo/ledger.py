# SPDX-License-Identifier: GPL-2.0-or-later
"""What is claimed, and what has come of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.guest import GuestFailed
from tests.support.screen import Screen

MEBIBYTES = 16
"""How much is sent from guest to guest."""
CLAIMS = {
    "bridge": "br0 is up, with the wire in it",
    "broker": "the broker serves with one capability, CAP_NET_ADMIN, and no other",
    "helper": "the helper has no privilege: no setuid bit, no capability",
    "refused": "a bridge that is not in the access list is refused, with the reason",
    "alice": "alice (virtio-net) got her port from qbhelper",
    "bob": "bob (e1000) got his port from qbhelper",
    "sandbox": "QEMU is sandboxed: no_new_privs, a seccomp filter, no capability",
    "original": "QEMU's own helper, setuid root, gets no port in that sandbox",
    "shape": "each port is up, with br0's MTU and a MAC that begins with fe:",
    "lease": "each port tells whose it is",
    "guests": "the guests ping each other",
    "host": "the guests ping the host",
    "wire": "the guests ping the PC on the wire",
    "transfer": f"{MEBIBYTES} MiB arrive intact from alice at bob",
    "killed": "the broker is killed: the guests talk on, and the next one serves",
    "gone": "the ports are gone when the guests have ended",
    "nothing": "nothing is left: no interface, no process, no socket",
}
"""By a short name, in the order in which they are told."""
FAILURES = (GuestFailed, AssertionError, RuntimeError, OSError, subprocess.SubprocessError)


class Ledger:
    """The claims in the order in which they are told, each with its outcome once it is known."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._claims = dict(CLAIMS)
        self._holds: dict[str, bool] = {}

    def leave_out(self, *names: str) -> None:
        """Do not claim these this time."""
        for name in names:
            del self._claims[name]

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """A block without which a claim can't hold: if it fails, it is shown why."""
        try:
            yield
        except BrokenPipeError:
            raise
        except FAILURES as failure:
            self._holds[name] = False
            self._screen.live_ends()
            self._screen.verdict(self._claims[name], holds=False)
            self._screen.trouble(str(failure) or type(failure).__name__)

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """A block that shows that a claim holds, if it ends well; of several blocks each has to."""
        with self.attempt(name):
            yield
            self._holds.setdefault(name, True)

    def is_known(self, name: str) -> bool:
        """Whether it has turned out if a claim holds."""
        return name in self._holds

    def holds(self, name: str) -> bool:
        """Whether a claim has turned out to hold."""
        return self._holds.get(name, False)

    def show(self) -> tuple[int, int]:
        """Print all claims with their outcome; how many hold, and how many there are."""
        for name, text in self._claims.items():
            self._screen.verdict(text if self.is_known(name) else f"not reached: {text}", holds=self.holds(name))
        return sum(map(self.holds, self._claims)), len(self._claims)
