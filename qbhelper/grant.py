# SPDX-License-Identifier: GPL-2.0-or-later
"""The story: somebody asks for a port on a bridge, and gets a TAP or a refusal.

Decide, create, attach, verify.  Handing the TAP over is left to whoever called: it is the
last thing that can fail.
"""

from qbhelper.errors import AccessDenied, KernelError, NoSuchBridge, printable
from qbhelper.kernel import tap
from qbhelper.kernel.link import Bridge, Network
from qbhelper.kernel.message import Link
from qbhelper.policy.access_list import AccessList
from qbhelper.policy.decision import Decision
from qbhelper.request import Caller, Request


def grant(
    request: Request, caller: Caller, policy: AccessList, network: Network, label: bytes | None = None
) -> tap.Tap:
    """Make the port that `caller` asks for, and return its TAP: attached to the bridge, and up.

    `label` becomes the interface's alias.  Raises AccessDenied, NoSuchBridge or KernelError; then nothing is left.
    """
    bridge = _decide(request, caller, policy, network)
    port = tap.create(request.vnet_header)
    try:
        _verify(network.attach(port.name, bridge, label), bridge)
    except BaseException:
        port.close()  # the TAP has no other holder, so this removes it, and its place on the bridge
        raise
    return port


def _decide(request: Request, caller: Caller, policy: AccessList, network: Network) -> Bridge:
    """Return the bridge that was asked for, if there is one and the caller may use it."""
    bridge = network.find(request.bridge)
    # An altname is judged by the name that rules are written for too: else it would get round a deny.
    decision = policy.decide(bridge.name if bridge else request.bridge, request.bridge)
    # Refused before we say whether it exists: a caller without a rule learns nothing of the host.
    if not decision.allowed:
        raise AccessDenied(
            f"access denied by acl file: {_why(decision, request, policy, bridge)}",
            f"ask the administrator of this host (your uid is {caller.uid})",
        )
    if bridge is None:
        raise NoSuchBridge(
            f"failed to get mtu of bridge `{printable(request.bridge)}': No such device",
            "`ip link show type bridge' lists the bridges of this network namespace",
        )
    return bridge


def _why(decision: Decision, request: Request, policy: AccessList, bridge: Bridge | None) -> str:
    name = f"`{printable(request.bridge)}'"
    if bridge is not None and bridge.name != request.bridge:
        name = f"`{printable(bridge.name)}', which {name} is another name of"
    if decision.place is None:
        return f"no line of {policy.path} allows {name}"
    return f"{decision.place} denies {name}"


def _verify(port: Link, bridge: Bridge) -> None:
    """Refuse a port that is not what was asked of the kernel: its name, for one, may have changed hands meanwhile."""
    if port.master != bridge.index:
        raise KernelError(
            f"failed to add interface `{printable(port.name)}' to bridge `{printable(bridge.name)}': "
            "the kernel has put it elsewhere",
            "try again",
        )
    if not port.up:
        raise KernelError(f"failed to bring up interface `{printable(port.name)}': the kernel did not do it")
