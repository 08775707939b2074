# SPDX-License-Identifier: GPL-2.0-or-later
"""What the helper protocol has no words for, with real guests: queues, several cards, TAPs by name, revoking."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbhelper.lease import parse_alias
from tests.support import broker, guest, install, world
from tests.support.caller import PLAIN_UID
from tests.support.guest import Guest, Nic

pytestmark = pytest.mark.needs_root

ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")
ALICE_ELSEWHERE = Nic("52:54:00:00:00:03", "10.0.1.1/24")
STRICT = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
"""Such a QEMU can start no helper at all."""
QUEUES = 4
TICKS = 100
"""Of the CPU, in a second (proc(5))."""


@pytest.fixture(scope="module")
def lan() -> Iterator[None]:
    """Two bridges by a rule that gives queues and persistent TAPs, and a broker."""
    guest.image_in_world()
    with (
        world.rule(f"queues = {QUEUES}", "max_ports = 9", "persistent = true", bridges='["br0", "br1"]'),
        world.bridge("br0"),
        world.bridge("br1"),
        broker.by_hand(),
    ):
        world.run("ip", "address", "add", "10.0.0.254/24", "dev", "br0")
        world.run("ip", "address", "add", "10.0.1.254/24", "dev", "br1")
        yield


def program() -> str:
    """The installed qbhelperctl."""
    return str(install.installed().with_name("qbhelperctl"))


def ctl(*words: str) -> str:
    """What qbhelperctl prints for a plain user; it has to succeed."""
    done = subprocess.run(
        [program(), *words],
        user=PLAIN_UID,
        group=PLAIN_UID,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def queues_in_use(machine: Guest, direction: str) -> set[int]:
    """The queues on which the guest's card has had an interrupt: `input' has received, `output' has sent."""
    found = re.findall(
        rf"^ *\d+:((?: +\d+)+) .*virtio\d-{direction}\.(\d)$", machine.check("cat /proc/interrupts"), re.MULTILINE
    )
    return {int(queue) for counts, queue in found if any(map(int, counts.split()))}


@pytest.mark.usefixtures("lan")
def test_a_qemu_that_can_start_nothing_has_four_queues() -> None:
    """Each of its CPUs sends by another one, and answers come by more than one; with QEMU the port ends."""
    words = [*STRICT, "-smp", str(QUEUES), "-netdev", "tap,id=net,fds={fds}"]
    words += ["-device", f"virtio-net-pci,netdev=net,mq=on,vectors={2 * QUEUES + 2},mac={{mac}}"]
    run = [program(), "run", "--bridge", "br0", "--queues", str(QUEUES), "--mac", ALICE.mac, "--"]
    with Guest("alice", [ALICE], words, wrapper=run) as alice:
        alice.wait_until_ready()
        assert alice.status("NoNewPrivs") == ["1"]
        [tap] = alice.taps()
        assert world.ports("br0") == {tap}
        for cpu in range(QUEUES):
            alice.check(f"taskset {1 << cpu:x} ping -c 3 -i 0.1 -W 10 10.0.0.254")
        assert len(queues_in_use(alice, "output")) == QUEUES
        assert len(queues_in_use(alice, "input")) > 1
    assert not world.ports("br0")


@pytest.mark.usefixtures("lan")
def test_one_command_gets_cards_on_two_bridges() -> None:
    """`{fd}' is of the first --bridge, `{fd.2}' of the second, each with the MAC address that is said for it."""
    words = [*STRICT]
    for number, suffix in (("1", ""), ("2", ".2")):
        words += ["-netdev", f"tap,id=net{number},fd={{fd{suffix}}}"]
        words += ["-device", f"virtio-net-pci,netdev=net{number},mac={{mac{suffix}}}"]
    run = [
        program(),
        "run",
        "--bridge",
        "br0",
        "--mac",
        ALICE.mac,
        "--bridge",
        "br1",
        "--mac",
        ALICE_ELSEWHERE.mac,
        "--",
    ]
    with Guest("alice", [ALICE, ALICE_ELSEWHERE], words, wrapper=run) as alice:
        alice.wait_until_ready()
        assert world.ports("br0") | world.ports("br1") == alice.taps()
        alice.check("ping -c 1 -W 10 10.0.0.254")
        alice.check("ping -c 1 -W 10 10.0.1.254")


@pytest.mark.usefixtures("lan")
def test_the_first_tutorial_works_as_it_is_written() -> None:
    """`-netdev tap,ifname=tap0,script=no,downscript=no': two guests on TAPs made beforehand, which outlive them."""
    names = [ctl("tap", "create", "--bridge", "br0").strip() for _ in range(2)]
    assert names == ["tap0", "tap1"]
    guests = []
    for nic, name, tap in zip((ALICE, BOB), ("alice", "bob"), names, strict=True):
        netdev = f"tap,id={nic.identity},ifname={tap},script=no,downscript=no"
        guests.append(Guest(name, [nic], ["-netdev", netdev, *nic.device_words()]))
    with guests[0] as alice, guests[1] as bob:
        alice.wait_until_ready()
        bob.wait_until_ready()
        assert alice.taps() | bob.taps() == set(names)
        assert "3 packets received" in alice.check(f"ping -c 3 -i 0.1 -W 10 {BOB.ip}")
    assert world.ports("br0") == set(names)
    for tap in names:
        ctl("tap", "delete", tap)
    assert broker.no_tap_is_left()


def cpu_ticks(machine: Guest) -> int:
    """The CPU time of a QEMU so far."""
    fields = Path(f"/proc/{machine.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.usefixtures("lan")
@pytest.mark.parametrize("model", ["virtio-net-pci", "e1000"])
def test_a_guest_whose_port_is_revoked_lives_on_without_a_network(model: str) -> None:
    """Nobody answers it any more, QEMU does not run in circles over the dead fd, and nothing is left when it ends."""
    with Guest("alice", [ALICE], ALICE.bridge_words(broker.helper(), model)) as alice:
        alice.wait_until_ready()
        alice.check("ping -c 1 -W 10 10.0.0.254")
        [tap] = alice.taps()
        lease = parse_alias(Path("/sys/class/net", tap, "ifalias").read_bytes().rstrip(b"\n"))
        assert lease is not None
        assert ctl("revoke", lease.identity).startswith(f"revoked {tap} of {PLAIN_UID} on br0")
        assert not world.is_up(tap)
        assert alice.run("ping -c 1 -W 1 10.0.0.254").status != 0
        before = cpu_ticks(alice)
        alice.check("sleep 1")
        assert cpu_ticks(alice) - before < TICKS / 2
        assert alice.taps() == {tap}
    assert broker.no_tap_is_left()
