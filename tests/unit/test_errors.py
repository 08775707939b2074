# SPDX-License-Identifier: GPL-2.0-or-later
"""The exception tree, its texts, and what may reach a terminal."""

import errno
import inspect
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbhelper import errors
from qbhelper.wire import Code


def drawn() -> set[str]:
    """The names below QbError in the drawing at the head of the module."""
    assert errors.__doc__ is not None
    return set(re.findall(r"[├└]── (\w+)", errors.__doc__))


def test_the_drawing_is_the_tree() -> None:
    """Each error of the module stands in the drawing, right below QbError, and none that is not there."""
    classes = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception) and kind is not errors.QbError
    }
    assert set(classes) == drawn()
    assert {kind.__bases__ for kind in classes.values()} == {(errors.QbError,)}


def test_the_text_is_what_failed_then_what_to_do() -> None:
    """The remedy follows the failure on the same line, and is left out where there is none."""
    assert str(errors.QbError("it failed", "mend it")) == "it failed; mend it"
    assert str(errors.QbError("it failed")) == "it failed"


def test_each_error_has_a_code_of_the_wire() -> None:
    """The broker could not answer otherwise; and no error is told as a grant, nor as two things."""
    codes = {name: getattr(errors, name).code for name in drawn()}
    assert set(codes.values()) == set(Code.__members__) - {Code.GRANTED.name}
    assert {name for name, code in codes.items() if code == "BUSY"} == {"Busy"}


def test_the_exit_status_is_qemus() -> None:
    """QEMU's helper knows two statuses, and so does ours."""
    assert (errors.EXIT_GRANTED, errors.EXIT_REFUSED) == (0, 1)


@given(st.binary() | st.text())
def test_whatever_is_shown_is_printable(text: bytes | str) -> None:
    """No byte or letter of a name or a file reaches a terminal as anything but a visible character of ASCII."""
    shown = errors.printable(text)
    assert shown.isprintable()
    assert shown.isascii()
    shown.encode()


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_what_is_printable_is_shown_as_it_is(text: str) -> None:
    """Ordinary names are not touched."""
    assert errors.printable(text) == text
    assert errors.printable(text.encode()) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"br0\n", r"br0\n"),
        (b"\x1b[2J", r"\x1b[2J"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\xc2\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff", r"\udcff"),
        ("br\N{NO-BREAK SPACE}0", r"br\xa00"),
        ("brücke", r"br\xfccke"),
        (b"\xc8\x9b2J", r"\u021b2J"),
    ],
    ids=ascii,
)
def test_what_a_terminal_would_obey_is_escaped(text: bytes | str, shown: str) -> None:
    """Escape sequences, their eight-bit forms, direction marks and broken bytes are spelled out."""
    assert errors.printable(text) == shown


def test_a_reason_is_the_systems_own_words() -> None:
    """An OSError is told as perror(3) tells it, also one that has only a number or only a text."""
    assert errors.reason(OSError(errno.EPERM, os.strerror(errno.EPERM))) == "Operation not permitted"
    bare = OSError(errno.ENOENT, "")
    assert errors.reason(bare) == "No such file or directory"
    assert errors.reason(OSError("it broke")) == "it broke"
