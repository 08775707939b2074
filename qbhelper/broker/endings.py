# SPDX-License-Identifier: GPL-2.0-or-later
"""Ending a lease on somebody's word: root's, or that of whose lease it is.

A port that is revoked stays as an interface until its processes let go of it: deleted, its fd would always be ready to
be read from and never have anything, and QEMU would run in circles (seen with 7.2).  It is down, and its lease says
`revoked': of no use to whoever has it, and for the quota what it is, one port.  It also stays on its bridge, which
takes nothing from a port that is down: vhost-net sends into a TAP whether it is up or not, and of one that is on no
bridge the host itself would take it.
"""

from dataclasses import dataclass

from qbhelper.errors import AccessDenied, NoSuchLease
from qbhelper.kernel.link import Network
from qbhelper.kernel.message import Link
from qbhelper.lease import Lease, lease_of
from qbhelper.request import Caller
from qbhelper.wire import Ending

ROOT = 0


@dataclass(frozen=True)
class Ended:
    """A lease that was ended, as it was: the index and the name of its port, the name of the bridge, None if none."""

    lease: Lease
    index: int
    name: bytes
    bridge: bytes | None


def end(ending: Ending, caller: Caller, network: Network) -> Ended:
    """Revoke a lease or detach its port, and return what it was.

    Never by a name: names change hands.  Raises NoSuchLease, AccessDenied, Busy or KernelError.
    """
    link, lease = _find(ending.lease, network)
    if caller.uid not in (ROOT, lease.uid):
        raise AccessDenied(f"access denied: lease {lease.identity} is not yours", "root can end the leases of others")
    if ending.detach and caller.uid != ROOT:
        raise AccessDenied(
            "access denied: only root can detach a port, as only root can put it back",
            "`qbhelperctl revoke' without --detach ends a lease of yours",
        )
    bridge = network.bridge_of(link)
    if ending.detach:
        network.take_off(link, lease.off_bridge().alias())
    else:
        network.shut(link, lease.ended().alias())
        if is_left_over(link, lease.ended()):
            network.delete(link)
    return Ended(lease, link.index, link.name, bridge.name if bridge else None)


def is_left_over(link: Link, lease: Lease) -> bool:
    """Whether a lease is revoked, and nobody has its TAP open: only one that was persistent is there all the same."""
    return lease.revoked and link.persistent and not link.has_carrier


def _find(identity: str, network: Network) -> tuple[Link, Lease]:
    for link in network.ports((f"lease={identity} ".encode(),)):
        lease = lease_of(link.kind, link.alias)
        if lease is not None and lease.identity == identity:
            return link, lease
    raise NoSuchLease(f"there is no lease {identity}", "`qbhelperctl status' lists those that there are")
