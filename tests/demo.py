# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo: two QEMU guests, started by a user without privilege, become machines on one bridge.

`./dev demo` runs it in a private world, where our own network namespace plays the host and a
second one plays a PC that hangs on the wire.  It ends with one line per claim; the exit status
is 0 if all of them hold.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support import guest, images, install, processes, wire, world
from tests.support.caller import PLAIN_UID
from tests.support.guest import Guest, GuestFailed, Nic
from tests.support.screen import Port, Screen

HOST = "10.0.0.254"
ALICE = Nic("52:54:00:00:00:01", "10.0.0.1/24")
BOB = Nic("52:54:00:00:00:02", "10.0.0.2/24")
CARDS = {"alice": (ALICE, "virtio-net-pci"), "bob": (BOB, "e1000")}
MEBIBYTES = 16

CLAIMS = {
    "bridge": "br0 is up, with the wire in it",
    "refused": "a bridge that is not in the access list is refused, with the reason",
    "alice": "alice (virtio-net) got her port from qbhelper",
    "bob": "bob (e1000) got his port from qbhelper",
    "shape": "each port is up, with br0's MTU and a MAC that begins with fe:",
    "guests": "the guests ping each other",
    "host": "the guests ping the host",
    "wire": "the guests ping the PC on the wire",
    "transfer": f"{MEBIBYTES} MiB arrive intact from alice at bob",
    "gone": "the ports are gone when the guests have ended",
    "nothing": "nothing is left: no interface, no process",
}
FAILURES = (GuestFailed, AssertionError, RuntimeError, OSError, subprocess.SubprocessError)


class Demo:
    """The six steps, and what has come of each claim."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.holds: dict[str, bool] = {}
        self.is_root = world.is_real_root()
        self.uid = PLAIN_UID if self.is_root else None
        self.guests: dict[str, Guest] = {}
        self.helper = install.ours(install.Privilege.SETUID if self.is_root else install.Privilege.NONE)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """A block without which a claim can't hold: if it fails, it is shown why."""
        try:
            yield
        except BrokenPipeError:
            raise
        except FAILURES as failure:
            self.holds[name] = False
            self.screen.live_ends()
            self.screen.verdict(CLAIMS[name], holds=False)
            self.screen.trouble(str(failure) or type(failure).__name__)

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """A block that shows that a claim holds, if it ends well."""
        with self.attempt(name):
            yield
            self.holds[name] = True

    def run(self) -> None:
        """All six steps; what was built is taken down again, whatever happens."""
        before = world.interfaces()
        with self.claim("nothing"):
            with ExitStack() as built:
                self.build_the_network(built)
                self.write_the_policy()
                if self.start_the_guests(built):
                    self.look_at_the_bridge()
                    self.talk()
                self.end_the_guests()
            left = (world.interfaces() - before) | {f"process {pid}" for pid in processes.running(guest.QEMU)}
            assert not left, f"left behind: {', '.join(sorted(left))}"
            self.screen.line("br0 and the wire are taken down; nothing is left")

    def build_the_network(self, built: ExitStack) -> None:
        """A bridge with an address, and a cable in it."""
        self.screen.heading("1  A bridge, and a wire to the world outside")
        with self.claim("bridge"):
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

    def write_the_policy(self) -> None:
        """The access list allows br0, and only br0."""
        self.screen.heading("2  One line of policy")
        self.screen.command("echo 'allow br0' >/etc/qemu/bridge.conf")
        world.write_access_list("allow br0\n")
        if self.is_root:
            self.screen.command(f"chmod u+s {self.helper.name}      # root's, in a directory of root's")
        else:
            self.screen.quote("without root there is no setuid and no other uid: all runs as this namespace's root")
        with self.claim("refused"), world.bridge("br1"):
            self.screen.command(f"qemu-system-x86_64 … -netdev bridge,br=br1,helper=…/{self.helper.name}")
            words = ALICE.bridge_words(self.helper, bridge="br1")
            with Guest("carol", [ALICE], words, uid=self.uid) as carol:
                said = carol.wait_until_refused()
            self.screen.quote(said.replace(f",helper={self.helper}", "").replace(ALICE.identity, "…"))
            assert said.startswith("access denied by acl file"), "that is not what QEMU's own helper says"
            assert not world.ports("br1"), "a port is left on br1"

    def start_the_guests(self, built: ExitStack) -> bool:
        """Boot both at once, and show how far they are; whether both are there."""
        who = f"uid {self.uid}, without any privilege" if self.is_root else "the root of this user namespace"
        self.screen.heading(f"3  Two guests, started by {who}")
        for name, (nic, model) in CARDS.items():
            self.screen.command(f"qemu-system-x86_64 … -netdev bridge,br=br0,helper=…/{self.helper.name} \\")
            self.screen.line(f"      -device {model},mac={nic.mac}   # {name}", "quiet")
            with self.attempt(name):
                machine = Guest(name, [nic], nic.bridge_words(self.helper, model), uid=self.uid)
                self.guests[name] = built.enter_context(machine)
        waiting = dict(self.guests)
        while waiting:
            for name, machine in list(waiting.items()):
                with self.attempt(name):
                    if machine.is_ready(within=0.1 / len(waiting)):
                        self.screen.live_ends()
                        self.show_arrival(name)
                        self.holds[name] = True
                    assert machine.age < guest.BOOT_SECONDS, f"{name} did not boot in {guest.BOOT_SECONDS} s"
                if name in self.holds:
                    del waiting[name]
            self.screen.live([self.progress(machine) for machine in waiting.values()])
        return all(self.holds[name] for name in CARDS)

    def progress(self, machine: Guest) -> str:
        """How it stands with a guest that boots."""
        return f"{self.screen.spinner()} {machine.name:6} booting {machine.age:4.1f} s"

    def show_arrival(self, name: str) -> None:
        """Say that a guest is there, and check whose port it has."""
        machine = self.guests[name]
        taps = machine.taps()
        assert len(taps) == 1, f"{name} holds these TAPs: {taps}"
        assert taps <= world.ports("br0"), f"{taps} is no port of br0"
        if self.is_root:
            uids, capabilities = machine.status("Uid"), machine.status("CapEff")[0]
            assert set(uids) == {str(PLAIN_UID)}, f"QEMU runs with the uids {uids}"
            assert int(capabilities, 16) == 0, f"QEMU has the capabilities {capabilities}"
        mark = self.screen.paint("✓", "good")
        self.screen.line(f"{mark} {name:6} has booted in {machine.ready_after:.1f} s, and holds {', '.join(taps)}")

    def look_at_the_bridge(self) -> None:
        """Draw it, from what the kernel says."""
        self.screen.heading("4  What the host sees")
        with self.claim("shape"):
            links = world.links()
            holders = {tap: name for name, machine in self.guests.items() for tap in machine.taps()}
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

    def talk(self) -> None:
        """Pings from each guest to all others, then a transfer."""
        self.screen.heading("5  They talk")
        # Who has which address is asked first: what is shown is the time of a ping alone.
        for name, (other, _) in zip(CARDS, reversed(CARDS.values()), strict=True):
            self.guests[name].run(f"for ip in {other.ip} {HOST} {wire.ADDRESS}; do ping -c 1 -W 5 $ip; done")
        with self.claim("guests"):
            self.ping("alice", "bob", BOB.ip)
            self.ping("bob", "alice", ALICE.ip)
        with self.claim("host"):
            self.ping("alice", "the host", HOST)
            self.ping("bob", "the host", HOST)
        with self.claim("wire"):
            self.ping("alice", "the PC on the wire", wire.ADDRESS)
            self.ping("bob", "the PC on the wire", wire.ADDRESS)
        with self.claim("transfer"):
            self.transfer(self.guests["alice"], self.guests["bob"])

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
        self.screen.heading("6  The end")
        with self.claim("gone"):
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


