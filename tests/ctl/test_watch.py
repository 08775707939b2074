# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl status --watch`: on a terminal and through a pipe, with ports that come and go, and how it ends."""

import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from qbhelper.ctl import status, watch
from qbhelper.kernel.overview import Changes
from tests.ctl import host
from tests.ctl.host import POLICY, write
from tests.ctl.test_status import await_hand_over
from tests.support import broker, frames, world

ALICE = 1000
ENTER, LEAVE = "\033[?1049h\033[?25l", "\033[?25h\033[?1049l"
pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("a_broker")]


@pytest.fixture
def a_broker(a_host: None) -> Iterator[None]:
    """A broker that grants ports on br0 to everyone."""
    write(POLICY, '[[allow]]\nbridge = "br0"\n[end]\n')
    with broker.by_hand():
        yield


class Watcher:
    """A running `qbhelperctl status --watch`, and all that it has written."""

    def __init__(self, child: "subprocess.Popen[bytes]", fd: int) -> None:
        self.child = child
        self.fd = fd
        self.text = ""

    def await_text(self, condition: Callable[[str], bool]) -> None:
        """Read on until `condition` holds for all that was written."""
        deadline = time.monotonic() + broker.PATIENCE
        while not condition(self.text):
            left = deadline - time.monotonic()
            assert left > 0, f"it does not come:\n{self.text[-2000:]}"
            if not select.select([self.fd], [], [], left)[0]:
                continue
            part = os.read(self.fd, 1 << 16)
            assert part, f"it has ended:\n{self.text[-2000:]}"
            self.text += part.decode()

    def answers(self) -> list[dict[str, Any]]:
        """The lines of JSON, as far as they are whole."""
        return [json.loads(line) for line in self.text.splitlines(keepends=True) if line.endswith("\n")]

    def names(self) -> list[str]:
        """The names of the ports of br0 in the last line of JSON."""
        answers = self.answers()
        return [port["name"] for port in answers[-1]["bridges"][0]["ports"]] if answers else ["none yet"]

    def ended(self) -> tuple[int, bytes]:
        """Wait for its end: status, and what it complained of."""
        _, complaints = self.child.communicate(timeout=broker.PATIENCE)
        return self.child.returncode, complaints


@contextmanager
def watching(*words: str, terminal: tuple[int, int] | None = None, ignores: int = 0) -> Iterator[Watcher]:
    """Watch, through a pipe or on a terminal of so many lines and columns; it may ignore a signal from its start."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        termios.tcsetwinsize(theirs, terminal)

    def prepare() -> None:
        world.die_with_parent()
        if ignores:
            signal.signal(ignores, signal.SIG_IGN)

    child = subprocess.Popen(
        [str(host.program()), "status", "--watch", *words],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "TERM": "xterm"},
        preexec_fn=prepare,
        process_group=0,  # as a shell has it: what has nobody to make it go on is not stopped
    )
    os.close(theirs)
    watcher = Watcher(child, ours)
    try:
        yield watcher
    finally:
        child.kill()
        child.communicate()
        if watcher.fd >= 0:
            os.close(watcher.fd)


def test_a_line_of_json_comes_with_each_change() -> None:
    """A port that is made, one that is set down, one that ends."""
    with watching("--json") as watcher:
        watcher.await_text(lambda _: watcher.names() == [])
        with broker.ask(uid=ALICE) as port:
            watcher.await_text(lambda _: watcher.names() == [port.name])
            world.run("ip", "link", "set", port.name, "down")
            watcher.await_text(lambda _: not watcher.answers()[-1]["bridges"][0]["ports"][0]["up"])
        watcher.await_text(lambda _: watcher.names() == [])


def test_no_line_comes_because_of_traffic_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever waits for changes would be woken every two seconds."""
    printer = watch._Printer(as_json=True)
    with broker.ask(uid=ALICE) as port:
        await_hand_over(port)
        before = status.take({})
        printer.show(before, {})
        os.write(port.fds[0], bytes(10) + frames.ethernet(0x88B5, b"hello"))
        after = status.take({})
        [counted] = after.ports()
        assert counted.seen.from_port.packets > before.ports()[0].seen.from_port.packets
        printer.show(after, {counted.seen.link.index: (480, 0)})
        assert capsys.readouterr().out.count("\n") == 1
        world.run("ip", "link", "set", port.name, "down")
        printer.show(status.take({}), {})
        assert capsys.readouterr().out.count("\n") == 1


def test_through_a_pipe_the_tree_is_printed_anew() -> None:
    """As text without any sign for a terminal, a block for each change."""
    with watching() as watcher:
        watcher.await_text(lambda text: text == "br0  up, mtu 1500, no ports\n\n")
        with broker.ask(uid=ALICE) as port:
            watcher.await_text(lambda text: f"{port.name}  alice, lease" in text)
        watcher.await_text(lambda text: text.count("no ports\n\n") == 2)
        assert "\033" not in watcher.text


