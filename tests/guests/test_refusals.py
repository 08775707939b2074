# SPDX-License-Identifier: GPL-2.0-or-later
"""When the helper refuses, QEMU ends, its user reads why, and nothing is left."""

from pathlib import Path

import pytest

from tests.support import install, world
from tests.support.guest import Guest, Nic

NIC = Nic("52:54:00:00:00:01", "10.0.0.1/24")


def refusal(helper: Path, uid: int | None, *more_words: str, bridge: str = "br0") -> str:
    """Start a guest that must not come to be; the first line of what its user reads.

    The last line must be QEMU's own: it has understood.
    """
    with Guest("mallory", [NIC], [*more_words, *NIC.bridge_words(helper, bridge=bridge)], uid=uid) as guest:
        *first, last = guest.wait_until_refused().splitlines()
    assert last.startswith("qemu-system-x86_64: -netdev bridge,")
    assert last.endswith(": bridge helper failed")
    assert first, "the helper said nothing"
    assert "Traceback" not in "".join(first)
    return first[0]


def test_a_bridge_that_is_not_in_the_access_list_is_refused(br0: str, helper: Path, uid: int | None) -> None:
    """Only what is allowed is granted, and the user learns which bridge was refused."""
    world.write_access_list("allow br7\n")
    said = refusal(helper, uid)
    assert said.startswith("access denied by acl file")
    assert br0 in said
    assert not world.ports(br0)


def test_without_an_access_list_everything_is_refused(br0: str, helper: Path, uid: int | None) -> None:
    """A missing access list allows nothing."""
    world.ACCESS_LIST.unlink(missing_ok=True)
    assert refusal(helper, uid).startswith("failed to parse default acl file")
    assert not world.ports(br0)


def test_a_bridge_that_does_not_exist_is_refused(helper: Path, uid: int | None) -> None:
    """That it is allowed does not bring it into being."""
    world.write_access_list("allow br9\n")
    assert refusal(helper, uid, bridge="br9").startswith("failed to get mtu of bridge `br9'")


def test_an_interface_that_is_no_bridge_is_refused(helper: Path, uid: int | None) -> None:
    """That it is allowed does not make it a bridge."""
    world.write_access_list("allow nic0\n")
    world.run("ip", "link", "add", "nic0", "type", "veth", "peer", "name", "nic1")
    try:
        assert refusal(helper, uid, bridge="nic0").startswith("failed to add interface `tap")
    finally:
        world.run("ip", "link", "delete", "nic0")


@pytest.mark.needs_root
def test_a_helper_without_privilege_is_refused_by_the_kernel(br0: str, uid: int | None) -> None:
    """The plain copy says what the original says in this most common of all cases."""
    world.write_access_list("allow br0\n")
    said = refusal(install.ours(install.Privilege.NONE), uid)
    assert said.startswith("failed to create tun device: Operation not permitted")
    assert not world.ports(br0)


@pytest.mark.needs_root
def test_a_sandboxed_qemu_gets_no_port_from_a_setuid_helper(br0: str, helper: Path, uid: int | None) -> None:
    """`-sandbox on` sets no_new_privs, under which no setuid helper can work; this one says so."""
    world.write_access_list("allow br0\n")
    said = refusal(helper, uid, "-sandbox", "on")
    assert said.startswith("failed to create tun device: Operation not permitted")
    assert "no_new_privs" in said
    assert not world.ports(br0)
