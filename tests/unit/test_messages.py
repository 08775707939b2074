# SPDX-License-Identifier: GPL-2.0-or-later
"""Every message as a user reads it, whole.  Change one only on purpose: people search for them."""

import errno
import os
from collections.abc import Callable

import pytest

from qbhelper import dialect, grant, sources
from qbhelper.errors import QbError
from qbhelper.kernel.link import Bridge, Network
from qbhelper.kernel.message import LinkState
from qbhelper.kernel.tap import _how_to_open
from qbhelper.lease import Lease
from qbhelper.policy.access_list import AccessList, Rule
from qbhelper.policy.decision import Place
from qbhelper.request import Caller, Request


class OneBridge(Network):
    """A network with at most one bridge, which is never asked of the kernel."""

    def __init__(self, bridge: Bridge | None) -> None:
        self._only = bridge

    def find(self, name: bytes) -> Bridge | None:
        """Whatever the name, the one bridge."""
        return self._only


ALICE = Caller(1000, 1000, ())
BR0 = Bridge(7, b"br0", 1500, True)
ALLOW = Rule(True, b"br0", Place("/etc/qemu/bridge.conf", 1))
DENY = Rule(False, None, Place("/etc/qemu/alice.conf", 4))


def decide(bridge: Bridge | None, *rules: Rule) -> None:
    """Decide on Alice's wish for br0."""
    policy = AccessList("/etc/qemu/bridge.conf", rules)
    grant._decide(Request(b"br0", False), ALICE, policy, OneBridge(bridge))


LEASE = Lease.begin(1000, 5, 1, None)


def port(*, master: int, up: bool, alias: bytes = LEASE.alias(), master_kind: bytes = b"bridge") -> LinkState:
    """A TAP as the kernel describes it."""
    return LinkState(8, b"tap0", alias, master, up, master_kind)


CASES: dict[str, tuple[Callable[[], object], str]] = {
    "no rule": (
        lambda: decide(BR0),
        (
            "access denied by acl file: no line of /etc/qemu/bridge.conf allows `br0'; "
            "ask the administrator of this host (your uid is 1000)"
        ),
    ),
    "deny": (
        lambda: decide(BR0, ALLOW, DENY),
        (
            "access denied by acl file: /etc/qemu/alice.conf:4 denies `br0'; "
            "ask the administrator of this host (your uid is 1000)"
        ),
    ),
    "no such bridge": (
        lambda: decide(None, ALLOW),
        (
            "failed to get mtu of bridge `br0': No such device; "
            "`ip link show type bridge' lists the bridges of this network namespace"
        ),
    ),
    "elsewhere": (
        lambda: grant._verify(port(master=99, up=True), BR0, LEASE.alias()),
        "failed to add interface `tap0' to bridge `br0': the kernel has put it elsewhere; try again",
    ),
    "on something of another kind": (
        lambda: grant._verify(port(master=7, up=True, master_kind=b"bond"), BR0, LEASE.alias()),
        "failed to add interface `tap0' to bridge `br0': the kernel has put it elsewhere; try again",
    ),
    "down": (
        lambda: grant._verify(port(master=7, up=False), BR0, LEASE.alias()),
        "failed to bring up interface `tap0': the kernel did not do it; the kernel's log (dmesg) may say more",
    ),
    "ended meanwhile": (
        lambda: grant._verify(port(master=7, up=True, alias=LEASE.ended().alias()), BR0, LEASE.alias()),
        "failed to make interface `tap0': its lease was ended meanwhile; try again",
    ),
    "unknown word": (
        lambda: dialect.parse(["--help"]),
        "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`--help' is not known)",
    ),
    "no bridge": (
        lambda: dialect.parse(["--fd=3"]),
        "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`--br=' is missing)",
    ),
    "no fd": (
        lambda: dialect.parse(["--br=br0"]),
        "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`--fd=' is missing)",
    ),
    "bad fd": (
        lambda: dialect.parse(["--fd=x"]),
        "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`--fd=x' is not the number of a file descriptor)",
    ),
    "long name": (
        lambda: dialect.parse(["--fd=3", "--br=0123456789abcdef"]),
        "name `0123456789abcdef' too long: 16; an interface name has at most 15 bytes",
    ),
    "bad name": (
        lambda: dialect.parse(["--fd=3", "--br=br0:1"]),
        (
            "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`br0:1' can't be the name of a bridge); "
            "name the bridge itself, as `ip link show type bridge' prints it"
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_reads_exactly_so(case: str) -> None:
    """What failed, in the original's words where it has some, then what to do: on one line."""
    act, text = CASES[case]
    with pytest.raises(QbError) as caught:
        act()
    assert str(caught.value) == text


def test_a_bridge_that_is_hidden_is_denied_as_one_that_is_there() -> None:
    """CVE-2022-47952: a caller without a rule can't tell whether a bridge exists."""
    texts = []
    for bridge in (BR0, None):
        with pytest.raises(QbError) as caught:
            decide(bridge)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_an_altname_is_judged_by_the_name_of_the_bridge() -> None:
    """The rule for the canonical name decides, whatever the bridge was called by."""
    with pytest.raises(QbError, match="access denied"):
        decide(Bridge(7, b"br-mgmt", 1500, True), ALLOW)


def test_an_unreadable_access_list_says_how_to_make_it_readable() -> None:
    """The commonest fault of an installation, a list of mode 0600, is told with its remedy."""

    def not_for_you(_: bytes) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with pytest.raises(QbError) as caught:
        sources.load_access_list(not_for_you)
    assert str(caught.value) == (
        "failed to parse default acl file `/etc/qemu/bridge.conf': Permission denied; "
        "each user who may use bridges needs to read it: chmod o+r it, or chgrp it to a group of theirs"
    )


def test_a_tun_device_that_cannot_be_opened_says_what_to_do() -> None:
    """A wrong mode and a missing module have different remedies."""
    assert _how_to_open(PermissionError()) == "as root: chmod 0666 /dev/net/tun"
    assert _how_to_open(FileNotFoundError()).startswith("as root: modprobe tun; ")
