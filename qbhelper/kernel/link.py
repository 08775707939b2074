# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces and bridge ports, through netlink.

A TAP is spoken of by its name, and names can change hands.  So the bridge's is resolved once, to an index, and
what comes back last is what the kernel has made of the TAP of that name: on which bridge, and whether it is up.
"""

import errno
import os

from qbhelper.errors import KernelError, NoSuchBridge, printable, reason
from qbhelper.kernel.message import IFLA_ADDRESS, IFLA_IFALIAS, IFLA_MASTER, IFLA_MTU, Link, attribute
from qbhelper.kernel.netlink import Links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_HIGH_FIRST_BYTE = b"\xfe"
"""A bridge takes the lowest MAC of its ports for its own; with fe: first it does not take the TAP's."""


class Bridge:
    """An interface that a request named.

    index; name: its one canonical name, whatever it was called; mtu (bytes); is_bridge: whether it is a Linux bridge.
    """

    __slots__ = ("index", "is_bridge", "mtu", "name")

    def __init__(self, index: int, name: bytes, mtu: int, is_bridge: bool) -> None:
        self.index: Final = index
        self.name: Final = name
        self.mtu: Final = mtu
        self.is_bridge: Final = is_bridge


class Network:
    """The network namespace of this process."""

    __slots__ = ("_links",)

    def __init__(self) -> None:
        """Raises KernelError if there is no socket to be had."""
        try:
            self._links = Links()
        except OSError as error:
            raise KernelError(
                f"failed to open control socket: {reason(error)} (netlink)",
                "let the sandbox that QEMU runs in have AF_NETLINK (systemd: RestrictAddressFamilies=)",
            ) from error

    def close(self) -> None:
        """Close what it asks the kernel through."""
        self._links.close()

    def find(self, name: bytes) -> Bridge | None:
        """Resolve `name`, which may be an altname, to the interface; None if there is none."""
        try:
            link = self._links.find(name)
        except OSError as error:
            raise KernelError(f"failed to look up bridge `{printable(name)}': {reason(error)}") from error
        return None if link is None else Bridge(link.index, link.name, link.mtu, link.kind == b"bridge")

    def attach(self, tap: bytes, bridge: Bridge, alias: bytes | None = None) -> Link:
        """Make `tap` a port of `bridge`, with its MTU and a MAC that leaves the bridge its own, and set it up.

        `alias`: at most 255 bytes.  Returns what has become of the TAP.  Raises KernelError, and NoSuchBridge where
        `bridge` is none: only now, since QEMU's helper finds that out when it has a TAP.
        """
        steps = (
            attribute(IFLA_MTU, bridge.mtu),  # before the bridge, which follows its smallest port
            attribute(IFLA_ADDRESS, _HIGH_FIRST_BYTE + os.urandom(5)),
            attribute(IFLA_MASTER, bridge.index),
        )
        label = attribute(
            IFLA_IFALIAS, alias or b""
        )  # last: the broker looks at what the kernel tells of labelled TAPs
        try:
            if not bridge.is_bridge:  # there are other things with ports, and the access list speaks of bridges
                raise _no_bridge()
            return self._links.set_up(tap, b"".join(steps), label)
        except OSError as error:
            raise self._explain(tap, bridge, (*steps, label), error) from error

    def _explain(
        self, tap: bytes, bridge: Bridge, steps: tuple[bytes, ...], error: OSError
    ) -> KernelError | NoSuchBridge:
        """Return the error for a port that the kernel refused.

        It does not say which step it was; so it is asked for each by itself.
        """
        mtu, address, master, label = steps
        name = printable(tap)
        if problem := self._problem(tap, mtu):
            return KernelError(
                f"failed to set mtu of device `{name}' to {bridge.mtu}: {reason(problem)}",
                f"a TAP takes 68 to 65521 bytes; if `{printable(bridge.name)}' is the bridge you mean, change its MTU",
            )
        if problem := self._problem(tap, address):
            return KernelError(f"failed to set MAC address of device `{name}': {reason(problem)}")
        if problem := self._problem(tap, master) if bridge.is_bridge else _no_bridge():
            return _failed_to_add(tap, bridge, problem)
        if problem := self._problem(tap, label):
            return KernelError(f"failed to set the alias of `{name}': {reason(problem)}")
        return KernelError(f"failed to bring up interface `{name}': {reason(error)}")

    def _problem(self, tap: bytes, step: bytes) -> OSError | None:
        try:
            self._links.set(tap, step)
        except OSError as error:
            return error
        return None


def _no_bridge() -> OSError:
    return OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def _failed_to_add(tap: bytes, bridge: Bridge, error: OSError) -> KernelError | NoSuchBridge:
    what = f"failed to add interface `{printable(tap)}' to bridge `{printable(bridge.name)}': {reason(error)}"
    if error.errno == errno.EOPNOTSUPP:
        return NoSuchBridge(what, "it is not a Linux bridge; `ip link show type bridge' lists them")
    if error.errno == errno.EXFULL:
        return KernelError(what, "all 1023 ports of the bridge are taken")
    return KernelError(what)
