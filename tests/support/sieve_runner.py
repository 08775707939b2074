# SPDX-License-Identifier: GPL-2.0-or-later
"""Has the kernel run the program of a sieve, without any network: as the filter of a socket that we send frames to."""

import ctypes
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from qbhelper.kernel.sieve import ethernet
from tests.support.may_pass import Sieve

SO_ATTACH_FILTER = 26


def program(sieve: Sieve) -> bytes:
    """The program that qbhelper makes of it."""
    return ethernet.program(macs=sieve.macs, addresses=sieve.addresses, guards=sieve.guards, only_tag=sieve.only_tag)


def attach(receiver: socket.socket, code: bytes) -> None:
    """Make this program the filter of a socket; OSError (EINVAL) if the kernel finds it to be no program."""
    buffer = ctypes.create_string_buffer(code, len(code))
    receiver.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    )


class Runner:
    """A program that is attached."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self._sender = sender
        self._receiver = receiver

    def matches(self, frame: bytes) -> bool:
        """Whether the program matches a frame."""
        self._sender.send(frame)
        try:
            assert self._receiver.recv(len(frame) + 1) == frame, "the program has cut the frame"
        except BlockingIOError:
            return False
        return True


@contextmanager
def running(sieve: Sieve) -> Iterator[Runner]:
    """A sieve's program, attached for the time of the block."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        attach(receiver, program(sieve))
        yield Runner(sender, receiver)
