# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl status --watch`: looks again whenever the kernel announces a change of an interface, until it is ended.

On a terminal the tree is drawn in place, with what goes through each port now.  Elsewhere it is printed once at the
start, and again whenever something else than its traffic has changed.
"""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from qbhelper.ctl import drawing, status
from qbhelper.ctl.output import say
from qbhelper.ctl.status import Picture, Rates
from qbhelper.kernel.overview import Changes

INTERVAL = 2.0
"""Seconds between looks while nothing is announced: for rates, and for processes, which nobody announces."""
_SETTLE = 0.2
"""Seconds for the rest of a change: a port that is made is announced several times over."""
_ENTER, _LEAVE = "\033[?1049h\033[?25l", "\033[?25h\033[?1049l"
"""The terminal's other screen without a cursor, and back."""
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\033[H", "\033[K", "\033[J"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Ended(BaseException):
    """A signal has come that ends the program."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _Stopped(BaseException):
    """The signal of Ctrl-Z has come."""


class Meter:
    """Makes rates of what was counted at two looks that are INTERVAL apart, or nearly."""

    def __init__(self) -> None:
        self._at = float("-inf")
        self._counted: dict[int, tuple[int, int]] = {}
        self.rates: dict[int, tuple[int, int]] = {}

    def read(self, picture: Picture, now: float) -> Rates:
        """Return the rates of the ports as they are `now` (seconds, monotonic); of a new port there is none yet."""
        counted = {
            port.seen.link.index: (port.seen.from_port.bytes, port.seen.to_port.bytes) for port in picture.ports()
        }
        passed = now - self._at
        # After a change it is looked again at once, and what went through in a moment says little.
        if passed >= INTERVAL / 2:
            self.rates = {
                index: (_rate(before[0], after[0], passed), _rate(before[1], after[1], passed))
                for index, after in counted.items()
                if (before := self._counted.get(index)) is not None
            }
            self._at, self._counted = now, counted
        return self.rates


def _rate(before: int, after: int, seconds: float) -> int:
    return max(0, round((after - before) * 8 / seconds))


def run(*, as_json: bool) -> int:
    """Show how things are until a signal comes, or nobody reads any more.  Does not return.

    Raises KernelError where the kernel does not tell, BrokenPipeError where nobody reads.
    """
    on_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not as_json
    try:
        with _signals_raise(), Changes() as changes:
            if on_terminal:
                _keep_drawing(changes)
            else:
                _keep_showing(changes, _Printer(as_json=as_json).show)
    except _Ended as end:
        # As who sent it expects: a shell stops its loop, too.
        signal.signal(end.number, signal.SIG_DFL)
        os.kill(os.getpid(), end.number)
    raise AssertionError("it goes on until it is ended")


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Have the first signal that ends a program raise _Ended; those that are ignored stay so."""
    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) is not signal.SIG_IGN}

    def end(number: int, _: FrameType | None) -> None:
        for each in (signal.SIGTSTP, *before):  # no other may come between while the terminal is put in order
            signal.signal(each, signal.SIG_IGN)
        raise _Ended(number)

    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep_drawing(changes: Changes) -> None:
    """Draw on the terminal's other screen, and leave it for as long as we are stopped (Ctrl-Z) and in the end."""
    stops = signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN
    try:
        while True:
            try:
                if stops:
                    signal.signal(signal.SIGTSTP, _raise_stopped)
                sys.stdout.write(_ENTER)
                _keep_showing(changes, _draw)
            except _Stopped:
                _leave()
                signal.signal(signal.SIGTSTP, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGTSTP)  # returns when the shell has us go on
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # nobody would catch it here
        _leave()


def _raise_stopped(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # no other may come between while the terminal is put in order
    raise _Stopped


def _leave() -> None:
    sys.stdout.write(_LEAVE)
    sys.stdout.flush()


def _keep_showing(changes: Changes, show: Callable[[Picture, Rates], None]) -> None:
    meter = Meter()
    waiting = select.poll()
    waiting.register(changes, select.POLLIN)
    waiting.register(sys.stdout, 0)  # is told of all the same: that nobody reads any more
    while True:
        picture = status.take(status.places_of_host())
        show(picture, meter.read(picture, time.monotonic()))
        events = dict(waiting.poll(INTERVAL * 1000))
        if sys.stdout.fileno() in events:
            raise BrokenPipeError
        if changes.fileno() in events:
            time.sleep(_SETTLE)
            changes.forget()


def _draw(picture: Picture, rates: Rates) -> None:
    """Draw it over what was drawn before; what has no room is said to be there."""
    lines = drawing.drawn(picture, rates)
    room = os.get_terminal_size(sys.stdout.fileno()).lines or 24
    if len(lines) > room:
        more = len(lines) - (room - 1)
        lines = [*lines[: room - 1], f"... {more} more lines: a larger terminal, or `qbhelperctl status | less'"]
    drawn = f"{_END_OF_LINE}\r\n".join(lines)
    sys.stdout.write(f"{_HOME}{drawn}{_END_OF_LINE}{_END_OF_SCREEN}")
    sys.stdout.flush()


class _Printer:
    """Prints a block for each change: lines for people with an empty one after them, or JSON on one line."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._last = ""

    def show(self, picture: Picture, rates: Rates) -> None:
        """Print it if it is not only by its traffic that it differs from what was printed last."""
        answer = status.as_json_has_it(picture, rates)
        essence = json.dumps(status.as_json_has_it(picture, with_traffic=False))
        if essence == self._last:
            return
        self._last = essence
        if self._as_json:
            say(json.dumps(answer))
        else:
            say("\n".join([*drawing.drawn(picture, rates), ""]))
        sys.stdout.flush()
