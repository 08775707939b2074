# SPDX-License-Identifier: GPL-2.0-or-later
"""Ending a lease on somebody's word: root's, or that of whose lease it is.

A port that is ended stays as an interface until its processes let go of it: deleted, its fd would always be ready to
be read from and never have anything, and QEMU would run in circles (seen with 7.2).  Down, on no bridge and
with a lease that says `revoked' it is of no use to whoever has it, and counts for the quota as what it is, one port.
Where there is no quota, one user could fill the host with such ports: of theirs that are too many, the next is deleted.
"""

from dataclasses import dataclass

from qbhelper.errors import AccessDenied, NoSuchLease, QuotaExceeded
from qbhelper.kernel.link import Network
from qbhelper.kernel.message import Link
from qbhelper.lease import Lease, parse_alias
from qbhelper.request import Caller
from qbhelper.wire import Ending

ROOT = 0
DEAD_MAX = 64
"""Ports that one user may have on no bridge by their own word."""
REVOKED_MAX = 1024
"""Those of all users that are revoked: who has subordinate uids is many."""


@dataclass(frozen=True)
class Ended:
    """A lease that was ended, as it was: the index and the name of its port, the name of the bridge, None if none."""

    lease: Lease
    index: int
    name: bytes
    bridge: bytes | None


def end(ending: Ending, caller: Caller, network: Network) -> Ended:
    """Revoke a lease or detach its port, and return what it was.

    Never by a name: names change hands.  Raises NoSuchLease, AccessDenied, QuotaExceeded, Busy or KernelError.
    """
    link, lease, has_too_many = _find(ending.lease, caller, network)
    if caller.uid not in (ROOT, lease.uid):
        raise AccessDenied(f"access denied: lease {lease.identity} is not yours", "root can end the leases of others")
    bridge = network.bridge_of(link)
    if ending.detach:
        if has_too_many and bridge is not None:
            what = "quota: there are too many ports that are on no bridge already"
            raise QuotaExceeded(what, "end the programs that have them open; `qbhelperctl status' names them")
        network.take_off(link, lease.off_bridge().alias())
    else:
        network.take_off(link, lease.ended().alias())
        if has_too_many or is_left_over(link, lease.ended()):
            network.delete(link)
    return Ended(lease, link.index, link.name, bridge.name if bridge else None)


def is_left_over(link: Link, lease: Lease) -> bool:
    """Whether a lease is revoked, and nobody has its TAP open: only one that was persistent is there all the same."""
    return lease.revoked and link.persistent and not link.has_carrier


def _find(identity: str, caller: Caller, network: Network) -> tuple[Link, Lease, bool]:
    """Return the lease and its port, and whether there are too many dead ones for `caller` to make one more."""
    found, dead, revoked = None, 0, 0
    for link in network.ports((f"lease={identity} ".encode(), f" uid={caller.uid} ".encode(), b" revoked=1")):
        lease = parse_alias(link.alias) if link.kind == b"tun" else None
        if lease is None:
            continue
        if lease.identity == identity:
            found = link, lease
        dead += lease.uid == caller.uid and not link.master
        revoked += lease.revoked
    if found is None:
        raise NoSuchLease(f"there is no lease {identity}", "`qbhelperctl status' lists those that there are")
    return *found, caller.uid != ROOT and (dead >= DEAD_MAX or revoked >= REVOKED_MAX)
