# SPDX-License-Identifier: GPL-2.0-or-later
"""The leases there are, read where they stand: in the aliases of their interfaces."""

from dataclasses import dataclass

from qbhelper.errors import printable
from qbhelper.kernel import overview
from qbhelper.kernel.message import Link
from qbhelper.lease import Lease, lease_of


@dataclass(frozen=True)
class Held:
    """A lease and its port.  bridge: the name of what the port is on, None if it is on none; is_open: by a process."""

    lease: Lease
    link: Link
    bridge: bytes | None
    is_open: bool

    @property
    def name(self) -> str:
        """The interface's name, printable."""
        return printable(self.link.name)


def leases() -> list[Held]:
    """Return all leases of this network namespace, in the order in which their ports were made.  Raises KernelError."""
    seen = overview.look()
    names = {each.link.index: each.link.name for each in seen}
    found = []
    for each in seen:
        lease = lease_of(each.link.kind, each.link.alias)
        if lease is not None:
            found.append(Held(lease, each.link, names.get(each.link.master), each.is_open))
    return found
