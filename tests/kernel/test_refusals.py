# SPDX-License-Identifier: GPL-2.0-or-later
"""Every failure of contract 1.2 that can be had without tampering: its words, and nothing left."""

import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.ways import Way, granted, refused
from tests.support import world

TUN = Path("/dev/net/tun")


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("--br=br0 --fd=FD --help", "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`--help' is not known"),
        ("--br=br0 --fd=FD extra", "Usage: "),
        ("--br=br0 --fd=FD --use-vnet=1", "Usage: "),
        ("--br br0 --fd=FD", "Usage: "),
        ("--fd=FD", "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`--br=' is missing)"),
        ("--br=br0", "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`--fd=' is missing)"),
        ("--br=br0 --fd=", "Usage: "),
        ("--br=br0 --fd=-1", "Usage: "),
        ("--br=br0 --fd=FDx", "Usage: "),
        ("--br=br0 --fd=2147483648", "Usage: "),
        ("--br=br0 --fd=4294967299", "Usage: "),
        ("--br= --fd=FD", "Usage: "),
        ("--br=br0:1 --fd=FD", "Usage: "),
        ("--br=../br0 --fd=FD", "Usage: "),
        ("--br=br%d --fd=FD", "Usage: "),
        (f"--br={'x' * 16} --fd=FD", f"name `{'x' * 16}' too long: 16; "),
        (f"--br={'x' * 17} --fd=FD", f"name `{'x' * 17}' too long: 17; "),
        (f"--br={'x' * 4096} --fd=FD", f"name `{'x' * 80}"),
    ],
    ids=lambda words: words[:30],
)
def test_wrong_words_are_refused(way: Way, br0: str, words: str, start: str) -> None:
    """What is no request gets the usage and the reason, also where everything would be allowed."""
    world.write_access_list("allow all\n")
    with way.call(argv=lambda fd: words.replace("FD", str(fd)).split()) as outcome:
        refused(outcome, start)


@pytest.mark.parametrize("name", [b"\x1b[2Jbr0", b"br0\n", b"\xc2\x9b31m", b"\x07" * 40, b"\xff\xfe"], ids=ascii)
def test_no_name_can_drive_a_terminal(way: Way, br0: str, name: bytes) -> None:
    """A name with control characters, also the eight-bit ones, is shown escaped or replaced."""
    with way.call(bridge=name) as outcome:
        refused(outcome)


@pytest.mark.parametrize("word", [b"\x1b[2J", b"\xc2\x9b31m", b"two\nlines"], ids=ascii)
def test_no_word_can_drive_a_terminal(way: Way, br0: str, word: bytes) -> None:
    """The same for a word that is not known."""
    with way.call(argv=lambda fd: [word, f"--fd={fd}", "--br=br0"]) as outcome:
        refused(outcome, "Usage: ")


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (None, 0, "No such file or directory; "),
        ("allow br0\noops\n", 0o644, "/etc/qemu/bridge.conf:2: Invalid config line: `oops'; "),
        (
            "allow br0\nallow 0123456789abcdef\n",
            0o644,
            "/etc/qemu/bridge.conf:2: name `0123456789abcdef' too long: 16; ",
        ),
        ("allow br0\npermit br1\n", 0o644, "/etc/qemu/bridge.conf:2: Unknown command `permit'; "),
        ("allow br0\ninclude .\n", 0o644, "/etc/qemu/bridge.conf:2: include `/etc/qemu/.': not a regular file; "),
        ("allow br0\n#" + "x" * 4095, 0o644, "/etc/qemu/bridge.conf:2: line too long: "),
    ],
    ids=["missing", "syntax", "long name", "unknown", "bad include", "long line"],
)
def test_an_access_list_that_cannot_be_read_completely_refuses(
    way: Way, br0: str, text: str | None, mode: int, why: str
) -> None:
    """The original's words, then the file, the line and the reason that the original keeps to itself."""
    if text is None:
        world.ACCESS_LIST.unlink()
    else:
        world.write_access_list(text, mode=mode)
    with way.call() as outcome:
        refused(outcome, f"failed to parse default acl file `/etc/qemu/bridge.conf': {why}")


def test_an_access_list_that_is_not_for_the_caller_refuses(lent: Way, br0: str) -> None:
    """The list is read with the caller's rights: root's mode 0600 shuts everybody out."""
    world.write_access_list("allow br0\n", mode=0o600)
    with lent.call() as outcome:
        refused(outcome, "failed to parse default acl file `/etc/qemu/bridge.conf': Permission denied; ")


@pytest.mark.parametrize("text", ["", "allow br1\n", "allow all\ndeny br0\n", "deny all\nallow br0\n"])
def test_a_bridge_that_is_not_allowed_is_denied(way: Way, br0: str, text: str) -> None:
    """Default deny, and a deny wins wherever it stands; the message begins with the original's words."""
    world.write_access_list(text)
    with way.call() as outcome:
        refused(outcome, "access denied by acl file: ")


def test_a_caller_without_a_rule_learns_nothing_of_the_host(way: Way, br0: str) -> None:
    """CVE-2022-47952: a bridge that is there and one that is not are refused in the same words."""
    world.write_access_list("allow other\n")
    with way.call(bridge="br0") as there, way.call(bridge="br9") as not_there:
        assert refused(there).replace("br0", "br9") == refused(not_there)


