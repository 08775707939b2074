# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ways in which a helper gets at a port, and what the demo shows of each."""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from qbhelper.lease import parse_alias
from tests.demo.ledger import Ledger
from tests.support import broker, caller, install, rootless, world
from tests.support.caller import PLAIN_UID
from tests.support.guest import Guest, Nic
from tests.support.screen import Screen

CAP_NET_ADMIN = 1 << 12
CAROL = Nic("52:54:00:00:00:03", "10.0.0.3/24")


class Way:
    """What is the same in both: who runs QEMU, and that QEMU gains nothing by it."""

    heading: str
    """Of the step in which it is opened."""
    disturbance = ""
    """Heading of the step in which the guests must go on talking; none if there is no such step."""
    built = "br0 and the wire"
    """What is taken down after the guests."""
    helper: Path
    sandbox: Sequence[str] = ()
    """QEMU's words for it."""
    wrapper: Sequence[str] = ()
    """What QEMU is started by."""

    def __init__(self, screen: Screen, ledger: Ledger) -> None:
        self.screen = screen
        self.ledger = ledger
        self.is_root = world.is_real_root()
        self.uid = PLAIN_UID if self.is_root else None

    @property
    def qemu(self) -> str:
        """How a command that starts QEMU begins."""
        return " ".join(["qemu-system-x86_64", *self.sandbox, "…"])

    @property
    def who(self) -> str:
        """Who starts QEMU."""
        if self.is_root:
            return f"uid {self.uid}, without any privilege"
        return "this namespace's root" + (", without any capability" if self.wrapper else "")

    def guest(
        self,
        name: str,
        nic: Nic,
        model: str = "virtio-net-pci",
        *,
        bridge: str = "br0",
        helper: Path | None = None,
    ) -> Guest:
        """Start a guest in this way."""
        words = [*self.sandbox, *nic.bridge_words(helper or self.helper, model, bridge)]
        return Guest(name, [nic], words, uid=self.uid, wrapper=self.wrapper)

    def open(self, built: ExitStack) -> None:
        """Make ready what guests need to get a port, and show it."""

    def check(self, machine: Guest) -> None:
        """See that QEMU is what it should be; raises AssertionError."""
        if self.is_root:
            uids, capabilities = machine.status("Uid"), machine.status("CapEff")[0]
            assert set(uids) == {str(PLAIN_UID)}, f"QEMU runs with the uids {uids}"
            assert int(capabilities, 16) == 0, f"QEMU has the capabilities {capabilities}"

    def compare(self) -> None:
        """Show what QEMU's own helper does here."""

    def look_at(self, taps: Sequence[str]) -> None:
        """Show what is to be seen of the way at the ports."""

    def disturb(self, talk: Callable[[], None]) -> None:
        """Do to it what the guests must not notice: they go on when `talk` is called."""


class Setuid(Way):
    """The helper alone: it is setuid root, or run by the root of a user namespace."""

    heading = "One line of policy"

    def __init__(self, screen: Screen, ledger: Ledger) -> None:
        super().__init__(screen, ledger)
        self.helper = install.ours(install.Privilege.SETUID if self.is_root else install.Privilege.NONE)
        ledger.leave_out("broker", "helper", "sandbox", "original", "lease", "killed")

    def open(self, built: ExitStack) -> None:
        """Nothing runs: it is all in the mode of a file."""
        del built
        if self.is_root:
            self.screen.command(f"chmod u+s {self.helper.name}      # root's, in a directory of root's")
            show_mode(self.screen, self.helper)
        else:
            self.screen.quote("without root there is no setuid and no other uid: all runs as this namespace's root")


