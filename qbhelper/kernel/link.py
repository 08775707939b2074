# SPDX-License-Identifier: GPL-2.0-or-later
"""Interfaces and bridge ports, through netlink.

A TAP is spoken of by its name, and names can change hands.  So the bridge's is resolved once, to an index, and
what comes back last is what the kernel has made of the TAP of that name: on which bridge, and whether it is up.
"""

import errno
import os

from qbhelper.errors import Busy, KernelError, NoSuchBridge, Taken, printable, reason
from qbhelper.kernel.message import (
    AF_INET6,
    BRIDGE_PORT_MAC_START,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INET6_ADDR_GEN_MODE,
    IFLA_MASTER,
    IFLA_MTU,
    IN6_ADDR_GEN_MODE_NONE,
    Link,
    LinkState,
    attribute,
    by_name,
    ifinfo,
)
from qbhelper.kernel.netlink import Links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


_NO_IPV6_ADDRESS = attribute(
    IFLA_AF_SPEC, attribute(AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE))
)
_NO_BRIDGE = "is not a Linux bridge; `ip link show type bridge' lists them"


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

    @classmethod
    def of(cls, link: Link) -> "Bridge":
        """Return what the kernel describes as one."""
        return cls(link.index, link.name, link.mtu, link.kind == b"bridge")


