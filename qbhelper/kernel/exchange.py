# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to rtnetlink for the settings of a port, with the kernel's own words for what it does not do.

Not by pyroute2: that takes 300 ms to import while QEMU stands still, packs no classic BPF, and hides what the kernel
says behind exceptions that differ between the versions that distributions have.  These messages are small.
"""

import errno
import os
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW
from _socket import socket as Socket  # noqa: N812

from qbhelper.kernel.message import (
    HALF,
    INTERRUPTED,
    NETLINK_ROUTE,
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    error_in,
    messages,
    pack,
    until_whole,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NLMSGERR_ATTR_MSG = 1

_RECEIVE = 1 << 16
"""Bytes.  What was offered once is what the kernel fills in a dump later, so the longest filter fits."""
_ERROR_SIZE = 20
"""Of an errno and the header of the message that it is about; with NETLINK_CAP_ACK no more of it is repeated."""
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""


class Refused(OSError):
    """The kernel's answer to a request that it does not do.  `words`: what it says about that, or empty."""

    def __init__(self, code: int, words: str = "") -> None:
        super().__init__(code, os.strerror(code))
        self.words: Final = words


def require_same(found: object, wanted: object) -> None:
    """Raise Refused unless what was read back is what was asked for.  Old kernels pass over what they do not know."""
    if found != wanted:
        raise Refused(errno.EOPNOTSUPP, "it has made something else of it")


class Exchange:
    """A netlink socket.  A context manager: leaving it closes the socket."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self) -> None:
        self._socket = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        """Send a request, and return the payloads that the kernel answers with before it says that all is done.

        Raises Refused, or another OSError if the conversation itself fails; InterruptedError if that is a dump, and
        what it is about came and went all the while.
        """
        return until_whole(lambda: self._ask_once(kind, body, flags))

    def _ask_once(self, kind: int, body: bytes, flags: int) -> list[bytes]:
        self._sequence += 1
        self._socket.send(pack(kind, flags | NLM_F_ACK, self._sequence, body))
        payloads = []
        is_whole = True
        for kind_of_answer, flags_of_answer, payload in self._answers():
            is_whole = is_whole and not flags_of_answer & NLM_F_DUMP_INTR
            if kind_of_answer in (NLMSG_ERROR, NLMSG_DONE):  # the second ends a dump, and may tell of an error, too
                if code := error_in(payload):
                    raise Refused(code, _words(payload))
                break
            payloads.append(payload)
        if not is_whole:
            raise InterruptedError(errno.EINTR, INTERRUPTED)
        return payloads

    def _answers(self) -> "Iterator[tuple[int, int, bytes]]":
        while True:
            data = self._socket.recv(_RECEIVE)
            if not data:
                raise OSError(errno.EBADMSG, HALF)
            for kind, flags, sequence, payload in messages(data):
                if sequence == self._sequence:
                    yield kind, flags, payload


def attributes(data: bytes, start: int = 0) -> "Iterator[tuple[int, bytes]]":
    """Yield type and value of each attribute that stands in `data` from `start` on.  Raises OSError (EBADMSG)."""
    while len(data) - start >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if not _ATTRIBUTE.size <= length <= len(data) - start:
            raise OSError(errno.EBADMSG, HALF)
        yield kind & _TYPE_MASK, data[start + _ATTRIBUTE.size : start + length]
        start += length + -length % 4


def _words(payload: bytes) -> str:
    words = dict(attributes(payload, _ERROR_SIZE)).get(NLMSGERR_ATTR_MSG, b"")
    return words.rstrip(b"\0").decode("utf-8", "replace")
