# SPDX-License-Identifier: GPL-2.0-or-later
"""What a port may do: each setting of a policy, brought to the kernel and read back, or a refusal that names it.

All of it is attached to the TAP, or is what the bridge keeps about this one port.  So it ends with the TAP, whatever
ends that, and nothing of it is left over, or in force for the next interface of that name.
"""

import errno
import struct

from qbhelper.errors import KernelError, Taken, UnsupportedError, printable, reason
from qbhelper.kernel import bpf, bridge_port
from qbhelper.kernel.bridge_port import ISOLATED, LEARNING, LOCKED, UNICAST_FLOOD, MacTaken
from qbhelper.kernel.exchange import Exchange, Refused, require_same
from qbhelper.kernel.sieve import ethernet
from qbhelper.kernel.traffic import Ingress, limit_to_guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbhelper.kernel.link import Bridge
    from qbhelper.kernel.settings import Settings

_NOT_SUPPORTED = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)
"""What the kernel answers if it has not got what is asked for: traffic control says the first."""


def mtu_for(bridge: "Bridge", settings: "Settings") -> int:
    """Return the MTU to give the TAP before it is attached.  Raises UnsupportedError if the bridge's is less."""
    if settings.mtu is None:
        return bridge.mtu
    if settings.mtu > bridge.mtu:
        raise UnsupportedError(
            f"`mtu' {settings.mtu} is above that of bridge `{printable(bridge.name)}', which is {bridge.mtu}",
            "let the rule have less, or the bridge and all that is on it more",
        )
    return settings.mtu


def shape(index: int, name: bytes, bridge: "Bridge", settings: "Settings") -> None:
    """Give the TAP `index`, called `name`, these settings, all of them read back.

    It is attached to `bridge` already, with its MTU, and still down.  Raises UnsupportedError, Taken or KernelError;
    then it has to be closed.
    """
    with _Step(name, "its settings"), Exchange() as exchange:
        port = _Port(exchange, index, name, bridge, settings)
        port.check_place()
        port.set_flags()
        port.set_vlans()
        port.hold_macs()
        port.filter_frames()
        port.limit_rates()


def hold_macs(index: int, name: bytes, bridge: "Bridge", settings: "Settings") -> None:
    """Have `bridge` know again where the `macs` of a port are, if it should have been made to forget them.

    Raises UnsupportedError, Taken or KernelError.
    """
    with _Step(name, "its settings"), Exchange() as exchange:
        _Port(exchange, index, name, bridge, settings).hold_macs()


class _Step:
    """Something that is done for a setting.  A context manager: what the kernel does not do becomes a KernelError.

    takes: what the kernel must have for it; if it has not, that is an UnsupportedError.
    """

    __slots__ = ("_setting", "_takes", "_tap")

    def __init__(self, tap: bytes, setting: str, takes: str = "") -> None:
        self._tap = printable(tap)
        self._setting = setting
        self._takes = takes

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            raise self._explain(error) from error
        if isinstance(error, (struct.error, LookupError, ValueError)):
            raise KernelError(
                f"failed to set {self._setting} of `{self._tap}': the kernel's answer makes no sense"
            ) from error

    def _explain(self, error: OSError) -> KernelError | UnsupportedError:
        why = reason(error)
        if isinstance(error, Refused) and error.words:
            why += f" ({printable(error.words)})"
        if error.errno in _NOT_SUPPORTED and self._takes:
            what = f"this kernel does not support {self._setting}, so `{self._tap}' can't have it: {why}"
            return UnsupportedError(what, f"it takes {self._takes}, or a rule without it")
        return KernelError(f"failed to set {self._setting} of `{self._tap}': {why}")