class Network:
    """The network namespace of this process."""

    __slots__ = ("_bridges", "_has_ipv6", "_links")

    def __init__(self) -> None:
        """Raises KernelError if there is no socket to be had."""
        self._bridges: dict[bytes, int] = {}  # index by name, of what was found to be one
        self._has_ipv6 = True
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
            return self._find_again(name) or self._find(name)
        except OSError as error:
            raise KernelError(f"failed to look up bridge `{printable(name)}': {reason(error)}") from error

    def _find(self, name: bytes) -> Bridge | None:
        link = self._links.find(name)
        bridge = None if link is None else Bridge.of(link)
        if bridge and bridge.is_bridge:
            self._bridges[bridge.name] = bridge.index
        return bridge

    def _find_again(self, name: bytes) -> Bridge | None:
        """Return a bridge that was found before, if its name is still its own.

        It is taken for a bridge still: what an interface is never changes, and only root gives its index to another.
        What has become of the TAP tells for certain (`LinkState.master_kind`).
        """
        index = self._bridges.get(name)
        if index is None or self._links.name_of(index) != name:
            return None
        mtu = self._links.mtu_of(name)
        return None if mtu is None else Bridge(index, name, mtu, is_bridge=True)

    def attach(self, tap: bytes, bridge: Bridge, alias: bytes) -> LinkState:
        """Make `tap` a port of `bridge` with its MTU, labelled with `alias` (at most 255 bytes), and set it up.

        Returns what has become of the TAP.  Raises KernelError, and NoSuchBridge where `bridge` is none.
        """
        start = by_name(tap)
        try:
            # The MTU goes with the bridge, which follows its smallest port: the kernel sets it first.
            # In one exchange, but two messages: in one, most kernels would set it up before it is on its bridge, and
            # the TAP would hold frames of the host's own when its guest begins to read.  The second changes nothing
            # else: of a change to what is up all the kernel is told that may care, and IPv6 walks all its routes.
            return self._set_and_get(
                start,
                start + _mtu(bridge.mtu) + _address() + attribute(IFLA_IFALIAS, alias) + _master(bridge),
                by_name(tap, flags=IFF_UP),
            )
        except OSError as error:
            self._explain(start, tap, bridge, bridge.mtu)
            raise _failed_to_bring_up(tap, error) from error

    def label(self, tap: bytes, alias: bytes) -> LinkState:
        """Label `tap` with `alias` (at most 255 bytes), and return what it is like.  Raises KernelError."""
        try:
            # With the MAC: who watches what has an alias of ours wants to see no other.
            return self._set_and_get(by_name(tap), by_name(tap, _address(), attribute(IFLA_IFALIAS, alias)))
        except OSError as error:
            raise KernelError(f"failed to set MAC address and alias of `{printable(tap)}': {reason(error)}") from error

    def _set_and_get(self, start: bytes, *sets: bytes) -> LinkState:
        """Do as `Links.set_and_get` does, but first have the host take no IPv6 address on the TAP.

        It would be of no use, as what comes in is the bridge's; and the guest would hear of it.
        """
        if self._has_ipv6:
            try:
                # In a message of its own, before all else: what comes after it is done in its order whatever it meets.
                return self._links.set_and_get(start, start + _NO_IPV6_ADDRESS, *sets)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
                self._has_ipv6 = False  # ipv6.disable=1, or not in the kernel at all
        return self._links.set_and_get(start, *sets)

    def ports(self, needles: tuple[bytes, ...]) -> list[Link]:
        """Return the TAPs in whose description one of `needles` stands.  Raises Busy and KernelError."""
        try:
            return self._links.dump_taps(needles)
        except InterruptedError as error:
            raise Busy("interfaces came and went while they were counted", "try again") from error
        except OSError as error:
            raise KernelError(f"failed to count the ports: {reason(error)}") from error

    def rename(self, tap: LinkState, template: bytes) -> None:
        """Give `tap` another name, in which the kernel puts the lowest free number for `%d`.

        Raises Taken and KernelError.
        """
        try:
            self._links.set(ifinfo(tap.index) + attribute(IFLA_IFNAME, template + b"\0"))
        except OSError as error:
            what = f"failed to rename interface `{printable(tap.name)}' to `{printable(template)}': {reason(error)}"
            if error.errno == errno.EEXIST:
                raise Taken(what, f"`ip link show {printable(template)}' tells what has that name") from error
            raise KernelError(what) from error

    def attach_down(self, tap: LinkState, bridge: Bridge, mtu: int) -> None:
        """Make `tap` a port of `bridge` as `attach` does, with an MTU (bytes) of its own, but leave it down."""
        start = ifinfo(tap.index)
        try:
            self._links.set(start + _mtu(mtu) + _master(bridge))
        except OSError as error:
            self._explain(start, tap.name, bridge, mtu)
            raise _failed_to_add(tap.name, bridge, error) from error

    def bring_up(self, tap: LinkState) -> LinkState:
        """Set `tap` up, and return what has become of it.  Raises KernelError."""
        start = ifinfo(tap.index)
        try:
            return self._links.set_and_get(start, ifinfo(tap.index, flags=IFF_UP))
        except OSError as error:
            raise _failed_to_bring_up(tap.name, error) from error

    def bridge_of(self, tap: Link) -> Bridge | None:
        """Return what `tap` is a port of; None if of nothing.  Raises KernelError."""
        try:
            master = self._links.get(tap.master) if tap.master else None
        except OSError as error:
            raise KernelError(f"failed to look up the bridge of `{printable(tap.name)}': {reason(error)}") from error
        return None if master is None else Bridge.of(master)

    def shut(self, tap: Link, alias: bytes) -> None:
        """Set `tap` down, so that its bridge passes nothing, and label it with `alias` (at most 255 bytes).

        Raises KernelError; also if it has gone meanwhile.
        """
        self._set_down(tap, attribute(IFLA_IFALIAS, alias))

    def take_off(self, tap: Link, alias: bytes) -> None:
        """Do as `shut` does, and take `tap` off its bridge as well.  Raises KernelError."""
        now = self._set_down(tap, attribute(IFLA_MASTER, 0), attribute(IFLA_IFALIAS, alias))
        if now.master:
            raise KernelError(f"failed to take `{printable(tap.name)}' off its bridge: the kernel did not do it")

    def _set_down(self, tap: Link, *changes: bytes) -> LinkState:
        start = ifinfo(tap.index)
        down = ifinfo(tap.index, clear=IFF_UP)
        try:
            # Down first: up and on no bridge, it would be an interface of the host's own.  And last: a helper that is
            # just about to bring it up may do so in between, and will see by what is done to it that it was too late.
            now = self._links.set_and_get(start, down, *(start + change for change in changes), down)
        except OSError as error:
            raise KernelError(f"failed to set down `{printable(tap.name)}': {reason(error)}") from error
        if now.up or attribute(IFLA_IFALIAS, now.alias) != changes[-1]:
            raise KernelError(f"failed to set down `{printable(tap.name)}': the kernel did not do it")
        return now

    def delete(self, tap: Link) -> None:
        """Delete `tap`, unless it is gone.  Raises KernelError."""
        try:
            self._links.delete(tap.index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise KernelError(f"failed to delete `{printable(tap.name)}': {reason(error)}") from error

    def delete_named(self, name: bytes) -> None:
        """Delete the interface of this name, which must not change hands meanwhile.  Raises KernelError."""
        try:
            link = self._links.find(name)
        except OSError as error:
            raise KernelError(f"failed to look up `{printable(name)}': {reason(error)}") from error
        if link is not None:
            self.delete(link)

    def _explain(self, start: bytes, tap: bytes, bridge: Bridge, mtu: int) -> None:
        """Raise the error of the step that was refused: the kernel does not say which, so ask for each."""
        try:
            self._links.set(start + _mtu(mtu))
        except OSError as error:
            what = f"failed to set mtu of device `{printable(tap)}' to {mtu}: {reason(error)}"
            if not bridge.is_bridge:  # the loopback has an MTU that no TAP can have
                raise NoSuchBridge(what, f"`{printable(bridge.name)}' {_NO_BRIDGE}") from error
            raise KernelError(
                what, f"a TAP takes 68 to 65521 bytes: change the MTU of bridge `{printable(bridge.name)}'"
            ) from error
        try:
            self._links.set(start + _address())
        except OSError as error:
            raise KernelError(f"failed to set MAC address of device `{printable(tap)}': {reason(error)}") from error
        try:
            self._links.set(start + _master(bridge))
        except OSError as error:
            raise _failed_to_add(tap, bridge, error) from error


def _mtu(mtu: int) -> bytes:
    return attribute(IFLA_MTU, mtu)


def _address() -> bytes:
    return attribute(IFLA_ADDRESS, BRIDGE_PORT_MAC_START + os.urandom(5))


def _master(bridge: Bridge) -> bytes:
    if not bridge.is_bridge:  # there are other things with ports, and the access list speaks of bridges
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return attribute(IFLA_MASTER, bridge.index)


def _failed_to_add(tap: bytes, bridge: Bridge, error: OSError) -> KernelError | NoSuchBridge | Taken:
    what = f"failed to add interface `{printable(tap)}' to bridge `{printable(bridge.name)}': {reason(error)}"
    if error.errno == errno.EOPNOTSUPP:
        return NoSuchBridge(what, f"it {_NO_BRIDGE}")
    if error.errno == errno.EXFULL:
        return Taken(what, "all 1023 ports of the bridge are taken")
    return KernelError(what)


def _failed_to_bring_up(tap: bytes, error: OSError) -> KernelError:
    return KernelError(f"failed to bring up interface `{printable(tap)}': {reason(error)}")
