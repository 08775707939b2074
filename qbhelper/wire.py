# SPDX-License-Identifier: GPL-2.0-or-later
"""What helper and broker say to each other: one datagram each way (docs/protocol.md).

Numbers are in the byte order of the machine, as both ends are on it.  Anything that is not exactly as
described here is a WireError, and the broker drops the connection without an answer.
"""

import enum
import struct
from dataclasses import dataclass
from typing import NamedTuple

from qbhelper.lease import is_lease
from qbhelper.request import IFNAMSIZ, Request

SOCKET_PATH = "/run/qbhelper/broker.sock"
MAGIC = b"QBH1"
MESSAGE_MAX = 1000
"""Bytes of text in a reply."""
MACS_TOLD = 55
"""MAC addresses in a reply; there is room for no more of them."""

_REQUEST = struct.Struct(f"=4sHHHH{IFNAMSIZ}s")
_REPLY = struct.Struct(f"=4sHH{IFNAMSIZ}s")
REQUEST_SIZE = _REQUEST.size
REPLY_MAX = _REPLY.size + MESSAGE_MAX
_VNET_HEADER = 0x1
_VHOST = 0x2
_PERSISTENT = 0x4


class Verb(enum.IntEnum):
    """What can be asked."""

    GRANT = 1
    REVOKE = 2
    DETACH = 3


class Code(enum.IntEnum):
    """How it went: for programs; the message beside it is for people."""

    GRANTED = 0
    """Or done, where no port was asked for."""
    NOT_ALLOWED = 1
    QUOTA = 2
    NO_SUCH_BRIDGE = 3
    UNSUPPORTED = 4
    BUSY = 5
    """Nothing was decided: ask again."""
    INTERNAL = 6
    ELSEWHERE = 7
    """This broker makes ports in another network namespace than the caller's."""
    NO_SUCH_LEASE = 8


class WireError(Exception):
    """A datagram that this version does not know."""


@dataclass(frozen=True)
class Ending:
    """Asks to revoke a lease, so that its port is set down for good, or with `detach` to take its port off its bridge.

    lease: its identity, 16 hexadecimal digits.
    """

    lease: str
    detach: bool


Question = Request | Ending
"""What is asked; a Request is for a grant."""


class Reply(NamedTuple):
    """An answer as it travels beside its `fds` fds, which SCM_RIGHTS carries.  A tuple: one is made for each port."""

    code: Code
    fds: int
    interface: bytes
    message: str


def pack_question(question: Question) -> bytes:
    """Return the datagram that asks `question`."""
    if isinstance(question, Ending):
        return _REQUEST.pack(MAGIC, Verb.DETACH if question.detach else Verb.REVOKE, 0, 0, 0, question.lease.encode())
    flags = _VNET_HEADER if question.vnet_header else 0
    flags |= (_VHOST if question.vhost else 0) | (_PERSISTENT if question.persistent else 0)
    return _REQUEST.pack(MAGIC, Verb.GRANT, flags, question.queues, 0, question.bridge)


def parse_question(datagram: bytes) -> Question:
    """Return the question in a datagram.  Raises WireError for one byte too few, too many or unknown."""
    if len(datagram) != REQUEST_SIZE:
        raise WireError(f"{len(datagram)} bytes, not {REQUEST_SIZE}")
    magic, verb, flags, queues, zero, subject = _REQUEST.unpack(datagram)
    if magic != MAGIC or zero:
        raise WireError("unknown version or field")
    if verb == Verb.GRANT:
        if flags & ~(_VNET_HEADER | _VHOST | _PERSISTENT) or not queues:
            raise WireError("unknown flag, or no queue")
        return Request(
            _parse_name(subject),
            bool(flags & _VNET_HEADER),
            queues,
            vhost=bool(flags & _VHOST),
            persistent=bool(flags & _PERSISTENT),
        )
    if verb not in Verb.__members__.values():
        raise WireError(f"unknown verb {verb}")
    if flags or queues or not is_lease(subject):
        raise WireError("no lease, or more than a lease")
    return Ending(subject.decode(), verb == Verb.DETACH)


def pack_reply(reply: Reply) -> bytes:
    """Return the datagram that gives `reply`; a message that is too long is cut at a character."""
    text = reply.message.encode("utf-8", "backslashreplace")[:MESSAGE_MAX].decode("utf-8", "ignore").encode()
    return _REPLY.pack(MAGIC, reply.code, reply.fds, reply.interface) + text


def parse_reply(datagram: bytes) -> Reply:
    """Return the reply in a datagram.  Raises WireError as `parse_question` does."""
    if not _REPLY.size <= len(datagram) <= REPLY_MAX:
        raise WireError(f"{len(datagram)} bytes")
    magic, code, fds, name = _REPLY.unpack_from(datagram)
    if magic != MAGIC or code not in Code.__members__.values():
        raise WireError("unknown version or code")
    try:
        message = datagram[_REPLY.size :].decode()
    except UnicodeDecodeError as error:
        raise WireError("the message is not UTF-8") from error
    return Reply(Code(code), fds, name.rstrip(b"\0"), message)


def _parse_name(field: bytes) -> bytes:
    name, _, rest = field.partition(b"\0")
    if len(name) == IFNAMSIZ or rest.strip(b"\0"):
        raise WireError("a name without its end, or with something behind it")
    return name
