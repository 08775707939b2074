# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor` at a bridge: each thing that can be wrong with it on a real kernel, and mended."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ctl.host import POLICY, write
from tests.ctl.ward import RULE, Found, Ward, findings_in
from tests.support import full_kernel, world

pytestmark = [pytest.mark.needs_root]
LISTENING, FORWARDING = "1", "3"


def one(ward: Ward, station: str, *words: str) -> Found:
    """The only finding at a station."""
    [found] = ward.visit(*words).of(station)
    return found


def ip(words: str) -> None:
    """Change something about an interface."""
    world.run("ip", *words.split())


def mac(name: str = "br0") -> str:
    """The MAC address of an interface."""
    return Path(f"/sys/class/net/{name}/address").read_text().strip()


@contextmanager
def tap(master: str, address: str | None = None) -> Iterator[str]:
    """A port such as a guest has, and could change."""
    ip("tuntap add t0 mode tap")
    try:
        if address:
            ip(f"link set t0 address {address}")
        ip(f"link set t0 up master {master}")
        yield "t0"
    finally:
        ip("link del t0")


@contextmanager
def filled(pairs: int) -> Iterator[None]:
    """br0 with so many pairs of ports, all of which are down: both ends on one bridge are a loop."""
    made = "".join(f"link add f{number} master br0 type veth peer name g{number}\n" for number in range(pairs))
    joined = "".join(f"link set g{number} master br0\n" for number in range(pairs))
    subprocess.run(["ip", "-batch", "-"], input=made + joined, text=True, check=True, timeout=120)
    try:
        yield
    finally:
        gone = "".join(f"link del f{number}\n" for number in range(pairs))
        subprocess.run(["ip", "-batch", "-"], input=gone, text=True, check=True, timeout=120)


@contextmanager
def new_port() -> Iterator[str]:
    """A port of br0 that has just got a carrier."""
    ip("link add f0 up type veth peer name g0")
    try:
        ip("link set g0 up")
        ip("link set f0 master br0")
        yield "f0"
    finally:
        ip("link del f0")


def state_of_port(name: str) -> str:
    """Which state STP has it in."""
    return Path(f"/sys/class/net/{name}/brport/state").read_text().strip()


class TestTheBridge:
    """That there is one, and that it is up."""

    def test_is_well(self, a_healthy_ward: Ward) -> None:
        """Each station says why."""
        visit = a_healthy_ward.visit("--bridge=lan0")
        assert visit.problems() + visit.unknown() == []
        words = {found.station: found.what for found in visit.findings}
        assert words["bridge"] == "br0 is a bridge, is up, and has room for 1022 more ports"
        assert words["STP"] == "br0 does no STP: a new port forwards at once"
        assert words["address"] == "br0 keeps its MAC address, 52:54:00:00:00:01"
        assert words["uplink"] == "br0 leads out by up0"

    def test_that_is_not_there_is_made(self, a_healthy_ward: Ward) -> None:
        """Then it is a new one, with what there is to say of that."""
        write(POLICY, RULE.replace('"br0"', '["br0", "br7"]'))
        try:
            found = one(a_healthy_ward, "bridge", "--bridge=br7")
            assert found.what == "there is no interface br7; the bridges here are: br0"
            assert found.remedy is not None
            a_healthy_ward.run(found.remedy)
            assert one(a_healthy_ward, "bridge", "--bridge=br7").state == "ok"
        finally:
            ip("link del br7")

    def test_where_there_is_none_at_all_one_is_made(self, a_healthy_ward: Ward) -> None:
        """By the name that all examples have."""
        ip("link del br0")
        found = one(a_healthy_ward, "bridge")
        assert found.what == "there is no bridge in this network namespace"
        assert found.remedy is not None
        a_healthy_ward.run(found.remedy)
        assert one(a_healthy_ward, "bridge").state == "ok"

    def test_that_is_something_else_is_told(self, a_healthy_ward: Ward) -> None:
        """With what it is, and with those that are bridges."""
        found = one(a_healthy_ward, "bridge", "--bridge=up0")
        assert (found.state, found.remedy) == ("problem", None)
        assert found.what == "up0 is no Linux bridge, but of kind veth; the bridges here are: br0"

    def test_that_is_down_is_set_up(self, a_healthy_ward: Ward) -> None:
        """A port can be granted on it, and hears nothing."""
        ip("link set br0 down")
        assert a_healthy_ward.cured("bridge").what == "br0 is down"

    def test_with_a_name_like_a_command_is_no_danger(self, a_healthy_ward: Ward) -> None:
        """Names are single words in a remedy, whatever is in them."""
        name = "a;touch${IFS}x&'"[:15]
        with world.bridge(name, up=False):
            found = one(a_healthy_ward, "bridge", f"--bridge={name}")
            assert found.remedy is not None
            a_healthy_ward.run(found.remedy)
            assert one(a_healthy_ward, "bridge", f"--bridge={name}").state == "ok"

    def test_that_is_full_is_told(self, a_healthy_ward: Ward) -> None:
        """No command makes room; the kernel agrees that there is none."""
        # With the uplink that is 1023.
        with filled(511):
            found = one(a_healthy_ward, "bridge")
            assert (found.state, found.remedy) == ("problem", None)
            assert found.what.startswith("all 1023 ports of br0 are taken")
            ip("link set lan0-far down")
            with pytest.raises(RuntimeError, match="Exchange full"):
                ip("link set lan0-far master br0")
            ip("link set f0 nomaster")
            assert one(a_healthy_ward, "bridge").what.endswith("has room for 1 more port")


