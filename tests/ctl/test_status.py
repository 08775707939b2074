# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl status`: the bridges of a real kernel, ports that a broker has granted, and what is not ours."""

import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from qbhelper.ctl import drawing
from qbhelper.ctl.holders import holders, machine_of
from tests.ctl import host
from tests.ctl.host import POLICY, ctl, write
from tests.ctl.test_show import on_a_terminal, without_colour
from tests.support import broker, frames, full_kernel, world

ALICE, BOB, NOBODY_KNOWS = 1000, 1001, 4711
RULES = """\
[[allow]]
bridge = "br0"
users = "alice"
queues = 4
isolated = true
max_ports = 3

[[allow]]
bridge = "*"
learning = false
[end]
"""
SETTINGS = """\
[[allow]]
bridge = "br0"
users = "alice"
vlan = 20
trunk = [30]
macs = ["52:54:00:12:34:50"]
unicast_flood = false
rate_to_guest = "100mbit"
rate_from_guest = "12.5mbit"

[[allow]]
bridge = "br0"
[end]
"""
ALIAS = "qbhelper lease=0123456789abcdef uid=1001 pid=7 since=1790000000"
VNET_HEADER = bytes(10)
TUNSETCARRIER = 0x400454E2
QEMU = "qemu-system-x86_64"


@pytest.fixture
def a_broker(a_host: None) -> Iterator[None]:
    """A broker that grants by RULES."""
    write(POLICY, RULES)
    with broker.by_hand():
        yield


def status(user: str = "root") -> dict[str, Any]:
    """All that is told to a program which this user runs."""
    said = ctl("status", "--json", user=user)
    assert (said.status, said.err) == (0, "")
    answer: dict[str, Any] = json.loads(said.out)
    return answer


def drawn(user: str = "root") -> str:
    """What is drawn for this user, in ASCII."""
    said = ctl("status", user=user, variables={"LC_ALL": "C"})
    assert (said.status, said.err) == (0, "")
    return said.out


def ports(answer: dict[str, Any], bridge: str = "br0") -> dict[str, dict[str, Any]]:
    """The ports of a bridge, by name."""
    [found] = [each for each in answer["bridges"] if each["name"] == bridge]
    return {port["name"]: port for port in found["ports"]}


def await_hand_over(*given: broker.Answer) -> None:
    """Wait until nobody but us has these ports: the broker closes its fds after it has sent them."""
    deadline = time.monotonic() + broker.PATIENCE
    names = {port.name.encode() for port in given}
    while {holder.pid for name in names for holder in holders().get(name, [])} != {os.getpid()}:
        assert time.monotonic() < deadline, "the broker keeps what it has given away"


@contextmanager
def tap(name: str, *words: str) -> Iterator[None]:
    """A TAP that nobody has open, with these words for `ip link set`."""
    world.run("ip", "tuntap", "add", name, "mode", "tap")
    try:
        if words:
            world.run("ip", "link", "set", name, *words)
        yield
    finally:
        world.run("ip", "link", "del", name)


