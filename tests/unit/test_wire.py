# SPDX-License-Identifier: GPL-2.0-or-later
"""The datagrams between helper and broker: exactly as docs/protocol.md has them, or an error."""

import struct

import pytest

from qbhelper import wire
from qbhelper.request import Request
from qbhelper.wire import Code, Ending, Reply, WireError

WHOLE = struct.pack("=4sHHHH16s", b"QBH1", 1, 1, 1, 0, b"br0")


def test_a_question_is_packed_as_documented() -> None:
    """Magic, verb, flags, queues, zero, and the name filled up with NUL bytes."""
    assert wire.pack_question(Request(b"br0", True)) == WHOLE


@pytest.mark.parametrize("name", [b"", b"b", b"br0", b"x" * 15, b"\xff\xfe", b"br 0", b"br:0\n"])
@pytest.mark.parametrize("vnet", [True, False])
@pytest.mark.parametrize("queues", [1, 2, 65535])
def test_a_question_arrives_as_it_was_asked(name: bytes, vnet: bool, queues: int) -> None:
    """What is packed is parsed; whether a name makes sense is for others to say."""
    question = wire.parse_question(wire.pack_question(Request(name, vnet, queues)))
    assert isinstance(question, Request)
    assert (question.bridge, question.vnet_header, question.queues) == (name, vnet, queues)
    assert not question.vhost
    assert not question.persistent


@pytest.mark.parametrize(("vhost", "persistent"), [(True, False), (False, True), (True, True)])
def test_what_a_port_is_asked_to_come_with_arrives(vhost: bool, persistent: bool) -> None:
    """Each flag is its own."""
    question = wire.parse_question(wire.pack_question(Request(b"br0", False, vhost=vhost, persistent=persistent)))
    assert isinstance(question, Request)
    assert (question.vnet_header, question.vhost, question.persistent) == (False, vhost, persistent)


@pytest.mark.parametrize("detach", [False, True])
def test_an_ending_arrives_as_it_was_asked(detach: bool) -> None:
    """By the whole identity of a lease, in the place of a bridge's name."""
    ending = Ending("0123456789abcdef", detach)
    datagram = struct.pack("=4sHHHH16s", b"QBH1", 3 if detach else 2, 0, 0, 0, b"0123456789abcdef")
    assert wire.pack_question(ending) == datagram
    assert wire.parse_question(datagram) == ending


@pytest.mark.parametrize("length", [0, 1, 4, 27, 29, 1000, 70000])
def test_a_question_of_another_length_is_an_error(length: int) -> None:
    """One byte too few or too many is another protocol."""
    with pytest.raises(WireError):
        wire.parse_question((WHOLE * 3000)[:length])


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((b"QBH2", 1, 1, 1, 0, b"br0"), id="version"),
        pytest.param((b"QBH1", 0, 1, 1, 0, b"br0"), id="verb 0"),
        pytest.param((b"QBH1", 4, 1, 1, 0, b"br0"), id="verb 4"),
        pytest.param((b"QBH1", 2, 0, 0, 0, b"br0"), id="an ending of no lease"),
        pytest.param((b"QBH1", 2, 0, 0, 0, b"0123456789abcde"), id="an ending of half a lease"),
        pytest.param((b"QBH1", 2, 0, 0, 0, b"0123456789ABCDEF"), id="a lease in capitals"),
        pytest.param((b"QBH1", 2, 0, 0, 0, b"\xff" * 16), id="a lease of other bytes"),
        pytest.param((b"QBH1", 2, 1, 0, 0, b"0123456789abcdef"), id="an ending with a flag"),
        pytest.param((b"QBH1", 3, 0, 1, 0, b"0123456789abcdef"), id="an ending with queues"),
        pytest.param((b"QBH1", 3, 0, 0, 1, b"0123456789abcdef"), id="an ending that is not zero"),
        pytest.param((b"QBH1", 0x100, 1, 1, 0, b"br0"), id="verb in the wrong byte order"),
        pytest.param((b"QBH1", 1, 8, 1, 0, b"br0"), id="flag"),
        pytest.param((b"QBH1", 1, 0x8001, 1, 0, b"br0"), id="high flag"),
        pytest.param((b"QBH1", 1, 1, 0, 0, b"br0"), id="no queue"),
        pytest.param((b"QBH1", 1, 1, 1, 1, b"br0"), id="not zero"),
        pytest.param((b"QBH1", 1, 1, 1, 0, b"x" * 16), id="name without an end"),
        pytest.param((b"QBH1", 1, 1, 1, 0, b"br0\0br1"), id="two names"),
        pytest.param((b"QBH1", 1, 1, 1, 0, b"\0br0"), id="something behind no name"),
    ],
)
def test_an_unknown_value_is_an_error(fields: tuple[object, ...]) -> None:
    """Nothing that this version does not know is passed over."""
    with pytest.raises(WireError):
        wire.parse_question(struct.pack("=4sHHHH16s", *fields))


@pytest.mark.parametrize("code", Code)
@pytest.mark.parametrize("message", ["", "access denied: ask ä\u20ac\U0001f600", "x" * wire.MESSAGE_MAX])
def test_a_reply_arrives_as_it_was_given(code: Code, message: str) -> None:
    """Code, number of fds, name and message."""
    reply = Reply(code, 1, b"tap12", message)
    assert wire.parse_reply(wire.pack_reply(reply)) == reply


@pytest.mark.parametrize("letter", ["x", "ä", "\u20ac", "\U0001f600"])
@pytest.mark.parametrize("before", range(4))
def test_a_long_message_is_cut_at_a_character(letter: str, before: int) -> None:
    """A reply is never longer than 1024 bytes, and its text is still text."""
    datagram = wire.pack_reply(Reply(Code.NOT_ALLOWED, 0, b"", "." * before + letter * 2000))
    assert wire.REPLY_MAX - 4 < len(datagram) <= wire.REPLY_MAX == 1024
    assert set(wire.parse_reply(datagram).message[before:]) == {letter}


def test_a_message_that_is_no_text_is_escaped() -> None:
    """A lone surrogate, as os.fsdecode makes of a bad byte, does not keep a reply from being sent."""
    assert wire.parse_reply(wire.pack_reply(Reply(Code.INTERNAL, 0, b"", "a\udcffb"))).message == "a\\udcffb"


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"QBH1",
        struct.pack("=4sHH16s", b"QBH2", 0, 0, b""),
        struct.pack("=4sHH16s", b"QBH1", 9, 0, b""),
        struct.pack("=4sHH16s", b"QBH1", 0xFFFF, 0, b""),
        struct.pack("=4sHH16s", b"QBH1", 0, 0, b"")[:-1],
        struct.pack("=4sHH16s", b"QBH1", 1, 0, b"") + b"\xff",
        struct.pack("=4sHH16s", b"QBH1", 1, 0, b"") + b"x" * 1001,
    ],
)
def test_a_reply_of_another_form_is_an_error(datagram: bytes) -> None:
    """Too short, too long, another version, an unknown code, a message that is no UTF-8."""
    with pytest.raises(WireError):
        wire.parse_reply(datagram)