class TestSTP:
    """How long a new port is mute."""

    def test_with_a_long_delay_is_shortened(self, a_healthy_ward: Ward) -> None:
        """The kernel's own is 15 seconds, twice."""
        ip("link set br0 type bridge stp_state 1")
        with new_port() as port:
            assert state_of_port(port) == LISTENING
        found = a_healthy_ward.cured("STP")
        assert found.what.startswith("a new port of br0 is mute for 30 seconds")
        assert one(a_healthy_ward, "STP").what.startswith("a new port of br0 is mute for 4 seconds")

    def test_that_is_off_delays_nothing(self, a_healthy_ward: Ward) -> None:
        """Whatever the delay would be."""
        with new_port() as port:
            assert state_of_port(port) == FORWARDING
        assert one(a_healthy_ward, "STP").state == "ok"


class TestTheAddress:
    """Whose MAC address the host has on a bridge."""

    def test_that_is_not_set_is_set_to_what_it_is(self, a_ward: Ward) -> None:
        """Before, a guest's TAP can change it; after, it can't."""
        world.write_access_list("allow all\n")
        with world.bridge("br5"):
            ip("link add q0 type veth peer name q1")
            ip("link set q0 master br5")
            found = one(a_ward, "address", "--bridge=br5")
            assert found.state == "problem"
            assert found.remedy == f"ip link set dev br5 address {mac('br5')}"
            with tap("br5", "02:00:00:00:00:01"):
                assert mac("br5") == "02:00:00:00:00:01"
            before = mac("br5")
            a_ward.run(found.remedy)
            with tap("br5", "02:00:00:00:00:01"):
                assert mac("br5") == before
            assert one(a_ward, "address", "--bridge=br5").state == "ok"
            ip("link del q0")

    def test_that_is_a_guests_taps_is_set_to_another(self, a_ward: Ward) -> None:
        """Who holds a TAP chooses its address, and would so choose the host's, for good."""
        world.write_access_list("allow all\n")
        with world.bridge("br5"), tap("br5", "fe:00:00:00:00:01"):
            assert mac("br5") == "fe:00:00:00:00:01"
            found = one(a_ward, "address", "--bridge=br5")
            assert found.remedy is not None
            assert found.remedy.startswith("ip link set dev br5 address 52:54:00:")
            a_ward.run(found.remedy)
            assert mac("br5") == found.remedy.split()[-1]
            assert one(a_ward, "address", "--bridge=br5").state == "ok"

    def test_that_went_with_the_last_port_is_set_to_a_new_one(self, a_ward: Ward) -> None:
        """A bridge has the address zero then, which is none."""
        world.write_access_list("allow all\n")
        with world.bridge("br5"):
            with tap("br5", "fe:00:00:00:00:01"):
                pass
            assert mac("br5") == "00:00:00:00:00:00"
            found = one(a_ward, "address", "--bridge=br5")
            assert found.remedy is not None
            a_ward.run(found.remedy)
            assert mac("br5").startswith("52:54:00:")
            assert one(a_ward, "address", "--bridge=br5").state == "ok"


