# SPDX-License-Identifier: GPL-2.0-or-later
"""What reads bytes of others, fed with any bytes: it answers, or raises what it says that it raises.

Found by hypothesis, which keeps failing cases in its database; the examples are seeds that are always run.
"""

import struct
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from qbhelper import wire
from qbhelper.errors import AccessListError, QbError
from qbhelper.kernel import message
from qbhelper.lease import Lease, parse_alias
from qbhelper.policy import access_list
from qbhelper.policy.access_list import Include, Rule
from qbhelper.request import IFNAMSIZ, Request

QUESTION = wire.pack_question(Request(b"br0", True))
ENDING = wire.pack_question(wire.Ending("0123456789abcdef", False))
REPLY = wire.pack_reply(wire.Reply(wire.Code.NOT_ALLOWED, 0, b"", "no"))
ALIAS = Lease("0123456789abcdef", 61234, 1, 1700000000, 1, None).alias()


def mutations(whole: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that are much like `whole`: some of it, or all with some bytes changed."""

    def changed(changes: list[tuple[int, int]]) -> bytes:
        data = bytearray(whole)
        for place, byte in changes:
            data[place % len(data)] = byte
        return bytes(data)

    places = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    return st.one_of(
        st.lists(places, max_size=4).map(changed),
        st.integers(0, len(whole)).map(lambda end: whole[:end]),
        st.binary(max_size=64).map(lambda more: whole + more),
        st.binary(max_size=len(whole) * 2),
    )


@settings(max_examples=2000)
@given(mutations(QUESTION) | mutations(ENDING))
@example(QUESTION)
@example(ENDING)
@example(b"")
@example(bytes(28))
@example(QUESTION[:12] + b"x" * 16)
def test_a_question_is_exact_or_an_error(datagram: bytes) -> None:
    """What is accepted is what would be written again, byte for byte: there is one way to ask a thing."""
    try:
        question = wire.parse_question(datagram)
    except wire.WireError:
        return
    assert wire.pack_question(question) == datagram
    if isinstance(question, Request):
        assert len(question.bridge) < IFNAMSIZ
        assert question.queues > 0


@settings(max_examples=2000)
@given(mutations(REPLY))
@example(REPLY)
@example(REPLY + b"\xff")
@example(REPLY[:24])
def test_a_reply_is_understood_or_an_error(datagram: bytes) -> None:
    """A helper in Python could not be brought to more than an error by a broken broker."""
    with suppress(wire.WireError):
        reply = wire.parse_reply(datagram)
        assert len(wire.pack_reply(reply)) <= wire.REPLY_MAX


@given(st.text(), st.sampled_from(wire.Code), st.binary(max_size=15))
@example("\ud800" * 2000, wire.Code.BUSY, b"")
def test_every_message_can_be_sent(message: str, code: wire.Code, name: bytes) -> None:
    """Whatever is in a message, the reply that carries it is within its bounds and can be read."""
    datagram = wire.pack_reply(wire.Reply(code, 0, name, message))
    assert len(datagram) <= wire.REPLY_MAX
    assert wire.parse_reply(datagram).code is code


WORDS = st.sampled_from(
    [b"allow", b"deny", b"include", b"all", b"br0", b" ", b"\t", b"\n", b"\r", b"\f", b"\v", b"#", b"\0", b"/", b"\xff"]
)
LISTS = st.one_of(st.binary(max_size=200), st.lists(WORDS, max_size=40).map(b"".join))


@settings(max_examples=2000)
@given(LISTS)
@example(b"allow br0\ninclude \n")
@example(b"#" * 4096)
@example(b"allow br0\0\n")
@example(b"allow  \nallow\tbr0\n")
def test_an_access_list_is_understood_or_an_error(text: bytes) -> None:
    """Any bytes are statements with a place, or an AccessListError that names the line."""
    statements: list[Rule | Include] = []
    message = "list:"
    try:
        statements += access_list.parse(text, "list")
    except AccessListError as error:
        message = str(error)
    assert message.startswith("list:")
    for statement in statements:
        assert isinstance(statement, Rule | Include)
        assert 1 <= statement.place.line <= text.count(b"\n") + 1


NAMES = [b"/a", b"/b", b"/d/c", b"/d/e"]
INCLUDING = st.lists(
    st.one_of(
        st.sampled_from([b"include " + name for name in (*NAMES, b"a", b"../b", b"d/c", b"missing", b"/d")]),
        st.sampled_from([b"allow br0", b"deny br0", b"allow all", b"nonsense"]),
    ),
    max_size=5,
).map(b"\n".join)


@settings(max_examples=1000)
@given(st.lists(INCLUDING, min_size=4, max_size=4), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_loading_ends_with_rules_or_an_error(texts: list[bytes], fates: list[int]) -> None:
    """Loops, missing and closed files, and files that fail: loading ends, and raises nothing else."""
    opened = 0

    def read(path: bytes) -> bytes:
        nonlocal opened
        opened += 1
        if path not in NAMES:
            raise FileNotFoundError(2, "No such file or directory")
        index = NAMES.index(path)
        if fates[index] == 1:
            raise PermissionError(13, "Permission denied")
        if fates[index] == 2 and index:
            raise OSError(5, "Input/output error")
        return texts[index]

    with suppress(QbError, OSError):
        access_list.load(b"/a", read).decide(b"br0")
    assert opened <= 1 + 5 * len(NAMES)


def attribute(kind: int, value: bytes) -> bytes:
    """Return a netlink attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


ABOUT = attribute(1, b"tun\0") + attribute(2, attribute(1, bytes(4)) + attribute(6, b"\1")) + attribute(4, b"bridge\0")
LINK = (
    struct.pack("=BxHiII", 0, 1, 5, 0, 0)
    + attribute(3, b"tap0\0")
    + attribute(10, b"\2\0\0\0")
    + attribute(20, ALIAS + b"\0")
    + attribute(18, ABOUT)
)
MESSAGE = struct.pack("=IHHII", 16 + len(LINK), 16, 0, 1, 0) + LINK


@settings(max_examples=2000)
@given(mutations(MESSAGE + MESSAGE))
@example(MESSAGE)
@example(b"\0" * 16)
@example(MESSAGE[:20])
@example(struct.pack("=IHHII", 0xFFFFFFFF, 16, 0, 1, 0) + LINK)
def test_a_netlink_message_is_understood_or_an_error(data: bytes) -> None:
    """No message makes the parser loop, read behind its end, or raise anything but OSError and struct.error."""
    with suppress(OSError, struct.error):
        for _, _, _, payload in message.messages(data):
            link = message.parse_link(payload)
            assert of_state(message.parse_state(payload)) == of_state(link)


def test_a_whole_netlink_message_is_understood() -> None:
    """The message that the others are made from is a TAP with a lease."""
    ((kind, _, sequence, payload),) = message.messages(MESSAGE)
    link = message.parse_link(payload)
    assert (kind, sequence) == (message.RTM_NEWLINK, 1)
    assert (link.name, link.kind, link.alias, link.master) == (b"tap0", b"tun", ALIAS, 2)
    assert (link.owner, link.group, link.persistent) == (0, None, True)
    assert of_state(message.parse_state(payload)) == of_state(link) == (5, b"tap0", ALIAS, 2, False, b"bridge")


def of_state(state: message.LinkState) -> tuple[int, bytes, bytes, int, bool, bytes]:
    """All that a state tells."""
    return state.index, state.name, state.alias, state.master, state.up, state.master_kind


@settings(max_examples=2000)
@given(mutations(ALIAS))
@example(ALIAS)
@example(ALIAS + b"\n")
@example(ALIAS.replace(b"61234", "\u0661".encode()))
def test_an_alias_is_exact_or_foreign(alias: bytes) -> None:
    """What is taken for a lease of ours begins as ours do and holds what a lease holds; the rest is foreign."""
    lease = parse_alias(alias)
    if lease is not None:
        assert alias.startswith(b"qbhelper lease=")
        assert lease.alias() == alias
