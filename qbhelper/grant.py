# SPDX-License-Identifier: GPL-2.0-or-later
"""The story: somebody asks for a port on a bridge, and gets a TAP or a refusal.

Decide, create, count, attach, shape, bring up, verify.  Handing the TAP over is left to whoever called: it is the
last thing that can fail.
"""

import os

from qbhelper import quota
from qbhelper.errors import AccessDenied, ElsewhereError, KernelError, NoSuchBridge, UnsupportedError, printable
from qbhelper.kernel import tap
from qbhelper.kernel.link import Bridge, Network
from qbhelper.lease import Lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from qbhelper.kernel.message import LinkState
    from qbhelper.policy.decision import Decision, Verdicts
    from qbhelper.request import Caller, Request


class Port:
    """What was granted.

    tap: to be handed over, or closed; vhost: fds that go with it; name: its interface's; lease; decision: with the line
    that allowed it.
    """

    __slots__ = ("decision", "lease", "name", "tap", "vhost")

    def __init__(
        self, taken: tap.Tap, name: bytes, lease: Lease, decision: "Decision", vhost: tuple[int, ...] = ()
    ) -> None:
        self.tap: Final = taken
        self.name: Final = name
        self.lease: Final = lease
        self.decision: Final = decision
        self.vhost: Final = vhost

    def close(self) -> None:
        """Close our fds; what was not handed over is gone."""
        self.tap.close()
        for fd in self.vhost:
            os.close(fd)


def grant(request: "Request", caller: "Caller", policy: "Verdicts", network: Network) -> Port:
    """Make the port that `caller` asks for: attached to the bridge, and up.

    Raises AccessDenied, ElsewhereError, UnsupportedError, NoSuchBridge, QuotaExceeded, Taken, Busy or
    KernelError; then nothing is left.
    """
    bridge, decision = _decide(request, caller, policy, network)
    terms = decision.terms
    lease = Lease.begin(
        caller.uid,
        caller.pid,
        request.queues,
        terms.rule,
        terms.port.identity,
        persistent=request.persistent,
        vhost=request.vhost,
    )
    alias = lease.alias()
    name = _name_for(caller, decision)
    # By a virtio-net header the guest has the kernel write a checksum anywhere into its frame, and cut it to pieces:
    # after the frame was looked at.
    vnet_header = request.vnet_header and not terms.port.is_filtered
    template = quota.claim_name(caller.uid) if terms.is_counted else name
    taken = tap.create(vnet_header, request.queues, template, caller.uid if request.persistent else tap.NOBODYS)
    try:
        if terms.port.is_plain and not terms.is_counted:
            port = network.attach(taken.name, bridge, alias)
        else:
            port = _make_on_terms(network.label(taken.name, alias), name, bridge, lease, decision, network)
        _verify(port, bridge, alias)
        vhost = _vhost_for(request)
    except BaseException:
        _undo(taken, network)
        raise
    return Port(taken, port.name, lease, decision, vhost)


def _undo(taken: tap.Tap, network: Network) -> None:
    """Remove a TAP, and with it its place on the bridge."""
    try:
        # One with several queues its owner, or whoever was quick before it had one, may have opened by its name by now:
        # it would stay, a port beyond any quota.  One with a single queue has no other holder.
        if len(taken.fds) > 1:
            network.delete_named(tap.name_now(taken.fds[0]))
    finally:
        taken.close()