class TestTheUplink:
    """Where a bridge leads."""

    def test_that_is_down_is_set_up(self, a_healthy_ward: Ward) -> None:
        """It is the port's own fault, then."""
        ip("link set up0 down")
        assert a_healthy_ward.cured("uplink").what == "br0 leads out by up0, and up0 is down"

    def test_without_a_carrier_is_told(self, a_healthy_ward: Ward) -> None:
        """No command puts a cable in."""
        ip("link set lan0-far down")
        found = one(a_healthy_ward, "uplink")
        assert (found.state, found.remedy) == ("problem", None)
        assert found.what == "br0 leads out by up0, without a carrier: look at the cable, or the other end"
        ip("link set lan0-far up")
        assert one(a_healthy_ward, "uplink").state == "ok"

    def test_of_which_one_of_two_has_a_carrier_is_well(self, a_healthy_ward: Ward) -> None:
        """A container that does not run leaves such a port, too."""
        ip("link add up1 type veth peer name far1")
        ip("link set up1 master br0")
        assert one(a_healthy_ward, "uplink").what == "br0 leads out by up0"
        ip("link del up1")

    def test_that_is_missing_is_no_problem_with_an_address(self, a_healthy_ward: Ward) -> None:
        """A network of guests and host is what many want; a guest's TAP is no way out."""
        ip("link set up0 nomaster")
        ip("address add 192.0.2.1/24 dev br0")
        with tap("br0"):
            found = one(a_healthy_ward, "uplink")
        assert (found.state, found.remedy) == ("ok", None)
        assert found.what.startswith("br0 has none: guests reach each other and this host")

    def test_that_is_missing_is_the_one_nic_that_nobody_uses(self, a_healthy_ward: Ward) -> None:
        """One with an address of the host's is left alone: its addresses would have to move."""
        ip("link set up0 nomaster")
        ip("address add 192.0.2.1/24 dev lan0-far")
        found = a_healthy_ward.cured("uplink")
        assert found.what == "br0 has none and no IP address: guests reach each other, and nobody else"
        assert found.remedy == "ip link set dev up0 up master br0"

    def test_that_is_missing_and_could_be_one_of_several_is_left_to_people(self, a_healthy_ward: Ward) -> None:
        """Which is named, with the command for it."""
        ip("link set up0 nomaster")
        found = one(a_healthy_ward, "uplink")
        assert (found.state, found.remedy) == ("problem", None)
        assert "; make one of lan0-far, up0 a port of it (ip link set dev NAME up master br0)" in found.what

    def test_that_is_missing_and_could_be_one_of_very_many_names_a_few(self, a_healthy_ward: Ward) -> None:
        """Hosts with a thousand containers have a thousand such interfaces."""
        ip("link set up0 nomaster")
        with new_port():
            ip("link set f0 nomaster")
            ip("link add f1 type veth peer name g1")
            found = one(a_healthy_ward, "uplink")
            ip("link del f1")
        assert "make one of lan0-far, up0, g0, f0 and 2 more a port of it" in found.what

    def test_that_is_missing_where_all_are_in_use_is_told(self, a_healthy_ward: Ward) -> None:
        """An IPv6 address of the link alone is not one that guests could reach the host by."""
        for number, name in enumerate(("up0", "lan0-far"), 1):
            ip(f"link set {name} nomaster")
            ip(f"address add 192.0.2.{number}/24 dev {name}")
        found = one(a_healthy_ward, "uplink")
        assert (found.state, found.remedy) == ("problem", None)
        assert "give it an address (ip address add)" in found.what


class TestVLANs:
    """On a bridge that a rule wants to tell VLANs apart."""

    @full_kernel.wanted
    def test_that_are_not_told_apart_are(self, a_healthy_ward: Ward) -> None:
        """The command is the one that a refusal names."""
        write(POLICY, RULE.replace("max_ports = 2", "vlan = 20"))
        assert a_healthy_ward.cured("VLANs").what == f"{POLICY}:1 puts ports into VLANs, which br0 does not tell apart"
        assert one(a_healthy_ward, "VLANs").what == f"br0 tells VLANs apart, as {POLICY}:1 needs it"

    def test_that_the_kernel_does_not_know_are_told(self, a_healthy_ward: Ward) -> None:
        """No command teaches it."""
        if "CONFIG_BRIDGE_VLAN_FILTERING" not in full_kernel.lacks():
            pytest.skip("this kernel knows them")
        write(POLICY, RULE.replace("max_ports = 2", "vlan = 20"))
        found = one(a_healthy_ward, "VLANs")
        assert (found.state, found.remedy) == ("problem", None)
        assert "CONFIG_BRIDGE_VLAN_FILTERING" in found.what


class TestWhatCanNotBeTold:
    """Because nobody shows it."""

    def test_is_said_where_sys_is_that_of_another_network(self, a_healthy_ward: Ward) -> None:
        """Its br0 is not ours, and what it says is not either."""
        program = a_healthy_ward.directory / "bin" / "qbhelperctl"
        inside = f"ip link add br0 up type bridge; {program} doctor --json --bridge br0; true"
        found = [
            each for each in findings_in(world.run("unshare", "--net", "sh", "-c", inside)) if each.station == "bridge"
        ]
        assert [each.state for each in found] == ["ok", "cannot tell"]
        assert "/sys/class/net does not show `br0' as it is here" in found[1].what
