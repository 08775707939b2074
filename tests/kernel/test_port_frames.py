# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest sends, at packet level: the rule is there, what is not allowed is seen nowhere, and nothing is left."""

import struct
from bisect import bisect
from ipaddress import ip_network

import pytest

from qbhelper.errors import UnsupportedError
from qbhelper.kernel import bpf
from qbhelper.kernel.traffic import RETURN_ALL
from qbhelper.policy.port import PortSettings
from tests.support import frames, full_kernel, lan, left, sieve_runner, wiles, world
from tests.support.lan import Port
from tests.support.may_pass import Sieve
from tests.support.wiles import CASES

pytestmark = full_kernel.marks()

SETTINGS = {
    "macs": wiles.MACS,
    "addresses": wiles.ADDRESSES,
    "addresses of IPv4": wiles.ONLY_IPV4,
    "addresses of IPv6": wiles.ONLY_IPV6,
    "guard bpdu": wiles.BPDU,
    "guard dhcp-server": wiles.DHCP_SERVER,
    "guard ra": wiles.RA,
    "guard vlan-tags": wiles.VLAN_TAGS,
    "everything": wiles.EVERYTHING,
}


def settings_of(sieve: Sieve) -> PortSettings:
    """The settings of a port that has this sieve."""
    return PortSettings(macs=sieve.macs, addresses=sieve.addresses, guards=sieve.guards)


@pytest.mark.parametrize("sieve", SETTINGS.values(), ids=SETTINGS)
def test_what_is_honest_is_seen_and_what_is_not_is_seen_nowhere(sieve: Sieve) -> None:
    """On the bridge, at its uplink and by another guest, whatever the wile; the rule is there, and nothing is left."""
    cases = [case for case in CASES if case.sieve == sieve]
    cases.sort(key=lambda case: case.passes)  # the last is honest, so all before it are through when it is seen
    with lan.lan() as net:
        before = left.everything()
        with lan.port_on(net.bridge, settings_of(sieve)) as guest:
            assert_rule(guest, sieve)
            for case in cases:
                if len(case.frame) >= 14:  # a TAP takes nothing shorter than a header
                    guest.send(case.frame)
            for observer in net.observers:
                seen = observer.until(cases[-1].frame)
                names = [case.name for case in cases if case.frame in seen]
                assert names == [case.name for case in cases if case.passes], observer.name
        world.run("bridge", "fdb", "flush", "dev", net.bridge, "dynamic")
        assert left.everything() == before


def assert_rule(guest: Port, sieve: Sieve) -> None:
    """What the program matches passes, and all else meets a filter that drops it."""
    shown = left.filters(guest.name)
    assert sorted(shown) == [2, 3]
    assert shown[2]["bytecode"]["insns"] == _shown(sieve_runner.program(sieve))
    assert "actions" not in shown[2]
    assert shown[3]["bytecode"]["insns"] == _shown(RETURN_ALL)
    assert [action["control_action"]["type"] for action in shown[3]["actions"]] == ["drop"]


def test_a_port_of_the_same_name_has_no_filter_of_the_one_before() -> None:
    """Whatever it was called, the filters were its own."""
    with lan.lan() as net:
        with lan.port_on(net.bridge, settings_of(wiles.EVERYTHING)) as guest:
            name = guest.name
        with lan.port_on(net.bridge) as guest:
            assert guest.name == name
            assert left.filters(name) == {}
            guest.send(wiles.ip4(wiles.THEIR4))
            net.uplink.until(wiles.ip4(wiles.THEIR4))


def _shown(program: bytes) -> list[dict[str, int]]:
    """A program as tc shows it."""
    return [dict(zip(("code", "jt", "jf", "k"), words, strict=True)) for words in struct.iter_unpack("=HBBI", program)]


def test_what_is_left_for_the_kernel_to_cut_is_judged_as_well() -> None:
    """A frame of 60 KB that becomes packets later (GSO) is one frame to the filter."""
    stream = frames.tcp(bytes(60000))
    honest, spoofed = (
        frames.ethernet(frames.IPV4, frames.ipv4(address, "10.0.0.1", stream, protocol=frames.TCP))
        for address in (wiles.OUR4, wiles.THEIR4)
    )
    with lan.lan() as net, lan.port_on(net.bridge, settings_of(wiles.EVERYTHING), vnet=True) as guest:
        guest.send_to_be_cut(spoofed, 1448)
        guest.send_to_be_cut(honest, 1448)
        last = wiles.ip4(wiles.OUR4)
        guest.send(last)
        sizes = [len(frame) for frame in net.uplink.until(last)]
        assert sum(sizes) >= len(honest) + len(last)
        assert not [frame for frame in net.uplink.seen if frame[26:30] == frames.packed(wiles.THEIR4)]


def test_the_longest_program_that_is_made_is_taken_and_a_longer_one_refused() -> None:
    """By its settings' name, and not by what the kernel says of instructions."""
    networks = tuple(ip_network((0x20010DB8 << 96 | number << 64, 64)) for number in range(300))
    fits = (
        bisect(range(300), bpf.MOST_BYTES, key=lambda n: len(sieve_runner.program(Sieve(addresses=networks[:n])))) - 1
    )
    assert fits > 100
    with lan.lan() as net:
        with lan.port_on(net.bridge, PortSettings(addresses=networks[:fits])) as guest:
            guest.send(last := wiles.ip6("2001:db8::5"))
            net.uplink.until(last)
        with pytest.raises(UnsupportedError) as refusal, lan.port_on(net.bridge, PortSettings(addresses=networks)):
            pass
    assert str(refusal.value) == (
        "`addresses' say more than a filter of the kernel's has room for; name fewer, or larger networks"
    )