def test_on_a_terminal_it_is_drawn_in_place() -> None:
    """On the other screen; with the traffic of now as soon as it is known, and not higher than the terminal."""
    with watching(terminal=(6, 80)) as watcher:
        watcher.await_text(lambda text: "no ports" in text)
        assert watcher.text.startswith(ENTER + "\033[H")
        with broker.ask(uid=ALICE) as first:
            watcher.await_text(lambda text: first.name in text)
            watcher.await_text(lambda text: "bit/s)" in text)
            with broker.ask(uid=ALICE):
                watcher.await_text(lambda text: "... 4 more lines" in text)
        watcher.await_text(lambda text: text.rpartition("\033[H")[2].count("no ports") == 1)
        assert all(screen.count("\n") < 6 for screen in watcher.text.split("\033[H"))
        watcher.child.send_signal(signal.SIGINT)
        watcher.await_text(lambda text: text.endswith(LEAVE))
        assert watcher.ended() == (-signal.SIGINT, b"")


def test_a_terminal_is_in_order_while_it_is_stopped() -> None:
    """Ctrl-Z gives the shell its own screen with a cursor; when it goes on, all is drawn anew."""
    with watching(terminal=(24, 80)) as watcher:
        for number in range(2):
            watcher.await_text(lambda text: "no ports" in text.rpartition(ENTER)[2])
            watcher.child.send_signal(signal.SIGTSTP)
            watcher.await_text(lambda text, number=number: text.count(LEAVE) == number + 1)  # type: ignore[misc]
            _, ended = os.waitpid(watcher.child.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(ended)
            assert watcher.text.endswith(LEAVE)
            watcher.child.send_signal(signal.SIGCONT)
            watcher.await_text(lambda text, number=number: text.count(ENTER + "\033[H") == number + 2)  # type: ignore[misc]
        watcher.child.send_signal(signal.SIGTERM)
        watcher.await_text(lambda text: text.endswith(LEAVE))
        assert watcher.ended() == (-signal.SIGTERM, b"")


def test_a_stop_comes_too_late_for_what_is_ending() -> None:
    """Ctrl-S, Ctrl-C and Ctrl-Z: while it waits to leave the screen, nothing gets between, and no traceback comes."""
    with watching(terminal=(24, 80)) as watcher:
        watcher.await_text(lambda text: "no ports" in text)
        os.write(watcher.fd, b"\x13")
        watcher.child.send_signal(signal.SIGINT)
        deadline = time.monotonic() + broker.PATIENCE
        while not int(broker.status_of(watcher.child.pid)["SigIgn"], 16) >> (signal.SIGINT - 1) & 1:
            assert time.monotonic() < deadline
        watcher.child.send_signal(signal.SIGTSTP)
        os.write(watcher.fd, b"\x11")
        watcher.await_text(lambda text: text.endswith(LEAVE))
        assert watcher.ended() == (-signal.SIGINT, b"")


def test_a_stop_that_is_ignored_stays_ignored() -> None:
    """As for a program that nobody could make go on."""
    with watching(terminal=(24, 80), ignores=signal.SIGTSTP) as watcher:
        watcher.await_text(lambda text: "no ports" in text)
        watcher.child.send_signal(signal.SIGTSTP)
        with broker.ask(uid=ALICE) as port:
            watcher.await_text(lambda text: port.name in text)
        assert LEAVE not in watcher.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_word(number: signal.Signals) -> None:
    """And who started it sees that it was by the signal."""
    with watching("--json") as watcher:
        watcher.await_text(lambda _: watcher.names() == [])
        watcher.child.send_signal(number)
        assert watcher.ended() == (-number, b"")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As in the background of a shell without job control."""
    with watching("--json", ignores=signal.SIGINT) as watcher:
        watcher.await_text(lambda _: watcher.names() == [])
        watcher.child.send_signal(signal.SIGINT)
        with broker.ask(uid=ALICE) as port:
            watcher.await_text(lambda _: watcher.names() == [port.name])


def test_it_ends_when_nobody_reads_any_more() -> None:
    """Also while there is nothing to print."""
    with watching("--json") as watcher:
        watcher.await_text(lambda _: watcher.names() == [])
        os.close(watcher.fd)
        watcher.fd = -1
        assert watcher.ended() == (128 + signal.SIGPIPE, b"")


def test_what_was_announced_is_forgotten_once_it_was_looked_at() -> None:
    """Else it would be looked at again and again, without an end."""
    with Changes() as changes:
        for mtu in range(1400, 1420):
            world.run("ip", "link", "set", "br0", "mtu", str(mtu))
        assert select.select([changes], [], [], broker.PATIENCE)[0]
        changes.forget()
        assert not select.select([changes], [], [], 0)[0]
