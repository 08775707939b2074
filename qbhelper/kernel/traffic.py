# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's traffic control does for a port: limits of rate, and dropping what may not pass.

All of it is attached to the TAP, and goes with it.  What a guest sends meets three filters, one after another:

    1  `rate_from_guest`: what exceeds it is dropped
    2  the sieve: what matches may pass
    3  if there is a sieve, everything else is dropped

linux/pkt_sched.h and linux/pkt_cls.h, and in the kernel net/sched/{sch_tbf,cls_bpf,act_gact,act_police}.c.
"""

import struct
import sys

from qbhelper.kernel.exchange import Exchange, attributes, require_same
from qbhelper.kernel.message import NLM_F_DUMP, attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

RTM_NEWQDISC, RTM_GETQDISC = 36, 38
RTM_NEWTFILTER, RTM_GETTFILTER = 44, 46
NLM_F_ECHO, NLM_F_EXCL, NLM_F_CREATE = 0x8, 0x200, 0x400

_TCMSG = struct.Struct("=BxxxiIII")
TCA_KIND, TCA_OPTIONS = 1, 2
TC_H_ROOT, TC_H_INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_INGRESS, _FIRST = 0xFFFF0000, 0x00010000
"""The handle that the ingress qdisc always has, and the one that we give our root qdisc."""

TCA_BPF_ACT, TCA_BPF_OPS_LEN, TCA_BPF_OPS = 1, 4, 5
TCA_ACT_KIND, TCA_ACT_OPTIONS = 1, 2
_ONLY_ACTION = 1
TCA_GACT_PARMS = 2
TCA_POLICE_TBF, TCA_POLICE_RATE, TCA_POLICE_RESULT, TCA_POLICE_RATE64 = 1, 2, 5, 8
TCA_TBF_PARMS, TCA_TBF_RATE64 = 1, 4
TC_ACT_UNSPEC, TC_ACT_SHOT = -1, 2
"""Go on with the next filter; drop."""

_GACT = struct.Struct("=IIiii")
_RATE = struct.Struct("=BBHhHI")
_POLICE = struct.Struct("=IiIII12s12siiI")
_TBF = struct.Struct("=12s12sIII")
_RATE_TABLE = bytes(1024)
"""The kernel wants one, and has not looked into it since it calculates by itself (3.8)."""
_ETHERNET = 1
_ANY_PROTOCOL = 0x0300
"""ETH_P_ALL in network byte order, on every machine."""

RETURN_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)
"""The shortest classic BPF program: it matches each frame."""

_TICK = 64
"""Nanoseconds in which the kernel counts times (PSCHED_SHIFT)."""
_LARGEST = 1 << 16
"""Bytes that a guest may hand over in one piece, to be cut later (GSO).  One that exceeds the burst never passes."""
_MOST = 0x7FFFFFFF


class Ingress:
    """What a guest sends.  Each method adds filters, and reads back that they and those before are all there is.

    Raises OSError, mostly Refused.
    """

    __slots__ = ("_exchange", "_index", "_wanted")

    def __init__(self, exchange: Exchange, index: int) -> None:
        """Have the TAP's incoming frames go through filters."""
        self._exchange = exchange
        self._index = index
        self._wanted: list[tuple[object, ...]] = []
        _add_qdisc(exchange, index, TC_H_INGRESS, _INGRESS, b"ingress", b"")

    def limit(self, rate: int) -> None:
        """Drop what exceeds `rate` (bit/s)."""
        rate //= 8
        burst = _ticks(_burst(rate), rate)
        police = _POLICE.pack(0, TC_ACT_SHOT, 0, burst, _MOST, _pack_rate(rate), bytes(_RATE.size), 0, 0, 0)
        options = (
            attribute(TCA_POLICE_TBF, police)
            + attribute(TCA_POLICE_RATE, _RATE_TABLE)
            + attribute(TCA_POLICE_RESULT, TC_ACT_UNSPEC & 0xFFFFFFFF)
            + attribute(TCA_POLICE_RATE64, rate.to_bytes(8, sys.byteorder))
        )
        essence = (b"police", TC_ACT_SHOT, TC_ACT_UNSPEC, burst, _MOST, rate)
        self._add(1, RETURN_ALL, _pack_action(b"police", options), essence)

    def let_through(self, program: bytes) -> None:
        """Drop what `program` (struct sock_filter) does not match."""
        drop = attribute(TCA_GACT_PARMS, _GACT.pack(0, 0, TC_ACT_SHOT, 0, 0))
        self._add(3, RETURN_ALL, _pack_action(b"gact", drop), (b"gact", TC_ACT_SHOT))
        self._add(2, program, b"", None)

    def _add(self, priority: int, program: bytes, action: bytes, essence: "tuple[object, ...] | None") -> None:
        instructions = (len(program) // 8).to_bytes(2, sys.byteorder)
        options = attribute(TCA_BPF_OPS_LEN, instructions) + attribute(TCA_BPF_OPS, program) + action
        body = (
            _TCMSG.pack(0, self._index, 1, _INGRESS, priority << 16 | _ANY_PROTOCOL)
            + attribute(TCA_KIND, b"bpf\0")
            + attribute(TCA_OPTIONS, options)
        )
        self._exchange.ask(RTM_NEWTFILTER, body, NLM_F_CREATE | NLM_F_EXCL)
        self._wanted.append((b"bpf", priority, _ANY_PROTOCOL, program, () if essence is None else (essence,)))
        self._wanted.sort()
        found = self._exchange.ask(RTM_GETTFILTER, _TCMSG.pack(0, self._index, 0, _INGRESS, 0), NLM_F_DUMP)
        require_same(sorted(filter(None, map(_read_filter, found))), self._wanted)


def limit_to_guest(exchange: Exchange, index: int, rate: int) -> None:
    """Let the TAP's outgoing frames wait until they are within `rate` (bit/s), and drop what would wait too long."""
    rate //= 8
    burst = _burst(rate)
    limit, buffer = min(2 * burst, _MOST), _ticks(burst, rate)
    parameters = _TBF.pack(_pack_rate(rate), bytes(_RATE.size), limit, buffer, 0)
    options = attribute(TCA_TBF_PARMS, parameters) + attribute(TCA_TBF_RATE64, rate.to_bytes(8, sys.byteorder))
    found = _add_qdisc(exchange, index, TC_H_ROOT, _FIRST, b"tbf", options)
    attributes_found = dict(attributes(found))
    found_rate, _, found_limit, found_buffer, _ = _TBF.unpack(attributes_found[TCA_TBF_PARMS])
    require_same(
        (_read_rate(found_rate, attributes_found.get(TCA_TBF_RATE64)), found_limit, found_buffer), (rate, limit, buffer)
    )


class Limits:
    """What is done for a port: rates to and from its guest (bit/s, None if not limited), and whether it has a sieve."""

    __slots__ = ("from_guest", "has_sieve", "to_guest")

    def __init__(self, to_guest: int | None = None, from_guest: int | None = None, has_sieve: bool = False) -> None:
        self.to_guest = to_guest
        self.from_guest = from_guest
        self.has_sieve = has_sieve


def limits(exchange: Exchange, taps: "Container[int]") -> dict[int, Limits]:
    """Return what has been done, as here, for which of these interfaces; what others have set up is passed over.

    Raises OSError.
    """
    found: dict[int, Limits] = {}
    filtered = []
    for payload in exchange.ask(RTM_GETQDISC, _TCMSG.pack(0, 0, 0, 0, 0), NLM_F_DUMP):
        _, index, handle, _, _ = _TCMSG.unpack_from(payload)
        described = dict(attributes(payload, _TCMSG.size))
        if index not in taps:
            continue
        if described.get(TCA_KIND) == b"ingress\0":
            filtered.append(index)
        elif described.get(TCA_KIND) == b"tbf\0" and handle == _FIRST:
            options = dict(attributes(described[TCA_OPTIONS]))
            rate = _read_rate(_TBF.unpack(options[TCA_TBF_PARMS])[0], options.get(TCA_TBF_RATE64))
            found[index] = Limits(to_guest=8 * rate)
    for index in filtered:
        for payload in exchange.ask(RTM_GETTFILTER, _TCMSG.pack(0, index, 0, _INGRESS, 0), NLM_F_DUMP):
            if dict(attributes(payload, _TCMSG.size)).get(TCA_KIND) == b"bpf\0":
                _note_filter(_read_filter(payload), found.setdefault(index, Limits()))
    return found


def _note_filter(described: "tuple[object, ...] | None", limits: Limits) -> None:
    match described:
        case (_, 1, _, _, ((b"police", _, _, _, _, int(rate)),)):
            limits.from_guest = 8 * rate
        case (_, 3, _, _, ((b"gact", *_),)):
            limits.has_sieve = True


def _add_qdisc(exchange: Exchange, index: int, parent: int, handle: int, kind: bytes, options: bytes) -> bytes:
    """Add a qdisc, and return the options that it then has."""
    body = (
        _TCMSG.pack(0, index, handle, parent, 0) + attribute(TCA_KIND, kind + b"\0") + attribute(TCA_OPTIONS, options)
    )
    exchange.ask(RTM_NEWQDISC, body, NLM_F_CREATE | NLM_F_EXCL)
    # Traffic control answers by telling everybody who listens, and whoever asked only if they want to hear an echo.
    (found,) = exchange.ask(RTM_GETQDISC, _TCMSG.pack(0, index, handle, parent, 0), NLM_F_ECHO)
    described = dict(attributes(found, _TCMSG.size))
    require_same(described.get(TCA_KIND), kind + b"\0")
    return described.get(TCA_OPTIONS, b"")


def _read_filter(payload: bytes) -> "tuple[object, ...] | None":
    """Return a filter in the words of Ingress._wanted; None for what only says that there are some of a priority."""
    info = _TCMSG.unpack_from(payload)[4]
    described = dict(attributes(payload, _TCMSG.size))
    if TCA_OPTIONS not in described:
        return None
    options = dict(attributes(described[TCA_OPTIONS]))
    actions = tuple(_read_action(action) for _, action in attributes(options.get(TCA_BPF_ACT, b"")))
    kind = described[TCA_KIND].rstrip(b"\0")
    return kind, info >> 16, info & 0xFFFF, options.get(TCA_BPF_OPS, b""), actions


def _read_action(action: bytes) -> tuple[object, ...]:
    described = dict(attributes(action))
    kind = described[TCA_ACT_KIND].rstrip(b"\0")
    options = dict(attributes(described[TCA_ACT_OPTIONS]))
    if kind == b"gact":
        return kind, _GACT.unpack(options[TCA_GACT_PARMS])[2]
    if kind == b"police":
        _, exceeded, _, burst, largest, rate, *_ = _POLICE.unpack(options[TCA_POLICE_TBF])
        within = int.from_bytes(options.get(TCA_POLICE_RESULT, b""), sys.byteorder, signed=True)
        return kind, exceeded, within, burst, largest, _read_rate(rate, options.get(TCA_POLICE_RATE64))
    return (kind,)


def _pack_action(kind: bytes, options: bytes) -> bytes:
    action = attribute(TCA_ACT_KIND, kind + b"\0") + attribute(TCA_ACT_OPTIONS, options)
    return attribute(TCA_BPF_ACT, attribute(_ONLY_ACTION, action))


def _pack_rate(rate: int) -> bytes:
    """Return a tc_ratespec of so many bytes a second; what has no room in it is said by another attribute, too."""
    return _RATE.pack(1, _ETHERNET, 0, 0, 0, min(rate, 0xFFFFFFFF))


def _read_rate(packed: bytes, in_64_bits: bytes | None) -> int:
    if in_64_bits is not None:
        return int.from_bytes(in_64_bits, sys.byteorder)
    rate: int = _RATE.unpack(packed)[5]
    return rate


def _burst(rate: int) -> int:
    """Return how many bytes may come at once, at `rate` bytes a second.

    A tenth of a second's: with less, TCP does not reach the rate where what exceeds it is dropped; with more, it can
    be measured that the rate is exceeded.  But always two of the largest pieces, of which TCP sends some at a time.
    """
    return min(max(rate // 10, 2 * _LARGEST), _MOST)


def _ticks(size: int, rate: int) -> int:
    """Return how long so many bytes take at `rate` bytes a second, in what the kernel counts times in."""
    return min(size * 1_000_000_000 // (rate * _TICK), 0xFFFFFFFF)