@pytest.mark.parametrize("name", ["br0:1", "br-alt"])
def test_another_name_of_a_bridge_does_not_get_round_a_deny(way: Way, br0: str, name: str) -> None:
    """An alias suffix is no name, and an altname is judged by the name that the rule is written for."""
    world.run("ip", "link", "property", "add", "dev", br0, "altname", "br-alt")
    world.write_access_list("allow all\ndeny br0\n")
    with way.call(bridge=name) as outcome:
        refused(outcome)


def test_an_altname_is_granted_by_the_rule_for_the_bridge(way: Way, br0: str) -> None:
    """An altname is a name of the same bridge, so the rule for the bridge serves it too."""
    world.run("ip", "link", "property", "add", "dev", br0, "altname", "br-alt")
    with way.call(bridge="br-alt") as outcome:
        assert world.ports(br0) == {granted(outcome)}


@pytest.fixture
def tun_replaced() -> Iterator[None]:
    """For the time of a test another file may stand at /dev/net/tun."""
    aside = TUN.with_name("tun.aside")
    TUN.rename(aside)
    yield
    TUN.unlink(missing_ok=True)
    aside.rename(TUN)


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("node", "why"),
    [
        (None, "No such file or directory; as root: modprobe tun; "),
        ((10, 254), "No such device; as root: modprobe tun; "),
        ((1, 3), ""),
    ],
    ids=["missing", "no driver", "another device"],
)
@pytest.mark.usefixtures("br0", "tun_replaced")
def test_without_the_tun_device_the_message_says_which_it_is(way: Way, node: tuple[int, int] | None, why: str) -> None:
    """A device that is missing, or has no driver, is told with its remedy; another one is no TAP."""
    if node:
        os.mknod(TUN, stat.S_IFCHR | 0o666, os.makedev(*node))
        TUN.chmod(0o666)
    with way.call() as outcome:
        refused(outcome, f"failed to open /dev/net/tun: {why}" if why else "failed to create tun device: ")


def test_a_tun_device_that_only_root_may_open_is_told_so(lent: Way, br0: str) -> None:
    """The device is opened as the caller, so its mode counts, and the message says which it should have."""
    TUN.chmod(0o600)
    try:
        with lent.call() as outcome:
            refused(outcome, "failed to open /dev/net/tun: Permission denied; as root: chmod 0666 /dev/net/tun")
    finally:
        TUN.chmod(0o666)


def test_a_bridge_that_is_not_there_is_named(way: Way) -> None:
    """Allowed, but missing: the original's words for it, and how to list what there is."""
    world.write_access_list("allow br0\n")
    with way.call() as outcome:
        refused(outcome, "failed to get mtu of bridge `br0': No such device; `ip link show type bridge' ")


def test_an_mtu_that_no_tap_can_have_is_refused(way: Way, br0: str) -> None:
    """A bridge can have a larger MTU than a TAP; the helper says which it could not set."""
    world.run("ip", "link", "set", br0, "mtu", "65535")
    with way.call() as outcome:
        line = refused(outcome, "failed to set mtu of device `tap0' to 65535: Invalid argument; ")
    assert line.endswith("; a TAP takes 68 to 65521 bytes: change the MTU of bridge `br0'")


def test_a_network_card_is_no_bridge(way: Way) -> None:
    """Another kind of interface can't take ports: the original's words, and how to list bridges."""
    world.write_access_list("allow nic0\n")
    world.run("ip", "link", "add", "nic0", "type", "veth", "peer", "name", "nic1")
    try:
        with way.call(bridge="nic0") as outcome:
            line = refused(outcome, "failed to add interface `tap0' to bridge `nic0': Operation not supported; ")
        assert "`ip link show type bridge' lists them" in line
    finally:
        world.run("ip", "link", "del", "nic0")


def test_the_loopback_is_no_bridge(way: Way) -> None:
    """It has an MTU that no TAP can have, of which the original speaks; the helper says what is wrong as well."""
    world.write_access_list("allow lo\n")
    with way.call(bridge="lo") as outcome:
        line = refused(outcome, "failed to set mtu of device `tap0' to 65536: Invalid argument; ")
    assert line.endswith("; `lo' is not a Linux bridge; `ip link show type bridge' lists them")


def test_a_tap_is_no_bridge(way: Way, br0: str) -> None:
    """Nor is the port that somebody was granted a moment ago, whose holder keeps it undisturbed."""
    world.write_access_list("allow all\n")
    with way.call() as first:
        tap = granted(first)
        with way.call(bridge=tap) as outcome:
            assert (outcome.status, outcome.data, outcome.fds) == (1, b"", [])
            assert outcome.stderr.startswith(f"failed to add interface `tap1' to bridge `{tap}': ")
        assert world.ports(br0) == {tap}


@pytest.mark.parametrize("words", ["--br=br0", "--br=br0 --nonsense"], ids=["by the core", "by the native part"])
def test_the_socket_is_open_while_the_message_is_unread(way: Way, words: str) -> None:
    """For so long that a thread of libvirt's can read it: what it has when the socket is closed is what a user sees.

    Nobody reads it here, so it is the full time; which is a bound, too.
    """
    world.write_access_list("")
    started = time.monotonic()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen(
                [way.helper, *words.split(), f"--fd={theirs.fileno()}"],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                user=way.uid,
                extra_groups=[],
            )
        ours.settimeout(30)
        assert ours.recv(1) == b""
        assert time.monotonic() - started >= 0.1
    _, said = process.communicate(timeout=30)
    assert said.endswith(b"\n")
    assert process.returncode == 1
