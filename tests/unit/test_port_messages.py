# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user reads when a port can't have a setting.  Refusals that take a real bridge are in tests/kernel."""

import errno
import struct

import pytest

from qbhelper.errors import KernelError, QbError, UnsupportedError
from qbhelper.kernel import exchange, port
from qbhelper.kernel.exchange import Refused
from qbhelper.kernel.link import Bridge
from qbhelper.kernel.port import _Step
from qbhelper.policy.port import PortSettings

BR0 = Bridge(7, b"br0", 1500, True)

NOT_SUPPORTED = "this kernel does not support `rate', so `tap0' can't have it"
TAKES = "it takes act_police, or a rule without it"
CASES = {
    "not supported": (
        Refused(errno.ENOENT, "Failed to load TC action module"),
        f"{NOT_SUPPORTED}: No such file or directory (Failed to load TC action module); {TAKES}",
    ),
    "read back otherwise": (
        Refused(errno.EOPNOTSUPP, "it has made something else of it"),
        f"{NOT_SUPPORTED}: Operation not supported (it has made something else of it); {TAKES}",
    ),
    "refused without a word": (
        Refused(errno.EBUSY),
        "failed to set `rate' of `tap0': Device or resource busy; the kernel's log (dmesg) may say more",
    ),
    "the kernel's words are made fit for a terminal": (
        Refused(errno.EBUSY, "\x1b[2J"),
        "failed to set `rate' of `tap0': Device or resource busy (\\x1b[2J); the kernel's log (dmesg) may say more",
    ),
    "no socket": (
        OSError(errno.EMFILE, "Too many open files"),
        "failed to set `rate' of `tap0': Too many open files; the kernel's log (dmesg) may say more",
    ),
    "half an answer": (
        struct.error("unpack requires a buffer of 4 bytes"),
        "failed to set `rate' of `tap0': the kernel's answer makes no sense; the kernel's log (dmesg) may say more",
    ),
    "an answer without what was asked for": (
        KeyError(4),
        "failed to set `rate' of `tap0': the kernel's answer makes no sense; the kernel's log (dmesg) may say more",
    ),
}


@pytest.mark.parametrize(("error", "words"), CASES.values(), ids=CASES)
def test_what_the_kernel_does_not_do_names_the_setting(error: Exception, words: str) -> None:
    """One line: which setting, of which TAP, why, and what to do; for programs, whether this kernel can't do it."""
    with pytest.raises(QbError) as refusal, _Step(b"tap0", "`rate'", "act_police"):
        raise error
    assert str(refusal.value) == words
    assert type(refusal.value) is (UnsupportedError if "does not support" in words else KernelError)


def test_a_programming_error_is_not_explained_away() -> None:
    """Only what the kernel may answer becomes a refusal."""
    with pytest.raises(TypeError), _Step(b"tap0", "`rate'"):
        raise TypeError


def test_the_mtu_is_the_rules_or_else_the_bridges() -> None:
    """And never above the bridge's."""
    assert port.mtu_for(BR0, PortSettings()) == 1500
    assert port.mtu_for(BR0, PortSettings(mtu=1400)) == 1400
    assert port.mtu_for(BR0, PortSettings(mtu=1500)) == 1500
    with pytest.raises(UnsupportedError, match="`mtu' 1501 is above that of bridge `br0', which is 1500"):
        port.mtu_for(BR0, PortSettings(mtu=1501))


@pytest.mark.parametrize("data", [b"\x03\0\x01\0", b"\x09\0\x01\0abcd", b"\x04\0\x01\0\x05\0\x02\0"])
def test_half_an_attribute_is_an_error(data: bytes) -> None:
    """A length that is too small to be one, or that there are no bytes for."""
    with pytest.raises(OSError, match="half a netlink message"):
        list(exchange.attributes(data))


def test_attributes_are_read_in_order_and_as_often_as_they_come() -> None:
    """Padding is not theirs, flags in the type are not its."""
    data = b"\x05\0\x01\x80a\0\0\0" + b"\x08\0\x02\x40abcd" + b"\x04\0\x01\0"
    assert list(exchange.attributes(data)) == [(1, b"a"), (2, b"abcd"), (1, b"")]
