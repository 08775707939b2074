# SPDX-License-Identifier: GPL-2.0-or-later
"""Which bridges this is about, and what the policy says of each."""

from contextlib import closing
from functools import cache

from qbhelper.ctl.doctor.finding import Subject
from qbhelper.ctl.explain import Answer, answer_for
from qbhelper.errors import QbError
from qbhelper.kernel import overview
from qbhelper.kernel.link import Network


def all_bridges() -> list[bytes]:
    """Return the names of the bridges of this network namespace.  Raises KernelError."""
    return [seen.link.name for seen in overview.look() if seen.link.kind == b"bridge"]


@cache
def verdicts(subject: Subject) -> list[Answer]:
    """Return the verdict on the bridge that was named, or on each bridge there is.

    Raises QbError if the policy is closed to us, or the kernel does not tell.
    """
    names = all_bridges() if subject.bridge is None else [subject.bridge]
    return [answer_for(subject.person, name) for name in names]


def wanted(subject: Subject) -> list[bytes]:
    """Return the names of the bridges that frames of this person's guests would come by.

    That is the one that was named, by its canonical name if there is such an interface; else those that the person may
    use, or all there are where none is allowed or nobody can tell.  Raises KernelError.
    """
    if subject.bridge is not None:
        with closing(Network()) as network:
            found = network.find(subject.bridge)
        return [found.name if found else subject.bridge]
    try:
        allowed = [answer.asked for answer in verdicts(subject) if answer.decision.allowed]
    except QbError:
        allowed = []  # which the station of the verdict says
    return allowed or all_bridges()
