# SPDX-License-Identifier: GPL-2.0-or-later
"""What `qbhelperctl status` draws for people: each bridge as a tree of its ports, in the width of the terminal."""

import locale
import textwrap
import time
from collections.abc import Iterator, Sequence

from qbhelper.ctl import people, terms
from qbhelper.ctl.holders import Holder
from qbhelper.ctl.output import TIED, paint, width
from qbhelper.ctl.status import CLAIM, LEASE, Bridge, Picture, Port, Rates

_NAME_MAX = 24
"""Characters of a name; the kernel has 15, and those that no terminal shows are escaped."""
_MACHINE_MAX = 32
_TIED_MAX = 40
_BRANCHES = ("├─ ", "│    "), ("└─ ", "     ")
"""Before the first line of a port and the others; the second pair is for the last port of a bridge."""
_BRANCHES_IN_ASCII = ("|- ", "|    "), ("`- ", "     ")


def drawn(picture: Picture, rates: Rates | None = None) -> list[str]:
    """Return the lines that show it; with `rates`, what goes through each port now."""
    lines = [line for bridge in picture.bridges for line in _bridge(bridge, rates)]
    if not picture.bridges:
        lines.append("there is no bridge here")
    if picture.elsewhere:
        lines += [paint("on no bridge", "strong"), *_ports(picture.elsewhere, rates)]
    return lines


def _bridge(bridge: Bridge, rates: Rates | None) -> Iterator[str]:
    name = cut(bridge.name, _NAME_MAX)
    words = ["up" if bridge.seen.link.up else "down", f"mtu {bridge.seen.link.mtu}"]
    if bridge.seen.interface.filters_vlans:
        words.append("filters VLANs")
    words.append({0: "no ports", 1: "1 port"}.get(len(bridge.ports), f"{len(bridge.ports)} ports"))
    yield f"{paint(name, 'strong')}  {', '.join(words)}"
    yield from _ports(bridge.ports, rates, bridge.seen.link.mtu)


def _ports(ports: Sequence[Port], rates: Rates | None, usual_mtu: int | None = None) -> Iterator[str]:
    branches = _BRANCHES if _has_lines() else _BRANCHES_IN_ASCII
    for number, port in enumerate(ports, 1):
        first, others = branches[number == len(ports)]
        head, *paragraphs = _told(port, rates, usual_mtu)
        name = cut(port.name, _NAME_MAX)
        lines = _wrapped(f"{name}  {head}", width() - len(others), 4)
        style = {LEASE: "good", CLAIM: "doubtful"}.get(port.what)
        lines[0] = (paint(name, style) if style else name) + lines[0][len(name) :]
        yield first + lines[0]
        for line in lines[1:]:
            yield others + line
        for paragraph in paragraphs:
            for line in _wrapped(paragraph, width() - len(others), 2):
                yield others + (line if port.what == LEASE else paint(line, "quiet"))


def _told(port: Port, rates: Rates | None, usual_mtu: int | None) -> Iterator[str]:
    """Yield what there is to say of a port, a paragraph each."""
    facts = [*_process(port), *_settings(port)]
    if port.seen.link.mtu != usual_mtu:
        facts.append(f"mtu {port.seen.link.mtu}")
    if port.what == LEASE and port.lease and port.uid is not None:
        kinds = (("persistent", port.lease.persistent), ("revoked", port.lease.revoked))
        words = [word for word, is_so in kinds if is_so]
        yield _joined([_user(port.uid), *_machines(port.holders), f"lease {port.lease.identity}", *words])
        yield _joined(facts)
        granted = f"since {_local(port.lease.since)}"
        if port.place:
            granted += f" by {port.place}"
        elif port.lease.rule:
            granted += f" by rule {port.lease.rule}"
        yield granted
    elif port.what == CLAIM:
        yield f"{_user(port.uid)}: a claim, which becomes a port or ends in a moment"
        return
    else:
        yield _joined(["not of qbhelper", *_machines(port.holders)])
        yield _joined([*facts, *_traffic(port, rates)])
        return
    yield _joined(_traffic(port, rates))


def _user(uid: int | None) -> str:
    if uid is None:
        return "somebody"
    name = people.name_of(uid)
    return f"uid {uid}" if name is None else cut(name, _MACHINE_MAX)


def _machines(holders: Sequence[Holder]) -> list[str]:
    names = dict.fromkeys(holder.machine for holder in holders if holder.machine and not holder.is_elsewhere)
    return [f"VM `{cut(name, _MACHINE_MAX)}'" for name in names if name]


def _process(port: Port) -> list[str]:
    """Say which processes have a TAP open; what is not for us to see is not said not to be."""
    if not port.is_tap:
        return []
    if port.holders:
        return [
            f"{cut(holder.program, _MACHINE_MAX)} (pid {holder.pid})"
            + (", if its network namespace has no other of this name" if holder.is_elsewhere else "")
            for holder in port.holders
        ]
    return ["its process can't be told" if port.seen.is_open else "no process has it open"]


def _settings(port: Port) -> list[str]:
    link = port.seen.link
    words = [] if link.up else ["down"]
    if port.is_tap and link.queues > 1:
        words.append(f"{link.queues} queues")
    if port.vlan() is not None:
        words.append(f"vlan {port.vlan()}")
    if port.trunk():
        words.append(f"trunk {' '.join(terms.ranges(port.trunk()))}")
    words += port.unusual_flags()
    limits = port.seen.limits
    if limits.to_guest is not None:
        words.append(f"rate_to_guest {terms.rate(limits.to_guest)}")
    if limits.from_guest is not None:
        words.append(f"rate_from_guest {terms.rate(limits.from_guest)}")
    if limits.has_sieve:
        words.append("frames filtered")
    return words


def _traffic(port: Port, rates: Rates | None) -> list[str]:
    guest = port.what == LEASE
    words = []
    for number, (verb, counted) in enumerate(
        (("guest sent" if guest else "in", port.seen.from_port), ("got" if guest else "out", port.seen.to_port))
    ):
        text = f"{verb} {amount(counted.bytes)}B"
        if rates is not None and port.seen.link.index in rates:
            text += f" (now {amount(rates[port.seen.link.index][number])}bit/s)"
        if counted.dropped:
            text += f" ({counted.dropped} packets dropped)"
        words.append(text)
    return words


def amount(number: int) -> str:
    """Return a number with three digits and a prefix for its unit."""
    value, prefixes = float(number), iter(("", "k", "M", "G", "T", "P", "E"))
    prefix = next(prefixes)
    while value >= 999.5:
        value, prefix = value / 1000, next(prefixes)
    return f"{value:.{2 if prefix and value < 9.995 else 1 if prefix and value < 99.95 else 0}f} {prefix}"


def cut(text: str, most: int) -> str:
    """Return at most so many characters, with the beginning and the end of what is longer."""
    if len(text) <= most:
        return text
    tail = (most - 3) // 3
    return f"{text[: most - 3 - tail]}...{text[-tail:]}"


def _local(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OSError, OverflowError, ValueError):  # an alias may say what it likes
        return f"second {seconds}"


def _joined(words: Sequence[str]) -> str:
    return ", ".join(word.replace(" ", TIED) if len(word) <= _TIED_MAX else word for word in words)


def _wrapped(text: str, room: int, indent: int) -> list[str]:
    lines = textwrap.wrap(text, room, subsequent_indent=" " * indent, break_on_hyphens=False)
    return [line.replace(TIED, " ") for line in lines]


def _has_lines() -> bool:
    """Whether the terminal shows more than ASCII: Python may write UTF-8 under LC_ALL=C, too."""
    try:
        locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        return False
    return locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8"
