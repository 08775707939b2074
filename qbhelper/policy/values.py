# SPDX-License-Identifier: GPL-2.0-or-later
"""What may stand behind the `=` of a setting: from what TOML makes of it to what the product works with.

Each function here takes a value as tomllib returns it, and returns the parsed one or raises WrongValue.
"""

from qbhelper.errors import printable
from qbhelper.policy.port import NUMBER_IN_NAME, UID_IN_NAME
from qbhelper.request import is_bridge_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeVar

    from qbhelper.policy.port import Network

    T = TypeVar("T")
    Parse = Callable[[object], object]
    Fault = tuple[str, str]
    """What is wrong, and what to write instead."""

SHOWN_MAX = 40
"""Characters of a wrong value in a message."""
VLAN_MIN, VLAN_MAX = 1, 4094
"""IEEE 802.1Q: 0 is no VLAN but a priority, and 4095 is reserved."""
BRIDGE_PORT_MAC_START = b"\xfe"
"""What kernel/message.py gives every TAP.  Whoever holds one may give it any MAC that begins so (broker/leases.py), and
the bridge then takes what is sent there for the host's own: a guest's must be out of their reach."""
RATE_MIN, RATE_MAX = 8_000, 10**12
"""bit/s; below, one frame takes seconds."""
RATE_DIGITS_MAX = 20
_UNITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9, "tbit": 10**12}
_IN_TEMPLATE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class WrongValue(Exception):
    """A value that a setting can't have; one fault for each thing that is wrong with it."""

    def __init__(self, *faults: "Fault") -> None:
        self.faults: Final = faults
        super().__init__(*faults)


class Kind:
    """A type of value: what it is in the words of the reference, and how it is parsed."""

    __slots__ = ("parse", "words")

    def __init__(self, words: str, parse: "Parse") -> None:
        self.words: Final = words
        self.parse: Final = parse


