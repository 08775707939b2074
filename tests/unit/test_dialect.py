# SPDX-License-Identifier: GPL-2.0-or-later
"""The words that QEMU and libvirt start a bridge helper with, and every other word."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbhelper import dialect
from qbhelper.errors import UsageError
from qbhelper.request import IFNAMSIZ, Request, is_bridge_name

FORBIDDEN = b"\0:/% \t\n\r\f\v\xa0"

bridges = st.binary(min_size=1, max_size=IFNAMSIZ - 1).filter(is_bridge_name)
"""Every name that an interface can have, also those that are no text."""


@given(bridges, st.booleans(), st.integers(0, 2**31 - 1))
def test_what_is_rendered_is_parsed_again(bridge: bytes, vnet_header: bool, fd: int) -> None:
    """A request survives the way through its words unchanged."""
    request, parsed_fd = dialect.parse(dialect.render(Request(bridge, vnet_header), fd))
    assert (request.bridge, request.vnet_header, parsed_fd) == (bridge, vnet_header, fd)


@given(bridges, st.integers(0, 2**31 - 1), st.permutations(["--use-vnet", "--br=", "--fd="]))
def test_the_order_of_the_words_is_free(bridge: bytes, fd: int, order: list[str]) -> None:
    """QEMU's order, libvirt's order and any other mean the same."""
    values = {"--use-vnet": "", "--br=": os.fsdecode(bridge), "--fd=": str(fd)}
    request, parsed_fd = dialect.parse([word + values[word] for word in order])
    assert (request.bridge, request.vnet_header, parsed_fd) == (bridge, True, fd)


def test_qemu_is_answered_in_its_own_order() -> None:
    """What we render is, word by word, what QEMU sends."""
    assert dialect.render(Request(b"br0", True), 8) == ["--use-vnet", "--fd=8", "--br=br0"]
    assert dialect.render(Request(b"br0", False), 8) == ["--fd=8", "--br=br0"]


def test_the_last_word_of_a_kind_counts() -> None:
    """A repeated word replaces the one before it, as in the original."""
    request, fd = dialect.parse(["--br=br0", "--fd=3", "--use-vnet", "--use-vnet", "--br=br1", "--fd=4"])
    assert (request.bridge, request.vnet_header, fd) == (b"br1", True, 4)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--br=br0"],
        ["--fd=3"],
        ["--use-vnet"],
        ["--br=br0", "--fd=3", "--help"],
        ["--br=br0", "--fd=3", "-h"],
        ["--br=br0", "--fd=3", "--"],
        ["--br=br0", "--fd=3", ""],
        ["--br=br0", "--fd=3", "br1"],
        ["--br=br0", "--fd=3", "--use-vnet=1"],
        ["--br=br0", "--fd=3", "--use-vne"],
        ["--br=br0", "--fd=3", "--BR=br0"],
        ["--br", "br0", "--fd=3"],
        ["--br=br0", "--fd", "3"],
    ],
    ids=" ".join,
)
def test_any_other_words_are_a_usage_error(words: list[str]) -> None:
    """A missing word or one that is not known is refused, and the usage is shown first."""
    with pytest.raises(UsageError, match=r"^Usage: qbhelper \[--use-vnet\] --br=bridge --fd=unixfd \("):
        dialect.parse(words)


@pytest.mark.parametrize(
    "number",
    [
        "",
        "abc",
        "-1",
        "+3",
        " 3",
        "3 ",
        "3x",
        "0x3",
        "3.0",
        "1_0",
        "\N{FULLWIDTH DIGIT TWO}",
        "²",
        str(2**31),
        str(2**32 + 3),
        "9" * 99,
    ],
)
def test_only_a_number_is_a_number(number: str) -> None:
    """Whatever the original's atoi would make of a word, only digits up to INT_MAX name an fd."""
    with pytest.raises(UsageError, match="is not the number of a file descriptor"):
        dialect.parse([f"--fd={number}", "--br=br0"])


@pytest.mark.parametrize("length", [16, 17, 255, 4096])
def test_a_name_is_never_cut(length: int) -> None:
    """CVE-2019-13164: a name that no interface can have is refused whole, with the original's words."""
    with pytest.raises(UsageError, match=rf"^name `x{{{length}}}' too long: {length}; "):
        dialect.parse(["--fd=3", "--br=" + "x" * length])


def test_the_longest_name_is_accepted() -> None:
    """Fifteen bytes are a name, counted in bytes and not in letters."""
    request, _ = dialect.parse(["--fd=3", "--br=" + "x" * 15])
    assert request.bridge == b"x" * 15
    with pytest.raises(UsageError, match="too long: 16"):
        dialect.parse(["--fd=3", "--br=" + "é" * 8])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "br0:1", "../br0", "br%d", "br 0", "br0\t", "br0\n", "br0\v"], ids=ascii
)
def test_what_no_bridge_is_called_is_refused(name: str) -> None:
    """A word that the kernel takes for another name of a bridge, or makes one up from, is refused."""
    with pytest.raises(UsageError, match="can't be the name of a bridge"):
        dialect.parse(["--fd=3", f"--br={name}"])


@given(st.binary(max_size=20))
def test_a_name_has_no_forbidden_byte(name: bytes) -> None:
    """What passes for a name is what the kernel's dev_valid_name lets pass, without `:`, `/` and `%`."""
    meant = 0 < len(name) <= 15 and name not in (b".", b"..") and not any(byte in FORBIDDEN for byte in name)
    assert is_bridge_name(name) == meant


any_words = st.binary(max_size=20).map(os.fsdecode)
"""A word of sys.argv may hold any byte."""


@given(st.lists(any_words | st.sampled_from(["--use-vnet", "--br=br0", "--fd=3", "--br=", "--fd="]), max_size=5))
def test_no_words_lead_to_anything_but_a_request_or_a_usage_error(words: list[str]) -> None:
    """Whatever the words are, the answer is a request or one line that can be shown on a terminal."""
    answer = ""
    try:
        dialect.parse(words)
    except UsageError as error:
        answer = str(error)
    assert answer.isprintable()
