# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest may send, as the kernel judges it: the real one runs the program, without a network."""

import socket
from ipaddress import ip_network
from itertools import chain, combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbhelper.kernel import bpf
from tests.support import any_frames, sieve_runner, wiles
from tests.support import frames as f
from tests.support.may_pass import Sieve, may_pass
from tests.support.wiles import CASES, Case

GUARDS = ("bpdu", "dhcp-server", "ra", "vlan-tags")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{_setting(case.sieve)}: {case.name}")
def test_what_is_honest_passes_and_what_is_not_is_dropped(case: Case) -> None:
    """Each wile that is known fails, and what it looks like passes; the second telling of the rules agrees."""
    with sieve_runner.running(case.sieve) as runner:
        assert runner.matches(case.frame) == case.passes
    assert may_pass(case.frame, case.sieve) == case.passes


def _setting(sieve: Sieve) -> str:
    if sieve == wiles.EVERYTHING:
        return "everything"
    words = ["macs"] * bool(sieve.macs) + [str(network) for network in sieve.addresses] + sorted(sieve.guards)
    return " ".join(words)


@settings(max_examples=500, deadline=None)
@given(any_frames.SIEVES, st.lists(any_frames.FRAMES, min_size=5, max_size=20))
def test_the_kernel_judges_as_the_rules_are_told_a_second_time(sieve: Sieve, frames: list[bytes]) -> None:
    """For any settings and any frame, the program that the kernel runs and the plain words agree."""
    with sieve_runner.running(sieve) as runner:
        for frame in frames:
            assert runner.matches(frame) == may_pass(frame, sieve), frame.hex(" ")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "10.0.0.0/8"])
def test_an_address_has_to_be_there_where_its_bits_do_not_count(network: str) -> None:
    """A frame that ends in the address is dropped, though what is left of it is in the network."""
    whole = f.ethernet(f.ARP, f.arp("10.0.0.5", "10.0.0.1"), least=0)
    with sieve_runner.running(Sieve(addresses=(ip_network(network),))) as runner:
        assert [runner.matches(whole[:size]) for size in (28, 31, 32)] == [False, False, True]


def test_every_combination_of_settings_makes_a_program_that_the_kernel_takes() -> None:
    """It checks that no jump leaves the program and that no place in memory is read before it is set."""
    for guards in chain.from_iterable(combinations(GUARDS, size) for size in range(len(GUARDS) + 1)):
        for macs, addresses, only_tag in product(
            ((), wiles.MACS.macs),
            ((), wiles.ONLY_IPV4.addresses, wiles.ONLY_IPV6.addresses, wiles.ADDRESSES.addresses),
            (None, f.DOT1Q),
        ):
            with sieve_runner.running(Sieve(macs, addresses, frozenset(guards), only_tag)) as runner:
                assert not runner.matches(b"\0"), "a frame of one byte"


def test_the_kernel_would_refuse_a_program_that_is_wrong() -> None:
    """So the test above says something."""
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    code = bpf.Program()
    code.recall_a(0)
    code.match()
    with receiver, sender, pytest.raises(OSError, match="Invalid argument"):
        sieve_runner.attach(receiver, code.packed())