def show(value: object) -> str:
    """Return a value about as it stands in the file, fit for a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a table"
    shown = printable(str(value))
    if len(shown) > SHOWN_MAX:
        shown = shown[:SHOWN_MAX] + "..."
    return f'"{shown}"' if isinstance(value, str) else shown


def boolean(value: object) -> bool:
    """Parse `true` or `false`."""
    if not isinstance(value, bool):
        raise WrongValue((f"{show(value)} is neither true nor false", "write true or false, without quotes"))
    return value


def integer(least: int, most: int) -> "Callable[[object], int]":
    """Return what parses a number of this range."""

    def parse(value: object) -> int:
        # To Python, true is an integer.
        if isinstance(value, bool) or not isinstance(value, int):
            raise WrongValue((f"{show(value)} is no number", f"a number from {least} to {most}, without quotes"))
        if not least <= value <= most:
            raise WrongValue((f"{show(value)} is out of range", f"a number from {least} to {most}"))
        return value

    return parse


def text(value: object, example: str) -> str:
    """Return `value` if it is a text; `example` shows one as it is written."""
    if not isinstance(value, str):
        raise WrongValue((f"{show(value)} is no text", f"a text in quotes, as {example}"))
    return value


def listed(value: object, parse: "Callable[[object], T]", example: str) -> "list[T]":
    """Return what `parse` makes of each of a list, or of a value that stands alone.

    Every entry is looked at, so that all that is wrong is told at once.
    """
    entries = value if isinstance(value, list) else [value]
    if not entries:
        # Nobody can know whether it was to mean nothing, or everything as if it were not there.
        raise WrongValue(("the list is empty", f"write what it should hold, as {example}; or leave the setting away"))
    found: list[T] = []
    faults: list[Fault] = []
    for entry in entries:
        try:
            if isinstance(entry, list):
                raise WrongValue(("a list in a list", f"one list, as {example}"))
            parsed = parse(entry)
            if parsed in found:
                raise WrongValue((f"{show(entry)} stands twice", "write it once"))
            found.append(parsed)
        except WrongValue as error:
            faults += error.faults
    if faults:
        raise WrongValue(*faults)
    return found


def bridges(value: object) -> frozenset[bytes] | None:
    """Parse the names of bridges; None stands for every bridge."""
    example = '["br0", "br1"]'

    def parse(entry: object) -> bytes:
        name = text(entry, example).encode()
        if name == b"*":
            raise WrongValue(('"*" stands for every bridge', 'it stands alone: bridge = "*"'))
        # The kernel would take most of these for a name, but who writes one means a pattern.
        if not set(name).isdisjoint(b"*?["):
            raise WrongValue((f"{show(entry)} is a pattern", 'write each name, or "*" for every bridge'))
        if not is_bridge_name(name):
            raise WrongValue(
                (
                    f"{show(entry)} can't be the name of a bridge",
                    "an interface's name has 1 to 15 bytes, without white space and none of / : %",
                )
            )
        return name

    if value in ("*", ["*"]):
        return None
    return frozenset(listed(value, parse, example))


def template(value: object) -> bytes:
    """Parse a template for names of interfaces."""
    name = text(value, 'name = "vm%d"').encode()
    rest = name
    for part in (NUMBER_IN_NAME, UID_IN_NAME):
        if name.count(part) > 1:
            raise WrongValue((f"{show(value)} has {part.decode()} twice", "once is enough"))
        rest = rest.replace(part, b"")
    if not rest or not _IN_TEMPLATE.issuperset(rest):
        raise WrongValue(
            (
                f"{show(value)} is no name for an interface",
                'letters, digits, ".", "_", "-", then %d for a number or {uid} for the caller\'s uid, as "vm%d"',
            )
        )
    if not name[:1].isalpha():
        raise WrongValue((f"{show(value)} does not begin with a letter", 'a name like "vm%d"'))
    return name


def vlan_ids(value: object) -> tuple[int, ...]:
    """Parse VLAN ids and ranges of them; in ascending order."""
    example = '[30, "40-49"]'

    def parse(entry: object) -> tuple[int, int]:
        first = last = entry
        if isinstance(entry, str):
            begin, dash, end = entry.partition("-")
            if not all(part.isascii() and part.isdigit() for part in (begin, end if dash else begin)):
                raise WrongValue((f"{show(entry)} is no VLAN, and no range of them", f"as {example}"))
            first, last = int(begin[:9]), int((end if dash else begin)[:9])
        low, high = (integer(VLAN_MIN, VLAN_MAX)(one) for one in (first, last))
        if low > high:
            raise WrongValue((f"{show(entry)} ends before it begins", f'write "{high}-{low}"'))
        return low, high

    ids: list[int] = []
    for low, high in listed(value, parse, example):
        ids += range(low, high + 1)
    if len(ids) != len(set(ids)):
        twice = min(one for one in ids if ids.count(one) > 1)
        raise WrongValue((f"VLAN {twice} is in it twice", "once is enough"))
    return tuple(sorted(ids))


def macs(value: object) -> tuple[bytes, ...]:
    """Parse MAC addresses that a guest may have."""
    example = '["52:54:00:12:34:50"]'

    def parse(entry: object) -> bytes:
        parts = text(entry, example).split(":")
        try:
            if len(parts) != 6 or any(len(part) != 2 for part in parts):
                raise ValueError
            mac = bytes.fromhex("".join(parts))
            if len(mac) != 6:  # fromhex passes over white space
                raise ValueError
        except ValueError:
            raise WrongValue((f"{show(entry)} is no MAC address", f"six pairs of digits, as {example}")) from None
        if mac[0] & 1 or not any(mac):
            raise WrongValue(
                (f"{show(entry)} is no address of one machine", "the first pair is even, and not all are zero")
            )
        if mac.startswith(BRIDGE_PORT_MAC_START):
            raise WrongValue(
                (
                    f"{show(entry)} begins as the bridge's ports do themselves, so any of them could take it",
                    f"another first pair than fe, as {example}",
                )
            )
        return mac

    return tuple(listed(value, parse, example))


def networks(value: object) -> "tuple[Network, ...]":
    """Parse IPv4 and IPv6 addresses and networks."""
    import ipaddress  # here, because most policies need none

    example = '["10.0.0.0/24", "2001:db8::/64"]'

    def parse(entry: object) -> "Network":
        written = text(entry, example)
        _, slash, length = written.partition("/")
        try:
            # ipaddress would also take a netmask, or a scope.
            if "%" in written or (slash and not (length.isascii() and length.isdigit())):
                raise ValueError
            network = ipaddress.ip_network(written, strict=False)
        except ValueError:
            raise WrongValue((f"{show(entry)} is no address and no network", f"as {example}")) from None
        if slash and network.network_address != ipaddress.ip_address(written.partition("/")[0]):
            raise WrongValue(
                (f"{show(entry)} has bits behind its prefix", f'write "{network}", or the address without a prefix')
            )
        if network.is_multicast:
            raise WrongValue((f"{show(entry)} is multicast", "no packet comes from there: leave it out"))
        return network

    return tuple(listed(value, parse, example))


def words(*known: str) -> "Callable[[object], frozenset[str]]":
    """Return what parses a list of some of these words."""
    example = f'["{known[0]}"]'

    def parse(entry: object) -> str:
        word = text(entry, example)
        if word not in known:
            raise WrongValue((f"{show(entry)} is not known", nearest(word, known)))
        return word

    return lambda value: frozenset(listed(value, parse, example))


def rate(value: object) -> int:
    """Parse a rate; returns bit/s.  The grammar is that of tc(8), but for its units of bytes."""
    written = text(value, '"100mbit"')
    number = written.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = _UNITS.get(written[len(number) :].lower())
    whole, point, fraction = number.partition(".")
    digits = whole + fraction
    if unit is None or not (whole and digits.isascii() and digits.isdigit()) or (point and not fraction):
        raise WrongValue(
            (
                f"{show(value)} is no rate",
                'a number and bit, kbit, mbit, gbit or tbit, as "12.5mbit" (mbps would be bytes to tc, bits to others)',
            )
        )
    if len(digits) > RATE_DIGITS_MAX:
        raise WrongValue((f"{show(value)} has too many digits", "from 8kbit to 1tbit, in whole bits"))
    scale: int = 10 ** len(fraction)
    bits, rest = divmod(int(digits) * unit, scale)
    if rest or not RATE_MIN <= bits <= RATE_MAX:
        raise WrongValue((f"{show(value)} is out of range", "from 8kbit to 1tbit, in whole bits"))
    return bits


def day(value: object) -> tuple[int, int, int]:
    """Parse a date; returns year, month and day."""
    # Told by what it has, not by its class: a date with a time is a date, too, to Python.
    year, month, number = (getattr(value, part, None) for part in ("year", "month", "day"))
    if not (isinstance(year, int) and isinstance(month, int) and isinstance(number, int)) or hasattr(value, "hour"):
        raise WrongValue((f"{show(value)} is no date", "a date without quotes and without a time, as 2027-01-31"))
    return year, month, number


def nearest(word: str, known: "tuple[str, ...]") -> str:
    """Return a hint: the word that was meant, if one is near, or all that there are."""
    import difflib  # here, because only errors need it

    near = difflib.get_close_matches(word, known, 1)
    if near:
        return f"did you mean `{near[0]}'?"
    return f"known: {', '.join(known)}"
