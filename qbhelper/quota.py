# SPDX-License-Identifier: GPL-2.0-or-later
"""How many ports a rule has granted, counted from the interfaces themselves.

Several may ask at once, through the broker and through helpers of their own, and there is no lock that a caller
could not keep.  So each first makes its interface, under a name that marks it as a claim, labels it with its
lease, and then counts the ports and the other claims of a lower index: the kernel gives the indices out in order.  Of
those who ask at once the first ones find room, and no later one can take it from them.
"""

from qbhelper.errors import Busy, QuotaExceeded
from qbhelper.kernel.message import named_with
from qbhelper.lease import parse_alias

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbhelper.kernel.message import Link, LinkState
    from qbhelper.lease import Lease
    from qbhelper.policy.decision import Decision, Place

CLAIM = b"~"


def claim_name(uid: int) -> bytes:
    """Return the template of the name under which `uid` claims a port; its lease can't be read from it yet."""
    return CLAIM + b"%x.%%d" % uid


def needles(lease: "Lease") -> tuple[bytes, ...]:
    """Return bytes of which one stands in the description of each interface that may count for the rule of `lease`."""
    return f" rule={lease.rule}".encode(), named_with(CLAIM)


def check(claim: "LinkState", lease: "Lease", decision: "Decision", links: "Iterable[Link]") -> None:
    """Raise QuotaExceeded if there is no room for `claim` beside `links`, Busy if that can't be told yet.

    lease: that of the claim; decision: the one that it is made on; links: at least all that `needles` are in.
    """
    terms, place = decision.terms, decision.place
    mine, all_ = _Count(), _Count()
    for link in links:
        is_claim = link.name.startswith(CLAIM)
        # A port counts by whatever index: a later claim has become one only if there was room for this one beside it,
        # and whoever makes 2 ** 31 interfaces has the kernel begin with the low ones again.
        if link.kind != b"tun" or (is_claim and link.index >= claim.index):
            continue
        found = parse_alias(link.alias)
        if found is None:
            # Just created: whose it is its name tells, but not yet by which rule.
            if is_claim:
                all_.claims += 1
                mine.claims += uid_of_claim(link.name) in (None, lease.uid)
        elif found.rule == lease.rule:
            all_.add(is_claim)
            if found.uid == lease.uid:
                mine.add(is_claim)
    mine.compare(terms.max_ports, place, f"you have all {terms.max_ports} ports that {place} gives to one user")
    all_.compare(terms.max_ports_total, place, f"all {terms.max_ports_total} ports that {place} gives are taken")


class _Count:
    """granted: ports; claims: what may become a port, or not."""

    def __init__(self) -> None:
        self.granted = 0
        self.claims = 0

    def add(self, is_claim: bool) -> None:
        if is_claim:
            self.claims += 1
        else:
            self.granted += 1

    def compare(self, at_most: int | None, place: "Place | None", refusal: str) -> None:
        if at_most is None:
            return
        if self.granted >= at_most:
            remedy = "end one of your guests, or ask the administrator of this host"
            raise QuotaExceeded(f"quota: {refusal}", remedy, rule=place)
        if self.granted + self.claims >= at_most:
            raise Busy("others are just asking for the last ports of the same rule", "try again")


def uid_of_claim(name: bytes) -> int | None:
    """Return whose claim has this name; None if it is none."""
    if not name.startswith(CLAIM):
        return None
    try:
        return int(name[len(CLAIM) : name.index(b".")], 16)
    except ValueError:
        return None
