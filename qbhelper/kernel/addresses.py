# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interfaces have IP addresses that others can reach (rtnetlink(7), linux/if_addr.h)."""

import struct

from qbhelper.errors import KernelError, reason
from qbhelper.kernel.exchange import Exchange
from qbhelper.kernel.message import NLM_F_DUMP

RTM_GETADDR = 22
RT_SCOPE_LINK = 253
"""And above: addresses that count on the link alone, as IPv6's fe80::, or on this host alone."""

_IFADDRMSG = struct.Struct("=4BI")


def interfaces_with_addresses() -> frozenset[int]:
    """Return the indexes of the interfaces that have an IPv4 or IPv6 address of more than their link.

    Raises KernelError.
    """
    found = set()
    try:
        with Exchange() as exchange:
            for payload in exchange.ask(RTM_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0), NLM_F_DUMP):
                _, _, _, scope, index = _IFADDRMSG.unpack_from(payload)
                if scope < RT_SCOPE_LINK:
                    found.add(index)
    except (OSError, struct.error) as error:
        what = reason(error) if isinstance(error, OSError) else "its answer makes no sense"
        raise KernelError(f"failed to ask the kernel for its addresses: {what}") from error
    return frozenset(found)