def what_is_missing() -> str | None:
    """Why the demo can't run here, in one line; None if it can."""
    try:
        world.prepare()
        os.close(os.open("/dev/net/tun", os.O_RDWR))
        guest.image_in_world()
    except (world.NotPrivate, images.NoImage) as error:
        return str(error)
    except OSError as error:
        return f"/dev/net/tun can't be opened ({error.strerror}): use sudo, or chmod 666 /dev/net/tun"
    return None


def main() -> int:
    """Run the demo; exit status 0 if every claim holds."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="Two QEMU guests talk through qbhelper.")
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto", help="default: auto")
    screen = Screen(parser.parse_args().color)
    started = time.monotonic()
    screen.title("qbhelper · two QEMU guests become machines on one bridge")
    missing = what_is_missing()
    if missing:
        screen.trouble(missing)
        return 1
    try:
        demo = Demo(screen)
        demo.run()
    except KeyboardInterrupt:
        screen.live_ends()
        screen.trouble("interrupted; everything is taken down")
        return 130
    except BrokenPipeError:
        # Nobody watches any more.  Python would say so once again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FAILURES as failure:
        screen.trouble(f"the demo could not begin: {failure}")
        return 1
    screen.heading("What was claimed")
    for name, text in CLAIMS.items():
        screen.verdict(text if name in demo.holds else f"not reached: {text}", holds=demo.holds.get(name, False))
    good = sum(demo.holds.get(name, False) for name in CLAIMS)
    screen.line()
    screen.line(f"{good} of {len(CLAIMS)} claims hold, after {time.monotonic() - started:.0f} s", "strong")
    return 0 if good == len(CLAIMS) else 1


if __name__ == "__main__":
    sys.exit(main())
