# SPDX-License-Identifier: GPL-2.0-or-later
"""Real processes with the ids of a caller and without any capability: what the kernel lets them read."""

import os
import pickle
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import prctl

from qbhelper import sources
from qbhelper.errors import AccessListError
from qbhelper.policy.access_list import AccessList
from qbhelper.request import Caller

Verdict = str | tuple[str, ...]
"""The message of a refusal of everything; or for each bridge that was asked for, what was decided, and where."""


def verdict_of(policy: AccessList, bridges: Sequence[bytes]) -> Verdict:
    """Return what a policy says on each bridge."""
    decisions = [policy.decide(bridge) for bridge in bridges]
    return tuple(f"{'allow' if decision.allowed else 'deny'} by {decision.place}" for decision in decisions)


class Judge:
    """A process of `caller` that loads the access list as the standalone way does, when it is asked to."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._ours.close()
                self._serve(theirs)
            finally:
                os._exit(1)
        theirs.close()

    def ask(self, bridges: Sequence[bytes]) -> None:
        """Have it judge; `answer` returns what it found."""
        self._ours.send(pickle.dumps(bridges))

    def answer(self) -> Verdict:
        """Return the verdict on what was asked last."""
        verdict: Verdict = pickle.loads(self._ours.recv(1 << 16))
        return verdict

    def close(self) -> None:
        """End it."""
        self._ours.close()
        os.waitpid(self._pid, 0)

    def _serve(self, end: socket.socket) -> None:
        os.setgroups(self.caller.groups)
        os.setresgid(self.caller.gid, self.caller.gid, self.caller.gid)
        os.setresuid(self.caller.uid, self.caller.uid, self.caller.uid)
        prctl.cap_effective.limit()
        prctl.cap_permitted.limit()
        while request := end.recv(1 << 16):
            try:
                verdict = verdict_of(sources.load_access_list(), pickle.loads(request))
            except AccessListError as error:
                verdict = str(error)
            end.send(pickle.dumps(verdict))
        os._exit(0)


@contextmanager
def judges(callers: Sequence[Caller]) -> Iterator[list[Judge]]:
    """A process for each caller, for the time of the block."""
    with ExitStack() as stack:
        found = []
        for caller in callers:
            found.append(Judge(caller))
            stack.callback(found[-1].close)
        yield found
