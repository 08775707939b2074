# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl run`: gets ports, writes the numbers of their fds into the words of a command, and becomes that command.

For what QEMU's helper protocol has no words for: several queues, vhost, and virtual machine monitors that take fds.
"""

import os
import re
import signal
from collections.abc import Sequence

from qbhelper.ctl.card import Card
from qbhelper.ctl.client import Granted
from qbhelper.ctl.output import complain
from qbhelper.errors import UsageError, printable, reason

EXIT_NOT_FOUND, EXIT_NOT_EXECUTABLE = 127, 126
"""As env(1) and the shell have it."""

_PLACE = re.compile(r"\{(fd|fds|fdlist|vhostfds|ifname|mac)(?:\.([0-9]{1,3}))?\}")
"""`{fds}` is of the first card, `{fds.2}` of the second.  Other braces are the command's own: it may speak JSON."""


def run(cards: Sequence[Card], command: Sequence[str]) -> int:
    """Become the command; returns only if that fails, and then no port is left.  Raises QbError."""
    _check(cards, command)
    ports: list[Granted] = []
    macs: list[str] = []
    try:
        for card in cards:
            port, mac = card.ask_for_port()
            ports.append(port)
            macs.append(mac)
        return _become([_filled(word, ports, macs) for word in command], ports)
    finally:
        for port in ports:
            port.close()


def _check(cards: Sequence[Card], command: Sequence[str]) -> None:
    """Raise UsageError, before anything is made."""
    if not command:
        raise UsageError("there is no COMMAND to run", "write it behind --")
    asked = {(match[1], int(match[2] or 1)) for word in command for match in _PLACE.finditer(word)}
    for word, number in sorted(asked):
        if not 1 <= number <= len(cards):
            raise UsageError(f"{{{word}.{number}}}: there is no card {number}", "each --bridge makes one, from 1 on")
    for number, card in enumerate(cards, 1):
        card.check_bridge()
        _check_places(number, card, {word for word, of_card in asked if of_card == number})
        card.checked_mac()


def _check_places(number: int, card: Card, words: set[str]) -> None:
    dot = "" if number == 1 else f".{number}"
    if not words & {"fd", "fds", "fdlist"}:
        raise UsageError(
            f"the port on {printable(card.bridge)} would be of no use: no word of the command has {{fds{dot}}}",
            f"with QEMU: -netdev tap,id=net0,fds={{fds{dot}}}",
        )
    if "fd" in words and card.queues > 1:
        raise UsageError(f"{{fd{dot}}} is one fd, and there are {card.queues} queues", f"write {{fds{dot}}}")
    if card.vhost != ("vhostfds" in words):
        raise UsageError(
            f"--vhost and {{vhostfds{dot}}} go together", f"with QEMU: vhost=on,vhostfds={{vhostfds{dot}}}"
        )
    if card.mac is not None and "mac" not in words:
        raise UsageError(
            f"--mac is of no use: no word of the command has {{mac{dot}}}",
            f"with QEMU: -device virtio-net-pci,netdev=net0,mac={{mac{dot}}}",
        )


def _filled(word: str, ports: Sequence[Granted], macs: Sequence[str]) -> str:
    """Return a word of the command with what stands for a port's properties filled in."""

    def value(match: "re.Match[str]") -> str:
        number = int(match[2] or 1) - 1
        port = ports[number]
        return {
            "fd": str(port.taps[0]),
            "fds": ":".join(map(str, port.taps)),
            "fdlist": ",".join(map(str, port.taps)),
            "vhostfds": ":".join(map(str, port.vhost)),
            "ifname": os.fsdecode(port.name),
            "mac": macs[number],
        }[match[1]]

    return _PLACE.sub(value, word)


def _become(words: Sequence[str], ports: Sequence[Granted]) -> int:
    for port in ports:
        for fd in (*port.taps, *port.vhost):
            os.set_inheritable(fd, True)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and a program that is started would, too
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(words[0], [*words])  # noqa: S606  it is what we were asked for, as the caller, with no privilege
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else "it has a NUL byte in it"
        complain(f"failed to run `{printable(words[0])}': {why}")
        return EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_EXECUTABLE
