# SPDX-License-Identifier: GPL-2.0-or-later
"""The few rtnetlink requests that every port needs (rtnetlink(7)).

Settings of a port are asked for in exchange.py.  Here every request counts: QEMU waits for them.
"""

import errno
import os
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW
from _socket import socket as Socket  # noqa: N812
from fcntl import ioctl

from qbhelper.kernel.message import (
    HALF,
    NETLINK_ROUTE,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NO_STATISTICS,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_SETLINK,
    Link,
    LinkState,
    by_name,
    error_in,
    ifinfo,
    messages,
    of_kind,
    pack,
    parse_link,
    parse_state,
    until_whole,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


_RECEIVE = 1 << 18
"""Bytes; larger than any single read of a dump that the kernel makes."""

SIOCGIFNAME = 0x8910
SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("=16si20x")
"""struct ifreq of netdevice(7): a name, then an index or an MTU, in a union as large as that of any ABI."""


class Links:
    """Requests about interfaces, each answered before the call returns.  Errors are OSError, as the kernel has them."""

    __slots__ = ("_buffer", "_sequence", "_socket")

    def __init__(self) -> None:
        # Once: a buffer of this size for each answer would be mapped into memory anew each time.
        self._buffer = memoryview(bytearray(_RECEIVE))
        self._socket = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def find(self, name: bytes) -> Link | None:
        """Describe the interface of this name, or altname; None if there is none.

        Not by ioctl: with CAP_NET_ADMIN that would have the kernel load a module called netdev-NAME.
        """
        return self._one(by_name(name) + NO_STATISTICS)

    def get(self, index: int) -> Link | None:
        """Describe one interface; None if it is gone."""
        return self._one(ifinfo(index) + NO_STATISTICS)

    def name_of(self, index: int) -> bytes | None:
        """Return what the interface of this index is called; None if it is gone.

        By ioctl, as `mtu_of`: that is much faster than to have all of it described.
        """
        answer = self._ioctl(SIOCGIFNAME, b"", index)
        return None if answer is None else answer[0].rstrip(b"\0")

    def mtu_of(self, name: bytes) -> int | None:
        """Return the MTU, in bytes, of an interface that was there just now; None if it is gone.

        By its name, which `find` avoids: the kernel looks for no module while there is an interface of that name.
        """
        answer = self._ioctl(SIOCGIFMTU, name, 0)
        return None if answer is None else answer[1]

    def _ioctl(self, request: int, name: bytes, number: int) -> tuple[bytes, int] | None:
        try:
            found, answer = _IFREQ.unpack(ioctl(self._socket, request, _IFREQ.pack(name, number)))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return found, answer

    def dump(self) -> list[Link]:
        """Describe every interface of the network namespace.

        Raises InterruptedError if interfaces came and went all the while: some may be missing.
        """
        return self._dump(ifinfo(0) + NO_STATISTICS)

    def dump_taps(self, needles: tuple[bytes, ...]) -> list[Link]:
        """Describe the TAPs, and tuns, in whose description one of these bytes stand.

        Raises InterruptedError as `dump` does.
        """
        return self._dump(ifinfo(0) + NO_STATISTICS + of_kind(b"tun"), needles)

    def set(self, body: bytes) -> None:
        """Set what is in the body of a request, as `by_name` and `ifinfo` make them."""
        self._ask((RTM_SETLINK, NLM_F_ACK, body))

    def set_and_get(self, get: bytes, *sets: bytes) -> LinkState:
        """Set what is in each of `sets`, in this order; return what has become of the interface that `get` is about.

        All in one round trip.
        """
        questions = [(RTM_SETLINK, 0, body) for body in sets]
        return parse_state(self._ask(*questions, (RTM_GETLINK, 0, get + NO_STATISTICS))[0])

    def delete(self, index: int) -> None:
        """Delete an interface, whoever holds it open."""
        self._ask((RTM_DELLINK, NLM_F_ACK, ifinfo(index)))

    def _dump(self, body: bytes, needles: tuple[bytes, ...] = ()) -> list[Link]:
        found = until_whole(lambda: self._ask((RTM_GETLINK, NLM_F_DUMP, body), needles=needles))
        return [parse_link(payload) for payload in found]

    def _one(self, body: bytes) -> Link | None:
        try:
            return parse_link(self._ask((RTM_GETLINK, 0, body))[0])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def _ask(self, *questions: "tuple[int, int, bytes]", needles: tuple[bytes, ...] = ()) -> list[bytes]:
        """Send questions (type, flags, body) together; return the descriptions of interfaces in the answer to the last.

        Raises the error of the first that has one.  Of a dump, only what has one of `needles` in it, if given.
        """
        first, last = self._sequence + 1, self._sequence + len(questions)
        self._sequence = last
        is_dump = questions[-1][1] == NLM_F_DUMP
        numbered = enumerate(questions, first)
        self._socket.send(b"".join([pack(kind, flags, number, body) for number, (kind, flags, body) in numbered]))
        descriptions: list[bytes] = []
        problem = 0
        for kind, flags, number, payload in self._answers():
            if number < first:
                continue  # the rest of an answer that somebody stopped waiting for
            if flags & NLM_F_DUMP_INTR:
                problem = errno.EINTR
            if kind in (NLMSG_ERROR, NLMSG_DONE):  # the second ends a dump, and may tell of an error, too
                problem = problem or error_in(payload)
            else:
                if not needles or any(needle in payload for needle in needles):
                    descriptions.append(payload)
                if is_dump:
                    continue
            if number == last:
                break
        if problem:
            raise OSError(problem, os.strerror(problem))
        return descriptions

    def _answers(self) -> "Iterator[tuple[int, int, int, bytes]]":
        while True:
            data = bytes(self._buffer[: self._socket.recv_into(self._buffer)])
            if not data:
                raise OSError(errno.EBADMSG, HALF)
            yield from messages(data)