def _decide(request: "Request", caller: "Caller", policy: "Verdicts", network: Network) -> tuple[Bridge, "Decision"]:
    """Return the bridge that was asked for, if there is one and the caller may use it."""
    bridge = network.find(request.bridge)
    # An altname is judged by the name that rules are written for too: else it would get round a deny.
    decision = policy.decide(bridge.name if bridge else request.bridge, request.bridge)
    if caller.is_elsewhere and not (decision.allowed and decision.terms.other_network_namespaces):
        raise ElsewhereError(
            "access denied: you are in another network namespace than the broker",
            "run QEMU in the network namespace of the host (a container: --network=host), or ask the administrator",
        )
    # Refused before we say whether it exists: a caller without a rule learns nothing of the host.
    if not decision.allowed:
        raise AccessDenied(
            f"access denied by acl file: {why(decision, request.bridge, policy, bridge)}",
            f"ask the administrator of this host (your uid is {caller.uid})",
            rule=decision.place,
        )
    if request.queues > decision.terms.queues:
        raise UnsupportedError(
            f"failed to make {request.queues} queues: {decision.place} allows {decision.terms.queues}",
            "ask for fewer, or ask the administrator of this host",
            rule=decision.place,
        )
    for asked, is_given, setting in (
        (request.vhost, decision.terms.vhost, "vhost"),
        (request.persistent, decision.terms.persistent, "persistent"),
    ):
        if asked and not is_given:
            raise UnsupportedError(
                f"failed to make a port with `{setting}': {decision.place} does not allow that",
                "ask for one without, or ask the administrator of this host",
                rule=decision.place,
            )
    if bridge is None:
        raise NoSuchBridge(
            f"failed to get mtu of bridge `{printable(request.bridge)}': No such device",
            "`ip link show type bridge' lists the bridges of this network namespace",
        )
    return bridge, decision


def why(decision: "Decision", asked: bytes, policy: "Verdicts", bridge: Bridge | None) -> str:
    """Return in words why `decision`, of `policy`, refuses a bridge that was `asked` for by this name."""
    name = f"`{printable(asked)}'"
    if bridge is not None and bridge.name != asked:
        name = f"`{printable(bridge.name)}', which {name} is another name of"
    text = f"{decision.place} denies {name}" if decision.place else f"no line of {policy.path} allows {name}"
    return f"{text} ({decision.note})" if decision.note else text


def _name_for(caller: "Caller", decision: "Decision") -> bytes:
    """Return the template of the port's name."""
    try:
        return decision.terms.port.interface_name(caller.uid) or tap.NAME_TEMPLATE
    except ValueError as error:
        what = f"failed to name a port: the `name' of {decision.place} is {error}"
        raise UnsupportedError(what, "shorten it") from error


def _make_on_terms(
    claim: "LinkState", name: bytes, bridge: Bridge, lease: Lease, decision: "Decision", network: Network
) -> "LinkState":
    """Make a port of a TAP that is counted, or has settings of its own."""
    terms = decision.terms
    if terms.is_counted:
        quota.check(claim, lease, decision, network.ports(quota.needles(lease)))
        network.rename(claim, name)
    if terms.port.is_plain:
        network.attach_down(claim, bridge, bridge.mtu)
    else:
        from qbhelper.kernel import port  # here, because few ports need it

        network.attach_down(claim, bridge, port.mtu_for(bridge, terms.port))
        port.shape(claim.index, claim.name, bridge, terms.port)
    return network.bring_up(claim)


def _vhost_for(request: "Request") -> tuple[int, ...]:
    """Return the fds of /dev/vhost-net that were asked for."""
    if not request.vhost:
        return ()
    from qbhelper.kernel import vhost  # here, because few ports need it

    return vhost.open_each(request.queues)


def _verify(port: "LinkState", bridge: Bridge, alias: bytes) -> None:
    """Refuse a port that is not what was asked of the kernel: its name, for one, may have changed hands meanwhile."""
    if port.alias != alias:
        # A lease can be ended as soon as its alias is set: that of a claim while its caller has stopped the helper.
        raise KernelError(
            f"failed to make interface `{printable(port.name)}': its lease was ended meanwhile", "try again"
        )
    if (port.master, port.master_kind) != (bridge.index, b"bridge"):
        raise KernelError(
            f"failed to add interface `{printable(port.name)}' to bridge `{printable(bridge.name)}': "
            "the kernel has put it elsewhere",
            "try again",
        )
    if not port.up:
        raise KernelError(f"failed to bring up interface `{printable(port.name)}': the kernel did not do it")
