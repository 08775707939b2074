# SPDX-License-Identifier: GPL-2.0-or-later
"""Classic BPF: what the kernel runs on each frame, or message (linux/filter.h, Documentation/networking/filter.rst).

A machine with an accumulator A, an index register X and 16 words of memory, that can only jump forward.  A load from
behind the end of the frame ends the program with 0.
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_INSTRUCTION = struct.Struct("=HBBI")
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_WORD, _HALF, _BYTE = 0x00, 0x08, 0x10
_IMMEDIATE, _ABSOLUTE, _INDIRECT, _MEMORY = 0x00, 0x20, 0x40, 0x60
_ADD, _OR, _AND, _LEFT, _RIGHT, _XOR = 0x00, 0x40, 0x50, 0x60, 0x70, 0xA0
_ALWAYS, _EQUAL, _GREATER, _AT_LEAST, _ANY_BIT = 0x00, 0x10, 0x20, 0x30, 0x40
_WITH_X = 0x08
_TAX, _TXA = 0x00, 0x80

_SIZES = {1: _BYTE, 2: _HALF, 4: _WORD}

VLAN_TAG_PRESENT = 0xFFFFF000 + 48
VLAN_PROTOCOL = 0xFFFFF000 + 60
"""Where `load` finds what the kernel has taken off the frame: whether it had a tag, and the tag's EtherType."""

NETLINK_ATTRIBUTE = 0xFFFFF000 + 12
NETLINK_NESTED = 0xFFFFF000 + 16
"""What `load` can do with a netlink message: A = where there is an attribute of type X, among those that begin at A,
or in the attribute at A; 0 if there is none."""

MOST_BYTES = 4000 * 8
"""Of a program.  The kernel takes 4096 instructions (BPF_MAXINSNS), but shows no more than 32 KiB of anything."""

MATCH, NO_MATCH = 0xFFFFFFFF, 0
"""What a program returns, for tc's classifier as for a socket."""


class Program:
    """A program as it is written, from the first instruction to the last.  Labels are words of the writer's choice."""

    __slots__ = ("_code", "_fresh", "_labels")

    def __init__(self) -> None:
        self._code: Final[list[tuple[int, int, int, int | str]]] = []
        self._labels: Final[dict[str, int]] = {}
        self._fresh = 0

    def load(self, offset: int, size: int = 4) -> None:
        """A = the number of `size` bytes at `offset` of the frame."""
        self._add(_LD | _SIZES[size] | _ABSOLUTE, offset)

    def load_at_x(self, offset: int, size: int = 4) -> None:
        """A = the number of `size` bytes at X + `offset` of the frame."""
        self._add(_LD | _SIZES[size] | _INDIRECT, offset)

    def set_a(self, number: int) -> None:
        """A = number."""
        self._add(_LD | _IMMEDIATE, number)

    def set_x(self, number: int) -> None:
        """X = number."""
        self._add(_LDX | _IMMEDIATE, number)

    def recall_a(self, place: int) -> None:
        """A = memory."""
        self._add(_LD | _MEMORY, place)

    def recall_x(self, place: int) -> None:
        """X = memory."""
        self._add(_LDX | _MEMORY, place)

    def store_a(self, place: int) -> None:
        """Memory = A."""
        self._add(_ST, place)

    def store_x(self, place: int) -> None:
        """Memory = X."""
        self._add(_STX, place)

    def add(self, number: int) -> None:
        """A += number."""
        self._add(_ALU | _ADD, number)

    def add_x(self) -> None:
        """A += X."""
        self._add(_ALU | _ADD | _WITH_X, 0)

    def mask(self, number: int) -> None:
        """A &= number."""
        self._add(_ALU | _AND, number)

    def set_bits(self, number: int) -> None:
        """A |= number."""
        self._add(_ALU | _OR, number)

    def flip_bits(self, number: int) -> None:
        """A ^= number."""
        self._add(_ALU | _XOR, number)

    def shift_left(self, bits: int) -> None:
        """A <<= bits."""
        self._add(_ALU | _LEFT, bits)

    def a_to_x(self) -> None:
        """X = A."""
        self._add(_MISC | _TAX, 0)

    def x_to_a(self) -> None:
        """A = X."""
        self._add(_MISC | _TXA, 0)

    def go(self, label: str) -> None:
        """Go on at a label further down."""
        self._add(_JMP | _ALWAYS, label)

    def if_equal(self, number: int, label: str) -> None:
        """If A == number, go on at a label."""
        self._when(_EQUAL, number, label)

    def unless_equal(self, number: int, label: str) -> None:
        """If A != number, go on at a label."""
        self._when(_EQUAL, number, label, unless=True)

    def unless_equal_to_x(self, label: str) -> None:
        """If A != X, go on at a label."""
        self._when(_EQUAL | _WITH_X, 0, label, unless=True)

    def if_equal_to_x(self, label: str) -> None:
        """If A == X, go on at a label."""
        self._when(_EQUAL | _WITH_X, 0, label)

    def if_less(self, number: int, label: str) -> None:
        """If A < number, go on at a label."""
        self._when(_AT_LEAST, number, label, unless=True)

    def if_less_than_x(self, label: str) -> None:
        """If A < X, go on at a label."""
        self._when(_AT_LEAST | _WITH_X, 0, label, unless=True)

    def if_any_bit(self, bits: int, label: str) -> None:
        """If A & bits, go on at a label."""
        self._when(_ANY_BIT, bits, label)

    def label(self, label: str) -> None:
        """The instruction that follows is where jumps to this label go."""
        self._labels[label] = len(self._code)

    def match(self) -> None:
        """End: the frame is one of those meant."""
        self._add(_RET, MATCH)

    def no_match(self) -> None:
        """End: it is not."""
        self._add(_RET, NO_MATCH)

    def new_label(self) -> str:
        """Return a label that nobody else uses."""
        self._fresh += 1
        return f"label {self._fresh}"

    def packed(self) -> bytes:
        """Return the program as the kernel takes it: struct sock_filter, one after another."""
        return b"".join(
            _INSTRUCTION.pack(code, when_true, when_false, self._resolve(number, k))
            for number, (code, when_true, when_false, k) in enumerate(self._code)
        )

    def _resolve(self, number: int, k: "int | str") -> int:
        return k if isinstance(k, int) else self._labels[k] - number - 1

    def _add(self, code: int, k: "int | str", when_true: int = 0, when_false: int = 0) -> None:
        self._code.append((code, when_true, when_false, k))

    def _when(self, condition: int, k: int, label: str, *, unless: bool = False) -> None:
        # A condition skips at most 255 instructions, a jump any number; so it skips the jump, or does not.
        self._add(_JMP | condition, k, *((1, 0) if unless else (0, 1)))
        self.go(label)
