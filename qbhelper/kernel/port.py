# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of a port."""

from qbhelper.errors import KernelError


def mtu_for(bridge: object, settings: object) -> int:
    """Refuse."""
    raise KernelError("failed to shape a port: settings are not known to this version")


def shape(index: int, name: bytes, bridge: object, settings: object) -> None:
    """Refuse."""
    raise KernelError("failed to shape a port: settings are not known to this version")
