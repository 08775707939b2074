# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor`: firewalls that drop what is bridged, each in the kernel, between two guests that feel it."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbhelper.ctl import programs
from qbhelper.ctl.doctor import firewall
from qbhelper.ctl.doctor.finding import State
from tests.ctl.doctor import found, is_well, mend, the_problem
from tests.support import world

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("a_host", "guests")]

HOOK = "{ type filter hook forward priority 0; policy drop; }"

DOCKERS = """
-N DOCKER
-N DOCKER-USER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-ISOLATION-STAGE-2
-P FORWARD DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
"""
"""The chains that Docker makes, as `iptables -S` showed them on a host with a container."""

FIREWALLDS = """
table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    jump filter_FORWARD_ZONES
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD_ZONES {
    iifname "eth0" goto filter_FWD_public
    goto filter_FWD_public
  }
  chain filter_FWD_public {
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""
"""The shape of firewalld's (2.3)."""

FIREWALL_CMD = """#!/bin/sh
case $* in
--get-zone-of-interface=br0) exit 2 ;;
--get-default-zone) echo public ;;
'--permanent --zone=public --change-interface=br0' | '--permanent --zone=public --add-forward') ;;
--reload) nft 'add rule inet firewalld filter_FWD_public oifname "br0" accept' ;;
*) exit 1 ;;
esac
"""
"""What firewalld 2.3 does with the command, as it was once tried with it."""


def run(command: str) -> None:
    """Run a command in words."""
    world.run(*shlex.split(command))


@pytest.fixture
def guests() -> Iterator[None]:
    """Two hosts, `one` and `two`, each with a network of its own and a cable to br0."""
    for number, name in enumerate(("one", "two"), 1):
        run(f"ip netns add {name}")
        run(f"ip link add {name} type veth peer name eth0 netns {name}")
        run(f"ip link set {name} master br0 up")
        run(f"ip -n {name} address add 10.9.0.{number}/24 dev eth0")
        run(f"ip -n {name} address add fd09::{number}/64 dev eth0 nodad")
        run(f"ip -n {name} link set eth0 up")
    yield
    for name in ("one", "two"):
        run(f"ip link delete {name}")  # with its namespace it would go some time later
        run(f"ip netns delete {name}")
    flush()


def flush() -> None:
    """Leave no firewall, in this network namespace, which no other test's is."""
    run("nft flush ruleset")
    for program in filter(shutil.which, ("iptables-legacy", "ip6tables-legacy")):
        for words in ("-P FORWARD ACCEPT", "-F", "-X"):
            run(f"{program} {words}")
    show("1")


def show(value: str) -> None:
    """Have br_netfilter show the firewall what is bridged, or not."""
    for path in firewall.SETTINGS.glob("bridge-nf-call-ip*"):
        path.write_text(value)


def talks(address: str = "10.9.0.2") -> bool:
    """Whether guest one hears from two: a connection that is refused is an answer."""
    run("ip -n one neighbour flush dev eth0")
    knock = f"import socket; socket.create_connection(('{address}', 9), 1)"
    done = subprocess.run(
        ["ip", "netns", "exec", "one", "python3", "-c", knock], capture_output=True, text=True, check=False
    )
    assert "Refused" in done.stderr or "imeout" in done.stderr or "timed out" in done.stderr, done
    return "Refused" in done.stderr


def resolves(address: str = "10.9.0.2") -> bool:
    """Whether guest one knows the MAC of two."""
    return "lladdr" in world.run("ip", "-n", "one", "neighbour", "show", address)


def feels_and_mends(remedy: str, *, address: str = "10.9.0.2", arp: bool = True) -> None:
    """The guests feel it, the doctor finds it, what it says mends it, for the guests and for the doctor."""
    assert not talks(address)
    assert resolves(address) is arp
    problem = the_problem(firewall.look)
    assert problem.remedy == remedy
    assert ("ARP works, IP does not" in problem.what) is arp
    mend(problem)
    assert talks(address)
    assert is_well(firewall.look)