class _Port:
    """A port that is being given its settings."""

    __slots__ = ("_bridge", "_bridge_now", "_exchange", "_index", "_ingress", "_name", "_settings")

    def __init__(self, exchange: Exchange, index: int, name: bytes, bridge: "Bridge", settings: "Settings") -> None:
        self._exchange = exchange
        self._index = index
        self._name = name
        self._bridge = bridge
        self._bridge_now = bridge_port.describe(exchange, bridge.index)
        self._settings = settings
        self._ingress: Ingress | None = None

    def check_place(self) -> None:
        """See that the TAP is where it is meant to be, and that its MTU is its own affair."""
        with _Step(self._name, "`mtu'"):
            here = bridge_port.describe(self._exchange, self._index)
            require_same((here.master, here.mtu), (self._bridge.index, mtu_for(self._bridge, self._settings)))
        mtu = self._bridge_now.mtu
        if self._settings.mtu is not None and mtu < self._bridge.mtu:
            bridge = printable(self._bridge.name)
            raise UnsupportedError(
                f"`mtu' {self._settings.mtu} would become that of bridge `{bridge}' and the host as well: "
                "until a bridge's MTU is set, it is that of its smallest port",
                f"as root: ip link set {bridge} mtu {mtu} && ip link set {bridge} mtu {self._bridge.mtu}",
            )

    def set_flags(self) -> None:
        """Set the bridge's flags of the port, where they differ from what a new port has."""
        settings = self._settings
        for setting, flag, value, differs, takes in (
            ("isolated", ISOLATED, True, settings.isolated, "Linux 4.18"),
            ("macs", LOCKED, True, bool(settings.macs), "Linux 5.18"),
            ("learning", LEARNING, False, not settings.learning, "Linux 3.9"),
            ("unicast_flood", UNICAST_FLOOD, False, not settings.unicast_flood, "Linux 3.9"),
        ):
            if differs:
                with _Step(self._name, f"`{setting}'", takes):
                    bridge_port.set_flag(self._exchange, self._index, flag, value)

    def set_vlans(self) -> None:
        """Have the port be in the VLANs that the settings name, if they do."""
        settings, bridge = self._settings, printable(self._bridge.name)
        if settings.vlan is None and not settings.trunk:
            return
        setting = "`trunk'" if settings.vlan is None else "`vlan'"
        with _Step(self._name, setting, "Linux 5.6 with CONFIG_BRIDGE_VLAN_FILTERING"):
            if not self._bridge_now.vlan_protocol:
                raise Refused(errno.EOPNOTSUPP)
            if not self._bridge_now.filters_vlans:
                raise UnsupportedError(
                    f"{setting} needs a bridge that filters VLANs, and `{bridge}' does not",
                    f"as root: ip link set {bridge} type bridge vlan_filtering 1",
                )
            bridge_port.set_vlans(self._exchange, self._index, settings.vlan, settings.trunk)

    def hold_macs(self) -> None:
        """Have the bridge know for certain that these MAC addresses are here, in all VLANs that the port is in."""
        if not self._settings.macs:
            return
        with _Step(self._name, "`macs'", "Linux 5.6"):
            vlans = [0]
            if self._bridge_now.filters_vlans:
                vlans = sorted(bridge_port.vlans_of(self._exchange, self._index))
            try:
                for mac in self._settings.macs:
                    for vlan in vlans:
                        bridge_port.hold_mac(self._exchange, self._index, self._bridge.index, mac, vlan)
            except MacTaken as taken:
                holder = printable(bridge_port.describe(self._exchange, taken.holder).name)
                raise Taken(
                    f"MAC address {taken.mac.hex(':')} of `macs' is taken by `{holder}'",
                    f"one port of bridge `{printable(self._bridge.name)}' at a time can have it",
                ) from taken

    def filter_frames(self) -> None:
        """Have the kernel drop, of what the guest sends, all that the settings do not allow."""
        settings = self._settings
        in_vlans = settings.vlan is not None or bool(settings.trunk)
        reasons = [name for name in ("macs", "addresses", "guards") if getattr(settings, name)]
        if in_vlans:
            reasons.append("trunk" if settings.vlan is None else "vlan")
        if not reasons:
            return
        names = ", ".join(f"`{name}'" for name in reasons)
        with _Step(self._name, names, _modules("sch_ingress cls_bpf act_gact")):
            program = ethernet.program(
                macs=settings.macs,
                addresses=settings.addresses,
                guards=settings.guards,
                only_tag=self._bridge_now.vlan_protocol if in_vlans else None,
            )
            if len(program) > bpf.MOST_BYTES:
                raise UnsupportedError(
                    f"{names} say more than a filter of the kernel's has room for", "name fewer, or larger networks"
                )
            self._filters().let_through(program)

    def limit_rates(self) -> None:
        """Limit what the guest receives and sends."""
        settings = self._settings
        if settings.rate_from_guest is not None:
            with _Step(self._name, "`rate_from_guest'", _modules("sch_ingress cls_bpf act_police")):
                self._filters().limit(settings.rate_from_guest)
        if settings.rate_to_guest is not None:
            with _Step(self._name, "`rate_to_guest'", _modules("sch_tbf")):
                limit_to_guest(self._exchange, self._index, settings.rate_to_guest)

    def _filters(self) -> Ingress:
        if self._ingress is None:
            self._ingress = Ingress(self._exchange, self._index)
        return self._ingress


def _modules(names: str) -> str:
    return f"the kernel's modules {names} (as root: modprobe -a {names})"
