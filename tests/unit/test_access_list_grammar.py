# SPDX-License-Identifier: GPL-2.0-or-later
"""The access list line by line: what each line means to the original, and where we refuse."""

import pytest

from qbhelper.errors import AccessListError
from qbhelper.policy.access_list import LINE_MAX, Include, Rule, parse

PATH = "/etc/qemu/bridge.conf"
MEND = "nothing is allowed until the administrator mends it"


def statements(text: bytes) -> list[str]:
    """What the lines say, in words that are easy to compare."""
    said = []
    for statement in parse(text, PATH):
        if isinstance(statement, Include):
            said.append(f"include {statement.path!r}")
        else:
            said.append(f"{'allow' if statement.allow else 'deny'} {statement.bridge!r}")
    return said


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        (b"allow br0", "allow b'br0'"),
        (b"deny br0", "deny b'br0'"),
        (b"allow all", "allow None"),
        (b"deny all", "deny None"),
        (b"allow ALL", "allow b'ALL'"),
        (b"include /etc/qemu/alice.conf", "include b'/etc/qemu/alice.conf'"),
        (b"include alice and bob.conf", "include b'alice and bob.conf'"),
        (b" \t\f\r allow br0", "allow b'br0'"),
        (b"allow\tbr0", "allow b'br0'"),
        (b"allow \t br0\t \f", "allow b'br0'"),
        (b"allow br0\r", "allow b'br0'"),
        (b"allow br0 # mine", "allow b'br0 # mine'"),
        (b"allow br0 br1", "allow b'br0 br1'"),
        (b"allow br0:1", "allow b'br0:1'"),
        (b"allow all br0", "allow b'all br0'"),
        (b"allow ", "allow b''"),
        (b"deny \xff\xc3\xa9", "deny b'\\xff\\xc3\\xa9'"),
        (b"allow " + b"x" * 15, "allow b'xxxxxxxxxxxxxxx'"),
    ],
    ids=ascii,
)
def test_a_line_means_what_it_means_to_the_original(line: bytes, meaning: str) -> None:
    """Each form of a line is understood byte by byte as contract 1.3 has it."""
    assert statements(line) == [meaning]


@pytest.mark.parametrize(
    "line", [b"", b" ", b"\t\r\f", b"#", b"# allow br0", b"  # allow br0", b"#allow br0"], ids=ascii
)
def test_blank_lines_and_comments_say_nothing(line: bytes) -> None:
    """An empty line and one that starts with # are no rules."""
    assert statements(line) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"garbage", "Invalid config line: `garbage'"),
        (b"  allow\r", "Invalid config line: `allow'"),
        (b"Allow br0", "Unknown command `Allow'"),
        (b"permit br0", "Unknown command `permit'"),
        (b"allow\tbr0 # c", r"Unknown command `allow\tbr0'"),
        (b"\vallow br0", r"Unknown command `\x0ballow'"),
        (b"\xef\xbb\xbfallow br0", r"Unknown command `\ufeffallow'"),
        (b"allow\xc2\xa0br0 ", r"Unknown command `allow\xa0br0'"),
        (b"\x1b[2Jallow br0", r"Unknown command `\x1b[2Jallow'"),
        (b"allow " + b"x" * 16, f"name `{'x' * 16}' too long: 16"),
        (b"deny br0 and a lot of words", "name `br0 and a lot of words' too long: 22"),
        (b"deny br0 # why", "deny of `br0 # why', which can't be the name of a bridge"),
        (b"deny ", "deny of `', which can't be the name of a bridge"),
        (b"allow br0\0 deny br0", "NUL byte: the file is damaged"),
        (b"#\0", "NUL byte: the file is damaged"),
        (b"include ", "include without a path"),
        (b"#" * (LINE_MAX + 1), f"line too long: {LINE_MAX + 1} bytes, at most {LINE_MAX}"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_any_other_line_is_an_error_with_its_place(line: bytes, problem: str) -> None:
    """A line that is not understood is named by file and line, in the original's words where it has some."""
    with pytest.raises(AccessListError) as caught:
        statements(b"allow br0\n\n" + line + b"\ndeny br0\n")
    assert str(caught.value) == f"{PATH}:3: {problem}; {MEND}"


def test_the_longest_line_is_read() -> None:
    """A line of exactly LINE_MAX bytes is one line."""
    line = b"allow br0" + b" " * (LINE_MAX - 9)
    assert statements(line + b"\n" + line) == ["allow b'br0'"] * 2


def test_the_tail_of_a_long_comment_is_no_rule() -> None:
    """What the original takes for a rule, the 4096th byte of a comment and on, is refused with its line."""
    with pytest.raises(AccessListError, match=r"bridge\.conf:1: line too long"):
        statements(b"#" + b"." * 4094 + b"allow br0\n")


def test_a_file_needs_no_final_newline() -> None:
    """The last line counts whether or not a newline ends it, and an empty file says nothing."""
    assert statements(b"allow br0\ndeny br1") == statements(b"allow br0\ndeny br1\n")
    assert statements(b"") == []


def test_a_rule_knows_its_place() -> None:
    """Each rule carries the file and the line that it stands on, counted from 1."""
    rules = [rule for rule in parse(b"# mine\n\nallow br0\r\ndeny br1", PATH) if isinstance(rule, Rule)]
    assert [str(rule.place) for rule in rules] == [f"{PATH}:3", f"{PATH}:4"]