@contextmanager
def qemu(*words: str, fd: int, user: int) -> Iterator[int]:
    """A QEMU that was handed a TAP, as a user: its pid."""
    netdev = f"tap,id=n,fd={fd}"
    argv = [QEMU, "-machine", "none", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio", "-netdev", netdev]
    child = subprocess.Popen(
        [*argv, *words],
        user=user,
        group=user,
        extra_groups=[],
        pass_fds=[fd],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=world.die_with_parent,
    )
    with child:
        try:
            assert child.stdout is not None
            assert b"QMP" in child.stdout.readline()  # it has read its words
            yield child.pid
        finally:
            child.kill()


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_broker")
class TestOfOurs:
    """Ports that were granted."""

    def test_a_port_is_told_with_its_lease(self) -> None:
        """Whose it is, by number where there is no account; since when, by which line, and what it may do."""
        before = int(time.time())
        with broker.ask(uid=ALICE, queues=2) as mine, broker.ask(uid=NOBODY_KNOWS) as other:
            found = ports(status())
        first, second = found[mine.name], found[other.name]
        assert (first["what"], first["kind"], first["up"], first["open"]) == ("lease", "tun", True, True)
        assert (first["user"], second["user"]) == ({"uid": ALICE, "name": "alice"}, {"uid": NOBODY_KNOWS, "name": None})
        assert (first["queues"], second["queues"]) == (2, 1)
        assert (first["isolated"], second["isolated"]) == (True, False)
        assert (first["learning"], second["learning"]) == (True, False)
        lease = first["lease"]
        assert re.fullmatch("[0-9a-f]{16}", lease["id"])
        assert before <= lease["since"] <= time.time()
        assert lease["asked_by"] == os.getpid()
        assert re.fullmatch("[0-9a-f]{8}", lease["rule"])
        assert (lease["file"], lease["line"]) == (str(POLICY), 1)
        assert second["lease"]["line"] == 8

    def test_the_tree_is_drawn_for_people(self) -> None:
        """All of it in 80 columns; what differs from run to run is taken out here."""
        world.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        try:
            world.run("ip", "link", "set", "veth0", "master", "br0")
            with (
                broker.ask(uid=ALICE, queues=2) as first,
                broker.ask(uid=NOBODY_KNOWS) as second,
                tap("tap9", "alias", ALIAS),
            ):
                await_hand_over(first, second)
                out = drawn()
        finally:
            world.run("ip", "link", "del", "veth0")
        assert max(map(len, out.splitlines())) <= 80
        out = out.replace(f"(pid {os.getpid()})", "(pid 1)")
        out = re.sub(r"(guest sent|got|in|out) [\d.]+ k?B", r"\1 0 B", out)
        out = re.sub(r"lease [0-9a-f]{16}", "lease X", out)
        out = re.sub(r"since \d{4}-\d\d-\d\d \d\d:\d\d", "since then", out)
        out = re.sub(r"python[\d.]+", "python", out)
        assert out.splitlines() == [
            "br0  up, mtu 1500, 3 ports",
            "|- veth0  not of qbhelper",
            "|    down, in 0 B, out 0 B",
            "|- tap0  alice, lease X",
            "|    python (pid 1), 2 queues, isolated",
            f"|    since then by {POLICY}:1",
            "|    guest sent 0 B, got 0 B",
            "`- tap1  uid 4711, lease X",
            "     python (pid 1), no learning",
            f"     since then by {POLICY}:8",
            "     guest sent 0 B, got 0 B",
            "on no bridge",
            "`- tap9  bob, lease X",
            "     no process has it open, down, mtu 1500",
            "     since then",
            "     guest sent 0 B, got 0 B",
        ]

    def test_a_virtual_machine_is_told_to_who_may_look_into_its_process(self) -> None:
        """To root and to who runs it; to others that it can't be told, and never that there is none."""
        with (
            broker.ask(uid=BOB) as port,
            qemu("-name", "guest=web,debug-threads=on", fd=port.fds[0], user=BOB) as pid,
        ):
            name = port.name
            port.close()
            expected = {"pid": pid, "program": QEMU, "machine": "web", "other_network_namespace": False}
            for user in ("root", "bob"):
                assert ports(status(user))[name]["processes"] == [expected]
                out = drawn(user)
                assert f"{name}  bob, VM `web', lease" in out
                assert f"{QEMU} (pid {pid}), no learning" in out
            told = ports(status("alice"))[name]
            assert (told["processes"], told["open"]) == ([], True)
            out = drawn("alice")
            assert "its process can't be told" in out
            assert "web" not in out

    def test_a_port_without_a_carrier_is_open_all_the_same(self) -> None:
        """Who has it open can take the carrier away; but only a persistent TAP is there with nobody at it."""
        with broker.ask(uid=BOB) as port:
            fcntl.ioctl(port.fds[0], TUNSETCARRIER, bytes(4))
            assert "NO-CARRIER" in world.run("ip", "link", "show", port.name)
            told = ports(status("alice"))[port.name]
            assert (told["open"], told["processes"]) == (True, [])
            assert "no process" not in drawn("alice")

    def test_a_process_in_another_network_is_told_as_that(self) -> None:
        """There may be a TAP of the same name there, and /proc does not say which of the two it has."""
        with broker.ask(uid=BOB) as port:
            fd = port.fds[0]
            child = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo; read _"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[fd],
            )
            with child:
                assert child.stdout is not None
                child.stdout.readline()
                name = port.name
                port.close()
                [holder] = ports(status())[name]["processes"]
                assert (holder["pid"], holder["other_network_namespace"]) == (child.pid, True)
                out = drawn()
                assert "network namespace" in out
                child.communicate()

    def test_traffic_is_counted_from_both_ends(self) -> None:
        """What the guest sends is from the port."""
        with broker.ask(uid=BOB) as port:
            before = ports(status())[port.name]
            for _ in range(3):
                os.write(port.fds[0], VNET_HEADER + frames.ethernet(0x88B5, b"hello"))
            after = ports(status())[port.name]
        assert after["from_port"]["packets"] - before["from_port"]["packets"] == 3
        assert after["from_port"]["bytes"] - before["from_port"]["bytes"] == 3 * 60
        assert after["from_port"]["rate"] is None, "a single look knows of no rate"

    def test_a_policy_that_can_not_be_read_hides_no_port(self) -> None:
        """Only the place of the rule is missing."""
        with broker.ask(uid=ALICE) as port:
            POLICY.chmod(0o600)
            told = ports(status("bob"))[port.name]
            assert (told["lease"]["file"], told["lease"]["line"]) == (None, None)
            rule = told["lease"]["rule"]
            assert f" by rule {rule}\n" in drawn("bob")

    def test_colour_is_for_terminals(self) -> None:
        """And the tree is the same without it."""
        with broker.ask(uid=ALICE) as port:
            await_hand_over(port)
            plain = ctl("status").out
            coloured = on_a_terminal("status")
            assert f"\033[32m{port.name}\033[0m" in coloured
            assert without_colour(coloured) == plain


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
class TestOfOthers:
    """What is there besides."""

    def test_without_a_bridge_that_is_said(self) -> None:
        """And is no error."""
        world.run("ip", "link", "del", "br0")
        try:
            assert ctl("status") == host.Said(0, "there is no bridge here\n", "")
            assert status() == {"bridges": [], "elsewhere": []}
        finally:
            world.run("ip", "link", "add", "br0", "type", "bridge")

    def test_a_claim_is_shown_as_one(self) -> None:
        """It may become a port, and its name tells whose."""
        with tap(f"~{ALICE:x}.0"):
            [claim] = status()["elsewhere"]
            assert (claim["name"], claim["what"], claim["lease"]) == ("~3e8.0", "claim", None)
            assert claim["user"] == {"uid": ALICE, "name": "alice"}
            out = drawn()
            assert out.endswith("on no bridge\n`- ~3e8.0  alice: a claim, which becomes a port or ends in a moment\n")

    def test_a_copied_alias_makes_no_lease(self) -> None:
        """Of what is no TAP, or where the alias is not whole."""
        world.run("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        try:
            world.run("ip", "link", "set", "veth0", "master", "br0", "alias", ALIAS)
            with tap("tap9", "master", "br0", "alias", ALIAS + " x=y"):
                found = ports(status())
        finally:
            world.run("ip", "link", "del", "veth0")
        assert [(port["what"], port["lease"], port["user"]) for port in found.values()] == [("other", None, None)] * 2
        assert (found["tap9"]["open"], found["veth0"]["open"]) == (False, None)

    def test_names_drive_no_terminal_and_fit(self) -> None:
        """Whatever an interface is called, on a terminal of any width."""
        name = "\033[31m" + "x" * 10
        with tap(name, "master", "br0", "alias", ALIAS):
            assert r"\x1b[31mxxxxxxxxxx" in drawn()
            assert ports(status())[r"\x1b[31mxxxxxxxxxx"]["what"] == "lease"
            for columns in (40, 60, 80):
                lines = without_colour(on_a_terminal("status", columns=columns)).splitlines()
                assert max(map(len, lines)) <= columns

    def test_lines_are_drawn_where_the_locale_has_them(self) -> None:
        """In a locale of ASCII alone, by what that has."""
        with tap("tap9", "master", "br0"):
            assert "└─ tap9" in ctl("status", variables={"LC_ALL": "C.UTF-8"}).out
            assert "`- tap9" in ctl("status", variables={"LC_ALL": "C"}).out

    @full_kernel.wanted
    def test_vlans_are_told_of_a_bridge_that_has_them(self) -> None:
        """That without a tag, and the others put together where they follow each other."""
        world.run("ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1")
        with tap("tap9", "master", "br0", "alias", ALIAS):
            assert (ports(status())["tap9"]["vlan"], ports(status())["tap9"]["trunk"]) == (1, [])
            world.run("bridge", "vlan", "add", "dev", "tap9", "vid", "20", "pvid", "untagged")
            world.run("bridge", "vlan", "del", "dev", "tap9", "vid", "1")
            world.run("bridge", "vlan", "add", "dev", "tap9", "vid", "30-32")
            world.run("bridge", "vlan", "add", "dev", "tap9", "vid", "40")
            told = ports(status("bob"))["tap9"]
            assert (told["vlan"], told["trunk"]) == (20, [30, 31, 32, 40])
            out = drawn()
        assert "br0  up, mtu 1500, filters VLANs, 1 port\n" in out
        assert "vlan 20, trunk 30-32 40" in out


@full_kernel.wanted
@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
def test_what_a_rule_sets_is_told_as_the_kernel_has_it() -> None:
    """Of the very port, to anybody, whatever the policy says by now; and a plain port beside it has none of it."""
    world.run("ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1")
    write(POLICY, SETTINGS)
    with broker.by_hand(), broker.ask(uid=ALICE) as shaped, broker.ask(uid=BOB) as plain:
        POLICY.unlink()
        found = ports(status("bob"))
        expected = {
            "vlan": 20,
            "trunk": [30],
            "locked": True,
            "unicast_flood": False,
            "rate_to_guest": 100_000_000,
            "rate_from_guest": 12_500_000,
            "frames_filtered": True,
        }
        assert {word: found[shaped.name][word] for word in expected} == expected
        assert [found[plain.name][word] for word in expected] == [1, [], False, True, None, None, False]
        lines = drawn("bob").splitlines()
    told = " ".join(line.strip("| ") for line in lines)
    assert "vlan 20, trunk 30, locked, no unicast_flood, rate_to_guest 100mbit, rate_from_guest 12500kbit" in told
    assert "frames filtered" in told
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("program", "words", "machine"),
    [
        (QEMU, ["-name", "web"], "web"),
        (QEMU, ["-name", "guest=web,debug-threads=on"], "web"),
        (QEMU, ["-name", "web,process=x"], "web"),
        (QEMU, ["-name", "process=x,guest=web"], "web"),
        (QEMU, ["-name", "a,,b"], "a,b"),
        (QEMU, ["-name", "process=x"], None),
        (QEMU, ["-name", "one", "--name", "guest=two"], "two"),
        (QEMU, ["-name", "\033[31m\u00e9"], r"\x1b[31m\xe9"),
        (QEMU, ["-name"], None),
        (QEMU, [], None),
        ("kvm", ["-name", "web"], "web"),
        (f".{QEMU}-wrapped", ["-name", "web"], "web"),
        ("find", ["-name", "web"], None),
    ],
)
def test_the_name_of_a_machine_is_that_which_qemu_takes(program: str, words: list[str], machine: str | None) -> None:
    """By its option -name, made fit for a terminal; other programs mean something else by it."""
    assert machine_of(program, [program.encode(), *(word.encode() for word in words)]) == machine


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2**64 - 1, "18.4 E"),
        (0, "0 "),
        (999, "999 "),
        (1000, "1.00 k"),
        (9994, "9.99 k"),
        (9996, "10.0 k"),
        (999_500, "1.00 M"),
    ],
)
def test_an_amount_has_three_digits(number: int, text: str) -> None:
    """With a prefix for its unit."""
    assert drawing.amount(number) == text


def test_what_is_cut_keeps_both_ends() -> None:
    """Names of machines often differ in their last characters."""
    assert drawing.cut("a-name-of-a-machine-1", 21) == "a-name-of-a-machine-1"
    assert drawing.cut("a-long-name-of-a-machine-1", 21) == "a-long-name-...hine-1"
