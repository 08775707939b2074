# SPDX-License-Identifier: GPL-2.0-or-later
"""A network card that a virtual machine is to have: what is said of it, and the port and MAC address that it gets."""

import os
from dataclasses import dataclass

from qbhelper.ctl import client
from qbhelper.ctl.client import Granted
from qbhelper.ctl.words import mac_of, require_bridge_name
from qbhelper.errors import printable
from qbhelper.request import Request
from qbhelper.wire import Code

QEMUS_MACS = "52:54:00"
"""The first half of the MAC addresses that QEMU gives out."""


@dataclass(frozen=True)
class Card:
    """A network card that is to have a port.  mac: as it was written, None for any."""

    bridge: str
    queues: int = 1
    vhost: bool = False
    mac: str | None = None

    def check_bridge(self) -> None:
        """Raise UsageError if no bridge can have that name."""
        require_bridge_name(os.fsencode(self.bridge))

    def checked_mac(self) -> str | None:
        """Return the MAC address as it is written best.  Raises UsageError if it is none, or not for a guest."""
        mac = mac_of(self.mac)
        return None if mac is None else mac.hex(":")

    def ask_for_port(self) -> tuple[Granted, str]:
        """Return a port for it, and the guest's MAC address: as it was said, or one that the rule lets through.

        Raises UsageError, Refusal and NoBrokerError.
        """
        mac = self.checked_mac()
        port = client.ask_for_port(Request(os.fsencode(self.bridge), True, self.queues, vhost=self.vhost))
        if mac is not None and not port.may_be_heard(mac):
            port.close()
            raise client.Refusal(
                Code.NOT_ALLOWED,
                f"a guest with MAC address {mac} would not be heard on {printable(self.bridge)}; "
                f"the rule lets through {', '.join(port.macs)}",
            )
        return port, mac or next(iter(port.macs), any_mac())


def any_mac() -> str:
    """Return a MAC address as QEMU gives them out, which nobody can know beforehand."""
    return f"{QEMUS_MACS}:{os.urandom(3).hex(':')}"
