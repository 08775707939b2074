# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor` on whole machines: systemd starts the broker, the driver is a module, there is Wi-Fi."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.host import service
from tests.support import world
from tests.support.broker import PATIENCE, SOCKET

BLACKLIST = Path("/etc/modprobe.d/test-doctor.conf")
VIRTUAL = pytest.mark.inside("debian13-vm")


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """Qbhelper is installed on the machine, and everybody may use br0, which is the only bridge."""
    service.install_from_source()
    world.write_access_list("allow br0\n")
    with world.bridge("br0"):
        world.run("ip", "link", "set", "br0", "address", "52:54:00:00:00:01")
        yield
    world.run("systemctl", "stop", service.SOCKET, service.SERVICE)


def findings(station: str, *, user: str = "nobody") -> list[dict[str, str | None]]:
    """What is found at one station, on behalf of a user."""
    program = str(service.HELPER.with_name("qbhelperctl"))
    done = subprocess.run(
        [program, "doctor", "--json", f"--user={user}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""
    return [found for found in json.loads(done.stdout)["findings"] if found["station"] == station]


def one(station: str) -> tuple[str | None, str, str]:
    """State, words and remedy of the only finding at a station."""
    [found] = findings(station)
    return found["state"], found["what"] or "", found["remedy"] or ""


@pytest.mark.inside("debian13", "debian12")
class TestTheBroker:
    """Under systemd."""

    def test_that_nobody_has_asked_yet_answers(self) -> None:
        """The knock starts it."""
        world.run("systemctl", "stop", service.SERVICE)
        assert one("broker")[0] == "ok"
        assert service.pid() != 0

    def test_whose_socket_is_not_there_is_enabled(self) -> None:
        """For the next boot, too."""
        world.run("systemctl", "disable", "--now", service.SOCKET, service.SERVICE)
        SOCKET.unlink()
        state, what, remedy = one("way")
        assert (state, what.partition(",")[0]) == ("problem", "neither way is open: no broker runs")
        assert remedy.startswith("systemctl enable --now qbhelper.socket # or: setcap ")
        world.run("sh", "-c", remedy)
        assert one("way") == ("ok", "the broker makes nobody's ports", "")
        assert world.run("systemctl", "is-enabled", service.SOCKET).strip() == "enabled"

    def test_that_was_stopped_is_started_again(self) -> None:
        """The unit leaves its socket in /run, on which nobody listens."""
        world.run("systemctl", "stop", service.SOCKET, service.SERVICE)
        assert SOCKET.exists()
        state, what, remedy = one("broker")
        assert (state, what) == ("problem", f"{SOCKET} is there, but nobody listens on it")
        world.run("sh", "-c", remedy)
        assert one("broker")[0] == "ok"

    def test_that_is_stuck_is_started_again(self) -> None:
        """Systemd listens for it, so there is a connection, and nobody who takes it."""
        assert one("broker")[0] == "ok"
        before = service.pid()
        os.kill(before, signal.SIGSTOP)
        state, what, remedy = one("broker")
        assert state == "problem"
        assert "it does not answer within" in what
        assert remedy == "systemctl restart qbhelper.socket"
        world.run("sh", "-c", remedy)
        assert one("broker")[0] == "ok"
        assert service.pid() not in (0, before)


@VIRTUAL
class TestTheModule:
    """Where the driver of TAPs is one, and is not loaded."""

    @contextmanager
    def unloaded(self) -> Iterator[None]:
        """The kernel without it, told not to load it by itself."""
        BLACKLIST.write_text("blacklist tun\n")
        world.run("systemctl", "stop", service.SERVICE)
        world.run("rmmod", "tun")
        try:
            yield
        finally:
            BLACKLIST.unlink()
            world.run("modprobe", "tun")
            Path("/dev/net/tun").chmod(0o666)

    def test_is_loaded(self) -> None:
        """With it comes the device."""
        with self.unloaded():
            state, what, remedy = one("device")
            assert (state, remedy) == ("problem", "modprobe tun")
            assert "the kernel's module `tun'" in what
            world.run("sh", "-c", remedy)
            Path("/dev/net/tun").chmod(0o666)  # as udev would, which does not run here
            assert one("device")[0] == "ok"

    def test_that_is_missing_behind_a_device_is_loaded(self) -> None:
        """A node that was made beforehand, as systemd makes it, opens only with it."""
        with self.unloaded():
            world.run("sh", "-c", "rm -f /dev/net/tun; mkdir -p /dev/net; mknod -m 0666 /dev/net/tun c 10 200")
            state, what, remedy = one("device")
            assert (state, remedy) == ("problem", "modprobe tun")
            assert what == "/dev/net/tun is there, but the kernel's module `tun' behind it is not"
            world.run("sh", "-c", remedy)
            assert one("device")[0] == "ok"


@VIRTUAL
class TestWiFi:
    """A NIC that can be no port of a bridge."""

    @pytest.fixture(autouse=True)
    def wlan0(self) -> Iterator[None]:
        """Wi-Fi that is nowhere."""
        world.run("modprobe", "mac80211_hwsim", "radios=1")
        deadline = time.monotonic() + PATIENCE
        while "wlan0" not in world.interfaces():
            assert time.monotonic() < deadline, "no wlan0"
            select.select([], [], [], 0.05)
        yield
        world.run("rmmod", "mac80211_hwsim")

    def test_is_told_where_nothing_else_could_lead_out(self) -> None:
        """And the kernel does not take it for a port."""
        with pytest.raises(RuntimeError, match=r"does not allow|not supported"):
            world.run("ip", "link", "set", "wlan0", "master", "br0")
        state, what, remedy = one("uplink")
        assert (state, remedy) == ("problem", "")
        assert what.startswith("br0 has none (wlan0 can't be one: it is Wi-Fi) and no IP address")

    def test_is_no_problem_where_the_host_routes(self) -> None:
        """Guests reach the host, and by it the others."""
        world.run("ip", "address", "add", "192.0.2.1/24", "dev", "br0")
        try:
            state, what, _ = one("uplink")
            assert state == "ok"
            assert "wlan0 can't be one: it is Wi-Fi" in what
        finally:
            world.run("ip", "address", "del", "192.0.2.1/24", "dev", "br0")