class TestNoFirewall:
    """Nothing drops anything."""

    def test_is_well(self) -> None:
        """Also for who may see it all, and with br_netfilter, which shows frames to nobody then."""
        assert talks()
        [finding] = found(firewall.look)
        assert finding.what == "none drops what is bridged on br0, though br_netfilter shows it"

    def test_a_host_without_bridges_has_nothing_to_say(self) -> None:
        """Nor has one where there is no bridge of that name."""
        assert found(firewall.look, b"br7") == []

    def test_looking_changes_nothing(self) -> None:
        """Not a table comes to be: iptables makes those that it is asked for."""
        before = Path("/proc/net/ip_tables_names").read_text(), world.run("nft", "list", "ruleset")
        found(firewall.look)
        assert before == (Path("/proc/net/ip_tables_names").read_text(), world.run("nft", "list", "ruleset"))


class TestIptables:
    """Of both kinds, as Docker uses them."""

    @pytest.mark.parametrize("kind", ["legacy", "nft"])
    def test_dockers_policy(self, kind: str) -> None:
        """ARP works, IP does not, until br0 has a rule in FORWARD."""
        for line in DOCKERS.split("\n"):
            if line:
                run(f"iptables-{kind} {line}")
        feels_and_mends(f"iptables-{kind} -I FORWARD -i br0 -o br0 -j ACCEPT")

    @pytest.mark.parametrize("kind", ["legacy", "nft"])
    def test_of_ipv6(self, kind: str) -> None:
        """It has a firewall of its own; its own ARP (ICMPv6) is IP and does not work either."""
        run(f"ip6tables-{kind} -P FORWARD DROP")
        assert not talks("fd09::2")
        problem = the_problem(firewall.look)
        assert problem.remedy == f"ip6tables-{kind} -I FORWARD -i br0 -o br0 -j ACCEPT"
        mend(problem)
        assert talks("fd09::2")
        assert is_well(firewall.look)

    @pytest.mark.parametrize("kind", ["legacy", "nft"])
    def test_of_another_table(self, kind: str) -> None:
        """The tables mangle and security have a chain FORWARD, too."""
        run(f"iptables-{kind} -t mangle -A FORWARD -j DROP")
        feels_and_mends(f"iptables-{kind} -t mangle -I FORWARD -i br0 -o br0 -j ACCEPT")
        run(f"iptables-{kind} -t mangle -F FORWARD")

    @pytest.mark.parametrize("kind", ["legacy", "nft"])
    @pytest.mark.parametrize(
        "rule",
        [
            "-m physdev --physdev-is-bridged -j ACCEPT",
            "-i br+ -j ACCEPT",
            "! -i eth0 -m comment --comment 'not -j DROP' -j ACCEPT",
            "-m conntrack --ctstate NEW -p tcp -j ACCEPT",
            "-j OTHERS",
        ],
    )
    def test_who_has_mended_it_in_another_way_is_left_alone(self, kind: str, rule: str) -> None:
        """What lets a connection begin is enough."""
        run(f"iptables-{kind} -P FORWARD DROP")
        run(f"iptables-{kind} -N OTHERS")
        run(f"iptables-{kind} -A OTHERS -o br0 -j ACCEPT")
        run(f"iptables-{kind} -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
        run(f"iptables-{kind} -A FORWARD {rule}")
        assert talks()
        assert is_well(firewall.look)

    @pytest.mark.parametrize(
        "rule",
        [
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-m state --state ESTABLISHED -j ACCEPT",
            "-p icmp -j ACCEPT",
            "-i br1 -j ACCEPT",
            "! -o br0 -j ACCEPT",
            "-i br0 -o br0 -j LOG --log-prefix '-j ACCEPT'",
            "-m physdev ! --physdev-is-bridged -j ACCEPT",
        ],
    )
    def test_what_lets_no_connection_begin_is_not_enough(self, rule: str) -> None:
        """Neither for the guests nor for the doctor."""
        run("iptables-legacy -P FORWARD DROP")
        run(f"iptables-legacy -A FORWARD {rule}")
        feels_and_mends("iptables-legacy -I FORWARD -i br0 -o br0 -j ACCEPT")

    @pytest.mark.parametrize("rule", ["-s 10.9.0.0/24 -j ACCEPT", "-p tcp --dport 9 -j ACCEPT"])
    def test_what_depends_on_addresses_can_not_be_told(self, rule: str) -> None:
        """It may be just what the administrator wants."""
        run("iptables-legacy -P FORWARD DROP")
        run(f"iptables-legacy -A FORWARD {rule}")
        [finding] = found(firewall.look)
        assert (finding.state, finding.remedy) == (State.UNKNOWN, "iptables-legacy -S FORWARD")

    def test_one_bridge_can_have_it_all_by_itself(self) -> None:
        """The setting of the bridge counts where the sysctl says no."""
        (firewall.SETTINGS / "bridge-nf-call-iptables").write_text("0")
        run("iptables-legacy -P FORWARD DROP")
        assert talks()
        assert is_well(firewall.look)
        run("ip link set br0 type bridge nf_call_iptables 1")
        feels_and_mends("iptables-legacy -I FORWARD -i br0 -o br0 -j ACCEPT")

    def test_the_bridges_own_setting_is_no_remedy(self) -> None:
        """Why the doctor does not say so: where the sysctl is 1, the bridge's 0 changes nothing."""
        run("iptables-legacy -P FORWARD DROP")
        run("ip link set br0 type bridge nf_call_iptables 0")
        assert not talks()


class TestNftables:
    """Chains of the hook forward."""

    @pytest.mark.parametrize("family", ["ip", "inet"])
    def test_a_chain_that_drops(self, family: str) -> None:
        """With rules for what is established, as everybody has them."""
        run(f"nft add table {family} mine")
        run(f"nft 'add chain {family} mine forward {HOOK}'")
        run(f"nft 'add rule {family} mine forward ct state vmap {{ established : accept, related : accept }}'")
        feels_and_mends(f'nft \'insert rule {family} mine forward iifname "br0" oifname "br0" accept\'')

    def test_it_meets_bridged_frames_only_through_br_netfilter(self) -> None:
        """Otherwise it is for what is routed."""
        run("nft add table inet mine")
        run(f"nft 'add chain inet mine forward {HOOK}'")
        show("0")
        assert talks()
        [finding] = found(firewall.look)
        assert finding.what == "none drops what is bridged on br0, and none is shown it: br_netfilter is off"

    def test_firewalld(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It makes a rule of its own for what is in a zone by name; in its place stands a program that makes it."""
        (tmp_path / "firewall-cmd").write_text(FIREWALL_CMD)
        (tmp_path / "firewall-cmd").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        world.run("sh", "-c", f"echo {shlex.quote(FIREWALLDS)} | nft -f -")
        feels_and_mends(
            "zone=$(firewall-cmd --get-zone-of-interface=br0 || firewall-cmd --get-default-zone)"
            ' && firewall-cmd --permanent --zone="$zone" --change-interface=br0'
            ' && firewall-cmd --permanent --zone="$zone" --add-forward && firewall-cmd --reload'
        )

    @pytest.mark.parametrize(
        ("rule", "state"),
        [
            ('iifname { "br0", "br1" } accept', State.OK),
            ('iifname != "br1" accept', State.OK),
            ('iifname "br*" counter log accept', State.OK),
            ('iifname vmap { "br0" : accept, "br1" : drop }', State.OK),
            ("meta l4proto tcp accept", State.OK),
            ("meta nfproto ipv6 accept", State.PROBLEM),
            ("meta l4proto icmp accept", State.PROBLEM),
            ("udp dport 53 accept", State.PROBLEM),
            ("iifname @some accept", State.UNKNOWN),
            ("limit rate 10/second accept", State.UNKNOWN),
            ("tcp dport 22 accept", State.UNKNOWN),
        ],
    )
    def test_reads_rules(self, rule: str, state: State) -> None:
        """As far as they can be judged without addresses and ports."""
        run("nft add table inet mine")
        run("nft 'add set inet mine some { type ifname; }'")
        run(f"nft 'add chain inet mine forward {HOOK}'")
        run(f"nft 'add rule inet mine forward {rule}'")
        [finding] = found(firewall.look)
        assert finding.state is state
        assert state is State.UNKNOWN or talks() is (state is State.OK)

    def test_the_family_bridge(self) -> None:
        """It needs no br_netfilter to be met, and takes ARP, too."""
        show("0")
        run("nft add table bridge mine")
        run(f"nft 'add chain bridge mine forward {HOOK}'")
        assert not talks()
        assert not resolves()
        problem = the_problem(firewall.look)
        assert problem.remedy == "nft 'insert rule bridge mine forward ibrname \"br0\" accept'"
        assert "ARP" not in problem.what


@pytest.mark.inside("debian13-vm")
class TestDistributionsKernel:
    """Where br_netfilter is a module, and the family bridge knows bridges by their names."""

    @pytest.fixture(autouse=True)
    def nothing_is_left_in_the_kernel(self) -> Iterator[None]:
        """Other tests of that machine send frames that br_netfilter, for one, would drop."""
        yield
        run("nft flush ruleset")
        run("modprobe --remove br_netfilter")

    def test_the_module_begins_it(self) -> None:
        """Without a setting of anybody's: nothing is dropped until somebody loads it, as Docker does."""
        run("nft add table inet mine")
        run(f"nft 'add chain inet mine forward {HOOK}'")
        run("modprobe --remove br_netfilter")
        assert talks()
        assert is_well(firewall.look)
        run("modprobe br_netfilter")
        feels_and_mends('nft \'insert rule inet mine forward iifname "br0" oifname "br0" accept\'')

    def test_the_family_bridge(self) -> None:
        """Another bridge stays as it was; a rule for one protocol is none for the others."""
        run("nft add table bridge mine")
        run(f"nft 'add chain bridge mine forward {HOOK}'")
        run("nft 'add rule bridge mine forward ether type arp accept'")
        assert not talks()
        assert resolves()
        with world.bridge("br1"):
            problem = the_problem(firewall.look)
            mend(problem)
            assert talks()
            assert is_well(firewall.look)
            assert not is_well(firewall.look, b"br1")


class TestOthers:
    """Who asks, and where."""

    def test_a_user_is_told_that_only_root_can_see(self) -> None:
        """And what root has to run."""
        [finding] = found(firewall.look, user="alice")
        assert (finding.state, finding.remedy) == (State.UNKNOWN, "qbhelperctl doctor --bridge br0")
        [finding] = found(firewall.look, None, user="alice")
        assert finding.remedy == "qbhelperctl doctor"

    def test_without_nft_nothing_is_claimed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Nor is a program of somebody else's run."""
        monkeypatch.setattr(programs, "DIRECTORIES", str(tmp_path))
        [finding] = found(firewall.look)
        assert (finding.state, finding.remedy) == (State.UNKNOWN, "")
        assert "install nft" in finding.what
        (tmp_path / "nft").write_text(f"#!/bin/sh\ntouch {tmp_path}/was_run\n")
        (tmp_path / "nft").chmod(0o777)
        assert found(firewall.look) == [finding]
        assert not (tmp_path / "was_run").exists()

    def test_what_goes_wrong_is_said(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A root who is told of no problem knows that it was not looked at; and it has an end."""
        monkeypatch.setattr(programs, "DIRECTORIES", str(tmp_path))
        monkeypatch.setattr(programs, "PATIENCE", 0.1)
        for script, said in (("echo it broke >&2; exit 3", "nft: it broke"), ("exec sleep 60", "did not answer")):
            (tmp_path / "nft").write_text(f"#!/bin/sh\nPATH=/bin; {script}\n")
            (tmp_path / "nft").chmod(0o755)
            [finding] = found(firewall.look)
            assert (finding.state, finding.remedy) == (State.UNKNOWN, "nft list ruleset")
            assert said in finding.what

    @pytest.mark.parametrize("name", ["b;id", "b'$x", "b+", "b*", 'b"'])
    def test_odd_names_make_no_odd_commands(self, name: str) -> None:
        """`+' and `*' at the end would be patterns, and there is no other way to write them."""
        with world.bridge(name):
            run("iptables-legacy -P FORWARD DROP")
            problem = the_problem(firewall.look, name.encode())
            assert problem.remedy == ""
            assert problem.what.endswith("by hand")

    def test_all_bridges_are_looked_at(self) -> None:
        """Each with a rule of its own."""
        with world.bridge("br1"):
            run("iptables-legacy -P FORWARD DROP")
            run("iptables-legacy -A FORWARD -i br1 -o br1 -j ACCEPT")
            assert [one.remedy for one in found(firewall.look, None)] == [
                "iptables-legacy -I FORWARD -i br0 -o br0 -j ACCEPT"
            ]