class Brokered(Way):
    """The helper asks a broker, and has no privilege; QEMU is in its sandbox."""

    heading = "One line of policy, and a broker"
    disturbance = "The broker is killed, and they talk on"
    built = "br0, the wire and the broker"
    sandbox = ("-sandbox", "on")

    running: broker.Broker

    def __init__(self, screen: Screen, ledger: Ledger) -> None:
        super().__init__(screen, ledger)
        self.helper = broker.helper()
        if not self.is_root:
            self.wrapper = rootless.NO_CAPABILITIES
        self.original = install.original() if self.is_root else None
        if not self.original:
            ledger.leave_out("original")

    def open(self, built: ExitStack) -> None:
        """Start the broker; look at it and at the helper."""
        with self.ledger.claim("broker"):
            if self.is_root:
                self.screen.command("qbhelperd &      # as root")
                self.running = built.enter_context(broker.by_hand())
            else:
                self.screen.command("qbhelperd        # started by its socket, as systemd does it")
                self.running = built.enter_context(broker.activated())
            self.screen.quote(self.running.log())
            self.show_broker()
        if not self.is_root:
            self.screen.quote("without root there is but one uid: QEMU has it too, but no capability")
        with self.ledger.claim("helper"):
            show_mode(self.screen, self.helper)
            self.screen.command(f"getcap …/{self.helper.name}")
            said = world.run("getcap", str(self.helper))
            self.screen.line(said or "(nothing: a program like any other)", "quiet")
            assert not said, "the helper has a file capability"
            assert self.helper.stat().st_mode & 0o6000 == 0, "the helper is setuid or setgid"

    def show_broker(self) -> None:
        """What the kernel says of the process that serves."""
        status = broker.status_of(self.running.worker)
        uid, capabilities = status["Uid"].split()[0], int(status["CapPrm"], 16)
        assert capabilities == CAP_NET_ADMIN, f"the broker has the capabilities {capabilities:#x}"
        assert status["NoNewPrivs"] == "1", "no_new_privs is not set"
        assert not self.is_root or uid != "0", "the broker serves as root"
        self.screen.line(f"process {self.running.worker} serves: uid {uid}, CAP_NET_ADMIN, no_new_privs")

    def check(self, machine: Guest) -> None:
        """See that QEMU is in its sandbox, and can't get out by a setuid program."""
        super().check(machine)
        with self.ledger.claim("sandbox"):
            status = broker.status_of(machine.pid)
            assert status["NoNewPrivs"] == "1", "QEMU runs without no_new_privs"
            ours = broker.status_of(os.getpid())
            assert int(status["Seccomp_filters"]) > int(ours["Seccomp_filters"]), "QEMU runs without a filter"
            assert int(status["CapEff"], 16) == 0, "QEMU has a capability"
            self.screen.line("         no_new_privs, seccomp filter, capabilities: none", "quiet")

    def compare(self) -> None:
        """QEMU's own helper, setuid root, in the same sandbox."""
        if not self.original:
            return
        with self.ledger.claim("original"):
            helper = install.theirs(install.Privilege.SETUID)
            self.screen.line("QEMU's own helper, setuid root, from the same sandbox:")
            show_mode(self.screen, helper)
            self.screen.command(f"{self.qemu} helper=…/{helper.name}")
            with self.guest("carol", CAROL, helper=helper) as carol:
                said = carol.wait_until_refused()
            self.screen.quote(shortened(said, helper, CAROL))
            assert said.startswith("failed to create tun device: Operation not permitted"), "it failed otherwise"

    def look_at(self, taps: Sequence[str]) -> None:
        """The lease of each port."""
        with self.ledger.claim("lease"):
            self.screen.command("cat /sys/class/net/tap*/ifalias")
            for tap in taps:
                alias = Path("/sys/class/net", tap, "ifalias").read_bytes().rstrip(b"\n")
                self.screen.line(alias.decode())
                lease = parse_alias(alias)
                assert lease is not None, f"{tap} has no lease"
                assert lease.uid == (self.uid or 0), f"the lease of {tap} is of uid {lease.uid}"

    def disturb(self, talk: Callable[[], None]) -> None:
        """Kill the broker."""
        with self.ledger.claim("killed"):
            self.screen.command(f"kill -9 {self.running.worker}")
            self.running.kill_worker()
            talk()
            self.running.await_worker()
            self.show_broker()
            with caller.call(self.helper, uid=self.uid) as outcome:
                assert outcome.granted, outcome.stderr
                self.screen.line(f"asked for a port, it gives {outcome.tap().name}")


def show_mode(screen: Screen, helper: Path) -> None:
    """Show the mode of a helper's file."""
    screen.command(f"ls -l …/{helper.name}")
    screen.line(world.run("ls", "-l", str(helper)).strip().replace(str(helper.parent), "…"))


def shortened(said: str, helper: Path, nic: Nic) -> str:
    """What a refused QEMU and its helper said, without what is of no interest."""
    return said.replace(f",helper={helper}", "").replace(nic.identity, "…")
