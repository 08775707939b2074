# SPDX-License-Identifier: GPL-2.0-or-later
"""The story that the demo tells, step by step."""

import re
from contextlib import ExitStack
from functools import partial

from tests.demo.ledger import MEBIBYTES, Ledger
from tests.demo.ways import Way, shortened
from tests.support import broker, guest, processes, wire, world
from tests.support.guest import Guest, Nic
from tests.support.screen import Port, Screen

HOST = "10.0.0.254"
ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")
CARDS = {"alice": (ALICE, "virtio-net-pci"), "bob": (BOB, "e1000")}


class Demo:
    """The steps, in the order in which they happen."""

    def __init__(self, screen: Screen, ledger: Ledger, way: Way) -> None:
        self.screen = screen
        self.ledger = ledger
        self.way = way
        self.guests: dict[str, Guest] = {}
        self.step = 0

    def heading(self, text: str) -> None:
        """Begin the next step."""
        self.step += 1
        self.screen.heading(f"{self.step}  {text}")

    def run(self) -> None:
        """All steps; what was built is taken down again, whatever happens."""
        before = world.interfaces()
        with self.ledger.claim("nothing"):
            with ExitStack() as built:
                self.build_the_network(built)
                self.open_the_way(built)
                if self.start_the_guests(built):
                    self.way.compare()
                    self.look_at_the_bridge()
                    self.talk()
                    self.disturb()
                self.end_the_guests()
            left = (world.interfaces() - before) | {f"process {pid}" for pid in processes.running(guest.QEMU)}
            left |= {str(broker.SOCKET)} if broker.SOCKET.exists() else set()
            assert not left, f"left behind: {', '.join(sorted(left))}"
            self.screen.line(f"{self.way.built} are taken down; nothing is left")

    def build_the_network(self, built: ExitStack) -> None:
        """A bridge with an address, and a cable in it."""
        self.heading("A bridge, and a wire to the world outside")
        with self.ledger.claim("bridge"):
            self.screen.command("ip link add br0 type bridge; ip link set br0 up")
            built.enter_context(world.bridge("br0"))
            self.screen.command(f"ip address add {HOST}/24 dev br0")
            world.run("ip", "address", "add", f"{HOST}/24", "dev", "br0")
            self.screen.command("ip link set wire master br0")
            built.enter_context(wire.plugged_into("br0"))
            self.screen.line(f"br0   {HOST}   this host")
            self.screen.line(f"wire  {wire.ADDRESS}     a PC at the other end of the cable")
            assert is_up("br0"), "br0 is not up"
            assert world.ports("br0") == {"wire"}, "the wire is not a port of br0"

    def open_the_way(self, built: ExitStack) -> None:
        """The access list allows br0, and only br0; who asks for another one is refused."""
        self.heading(self.way.heading)
        self.screen.command("echo 'allow br0' >/etc/qemu/bridge.conf")
        world.write_access_list("allow br0\n")
        self.way.open(built)
        with self.ledger.claim("refused"), world.bridge("br1"):
            self.screen.command(f"{self.way.qemu} -netdev bridge,br=br1,helper=…/{self.way.helper.name}")
            with self.way.guest("carol", ALICE, bridge="br1") as carol:
                said = carol.wait_until_refused()
            self.screen.quote(shortened(said, self.way.helper, ALICE))
            assert said.startswith("access denied by acl file"), "that is not what QEMU's own helper says"
            assert not world.ports("br1"), "a port is left on br1"

    def start_the_guests(self, built: ExitStack) -> bool:
        """Boot both at once, and show how far they are; whether both are there."""
        self.heading(f"Two guests, started by {self.way.who}")
        for name, (nic, model) in CARDS.items():
            self.screen.command(f"{self.way.qemu} -netdev bridge,br=br0,helper=…/{self.way.helper.name} \\")
            self.screen.line(f"      -device {model},mac={nic.mac}   # {name}", "quiet")
            with self.ledger.attempt(name):
                self.guests[name] = built.enter_context(self.way.guest(name, nic, model))
        waiting = dict(self.guests)
        while waiting:
            for name, machine in list(waiting.items()):
                with self.ledger.attempt(name):
                    if machine.is_ready(within=0.1 / len(waiting)):
                        self.screen.live_ends()
                        with self.ledger.claim(name):
                            self.show_arrival(name)
                    assert machine.age < guest.BOOT_SECONDS, f"{name} did not boot in {guest.BOOT_SECONDS} s"
                if self.ledger.is_known(name):
                    del waiting[name]
            self.screen.live([self.progress(machine) for machine in waiting.values()])
        return all(self.ledger.holds(name) for name in CARDS)

    def progress(self, machine: Guest) -> str:
        """How it stands with a guest that boots."""
        return f"{self.screen.spinner()} {machine.name:6} booting {machine.age:4.1f} s"

    def show_arrival(self, name: str) -> None:
        """Say that a guest is there, and check whose port it has."""
        machine = self.guests[name]
        taps = machine.taps()
        assert len(taps) == 1, f"{name} holds these TAPs: {taps}"
        assert taps <= world.ports("br0"), f"{taps} is no port of br0"
        mark = self.screen.paint("✓", "good")
        self.screen.line(f"{mark} {name:6} has booted in {machine.ready_after:.1f} s, and holds {', '.join(taps)}")
        self.way.check(machine)

    def look_at_the_bridge(self) -> None:
        """Draw it, from what the kernel says."""
        self.heading("What the host sees")
        holders = {tap: name for name, machine in self.guests.items() for tap in machine.taps()}
        with self.ledger.claim("shape"):
            links = world.links()
            machines = {"wire": ["a PC", wire.ADDRESS, "on the wire"]}
            machines |= {tap: [name, CARDS[name][0].ip, CARDS[name][1]] for tap, name in holders.items()}
            ports = [Port(name, str(links[name]["address"]), is_up(name), what) for name, what in machines.items()]
            state = "up" if is_up("br0") else "down"
            self.screen.draw_bridge(f"br0 · {state} · {HOST} · mtu {links['br0']['mtu']} · the host", ports)
            self.screen.command("ip -br link show master br0")
            for line in world.run("ip", "-br", "link", "show", "master", "br0").splitlines():
                self.screen.line(" ".join(f"{word:8}" for word in line.split()))
            for tap in holders:
                assert is_up(tap), f"{tap} is not up"
                assert links[tap]["mtu"] == links["br0"]["mtu"], f"{tap} has MTU {links[tap]['mtu']}"
                assert str(links[tap]["address"]).startswith("fe:"), f"{tap} has MAC {links[tap]['address']}"
        self.way.look_at(sorted(holders))

    def talk(self) -> None:
        """Pings from each guest to all others, then a transfer."""
        self.heading("They talk")
        # Who has which address is asked first: what is shown is the time of a ping alone.
        for name, (other, _) in zip(CARDS, reversed(CARDS.values()), strict=True):
            self.guests[name].run(f"for ip in {other.ip} {HOST} {wire.ADDRESS}; do ping -c 1 -W 5 $ip; done")
        with self.ledger.claim("guests"):
            self.ping("alice", "bob", BOB.ip)
            self.ping("bob", "alice", ALICE.ip)
        with self.ledger.claim("host"):
            self.ping("alice", "the host", HOST)
            self.ping("bob", "the host", HOST)
        with self.ledger.claim("wire"):
            self.ping("alice", "the PC on the wire", wire.ADDRESS)
            self.ping("bob", "the PC on the wire", wire.ADDRESS)
        with self.ledger.claim("transfer"):
            self.transfer(self.guests["alice"], self.guests["bob"])

    def disturb(self) -> None:
        """What may happen to the way while the guests run."""
        if self.way.disturbance:
            self.heading(self.way.disturbance)
            self.way.disturb(partial(self.ping, "alice", "bob", BOB.ip))

    def ping(self, name: str, whom: str, address: str) -> None:
        """Three pings and their times."""
        output = self.guests[name].check(f"ping -c 3 -i 0.1 -W 5 {address}")
        times = re.findall(r"time=([\d.]+) ms", output)
        assert len(times) == 3, output
        shown = "  ".join(f"{float(time):5.1f}" for time in times)
        self.screen.line(f"{name:5} → {whom:19} {address:12} {shown} ms")

    def transfer(self, sender: Guest, receiver: Guest) -> None:
        """A file over TCP, compared by its checksum."""
        self.screen.live([f"{self.screen.spinner()} alice makes {MEBIBYTES} MiB of noise"])
        sender.check(f"mkdir /tmp/www; dd if=/dev/urandom of=/tmp/www/noise bs=1M count={MEBIBYTES} 2>/dev/null")
        sender.check("httpd -h /tmp/www")
        sent = sender.check("sha256sum /tmp/www/noise").split()[0]
        fetched = receiver.run(f"wget -q -O /tmp/noise http://{ALICE.ip}/noise")
        assert fetched.status == 0, fetched.output
        received = receiver.check("sha256sum /tmp/noise").split()[0]
        self.screen.live_ends()
        rate = MEBIBYTES * 8 * 1.048576 / fetched.seconds
        self.screen.line(f"alice → bob   {MEBIBYTES} MiB over TCP in {fetched.seconds:.1f} s, {rate:.0f} Mbit/s")
        self.screen.line(f"              sha256 sent {sent[:16]}, received {received[:16]}", "quiet")
        assert sent == received, "the checksums differ"

    def end_the_guests(self) -> None:
        """End them; their ports go with them."""
        self.heading("The end")
        with self.ledger.claim("gone"):
            held = {tap for machine in self.guests.values() for tap in machine.taps()}
            assert held, "there were no ports"
            for machine in self.guests.values():
                machine.end()
            left = held & world.interfaces()
            assert not left, f"still there: {', '.join(sorted(left))}"
            self.screen.line(f"alice and bob have ended, and {' and '.join(sorted(held))} with them")


def is_up(name: str) -> bool:
    """Whether an interface is up and has a carrier."""
    flags = world.links()[name]["flags"]
    return isinstance(flags, list) and {"UP", "LOWER_UP"} <= set(flags)
