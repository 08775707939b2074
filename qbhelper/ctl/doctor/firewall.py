# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a firewall drops what is bridged: "ARP works, IP does not".

What goes from port to port of a bridge meets nftables' family bridge, always.  What was written for packets that are
routed it meets only through br_netfilter, which Docker and Kubernetes load: then chains of ip, ip6 and inet, and
iptables of both kinds, have a say, and Docker sets the policy of FORWARD to DROP.
"""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qbhelper.ctl import programs
from qbhelper.ctl.doctor import bridges, iptables, nftables
from qbhelper.ctl.doctor.filtering import IPV4, IPV6, Act, End, Frame, end_of
from qbhelper.ctl.doctor.finding import Finding, State, Subject, listed
from qbhelper.ctl.programs import NoAnswer
from qbhelper.errors import printable

STATION = "firewall"
PROTOCOLS = {IPV4: ("iptables", "IPv4"), IPV6: ("ip6tables", "IPv6")}
"""By what nftables calls it: the program for it, and what people call it."""
SETTINGS = Path("/proc/sys/net/bridge")
PLAIN = re.compile(r"[\w.@-]+", re.ASCII)
"""Names that stand for themselves in the rules of both kinds: neither has a way to write all others."""
FIREWALLD = "firewalld"


@dataclass(frozen=True)
class Place:
    """A chain of somebody's.  shown: for people; insert: the command that has it accept, lists: that shows it.

    takes_all: whether it is shown all frames, and not just those of one protocol.
    """

    shown: str
    insert: str
    lists: str
    takes_all: bool = False


class Firewall:
    """What the rules of this network namespace are, as far as they can be read; silent: what did not answer."""

    def __init__(self) -> None:
        self.silent: list[NoAnswer] = []
        self.nft = self._ask("nft", "--json", "list", "ruleset")
        # Of what iptables-nft has made, nft shows some matches without their values; without rules it writes nothing.
        self.of_iptables = {
            (protocol, kind): self._ask_if_there(f"{program}-{kind}-save")
            for protocol, (program, _) in PROTOCOLS.items()
            for kind in ("nft", "legacy")
        }

    def meets(self, frame: Frame, *, is_shown: bool) -> Iterator[tuple[Place, End]]:
        """Yield each chain that a frame meets.  is_shown: by br_netfilter, to what is for frames that are routed."""
        told = set()
        if is_shown:
            for kind in ("nft", "legacy"):
                program = f"{PROTOCOLS[frame.protocol][0]}-{kind}"
                tables = iptables.parse(self.of_iptables[frame.protocol, kind], frame)
                for table, chains in tables.items():
                    if iptables.FORWARD in chains:
                        told |= {(frame.protocol, table)} if kind == "nft" else set()
                        yield _iptables_place(program, table, frame), end_of(chains, iptables.FORWARD)
        for base in nftables.parse(self.nft, frame) if self.nft else []:
            is_met = base.family == nftables.BRIDGE or is_shown
            is_told = (base.family, base.table) in told and base.chain == iptables.FORWARD
            if is_met and not is_told:
                yield _nftables_place(base, frame), end_of(base.chains, base.chain)

    def _ask(self, *words: str) -> str:
        try:
            return programs.answer(*words)
        except NoAnswer as silence:
            self.silent.append(silence)
            return ""

    def _ask_if_there(self, program: str) -> str:
        return self._ask(program) if programs.find(program) else ""


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what firewalls do to what is bridged, on the subject's bridge or on all of them.  Raises KernelError."""
    names = _bridges(subject)
    if not names:
        return
    firewall = Firewall()
    found = [finding for name in names for finding in _on(name, firewall)]
    yield from found
    if firewall.silent:
        yield _silence(firewall.silent, subject)
    elif not found:
        shown = [name for name in names if any(_is_shown(Frame(name, protocol)) for protocol in PROTOCOLS)]
        how = "though br_netfilter shows it" if shown else "and none is shown it: br_netfilter is off"
        yield Finding(STATION, State.OK, f"none drops what is bridged on {_list(names)}, {how}")


def _on(bridge: str, firewall: Firewall) -> Iterator[Finding]:
    """Yield what drops frames on one bridge."""
    met: dict[Place, dict[str, End]] = {}
    for protocol in PROTOCOLS:
        frame = Frame(bridge, protocol)
        for place, end in firewall.meets(frame, is_shown=_is_shown(frame)):
            met.setdefault(place, {})[protocol] = end
    for place, ends in met.items():
        dropped = [protocol for protocol, end in ends.items() if end.act is Act.DROP and end.other <= {Act.DROP}]
        unclear = [protocol for protocol, end in ends.items() if end.act is not Act.ACCEPT and protocol not in dropped]
        if dropped:
            by_hand = "" if place.insert else "; its name is a pattern in a rule, or no word: let it pass by hand"
            yield Finding(STATION, State.PROBLEM, _told(place, dropped, bridge) + by_hand, place.insert)
        elif unclear:
            what = f"{_told(place, unclear, bridge)}, but for what some of its rules may accept"
            yield Finding(STATION, State.UNKNOWN, what, place.lists)


def _told(place: Place, protocols: list[str], bridge: str) -> str:
    names = " and ".join(PROTOCOLS[protocol][1] for protocol in protocols)
    what = f"{place.shown} drops {names} that is bridged on {_list([bridge])}"
    return what if place.takes_all else f"{what} (br_netfilter shows it): ARP works, IP does not"


# Why a rule for what comes in and goes out by this one bridge, and nothing else:
#
# * `ip link set BRIDGE type bridge nf_call_iptables 0' changes nothing: the kernel shows frames to the firewall if the
#   bridge or the sysctl says so (br_nf_pre_routing() in net/bridge/br_netfilter_hooks.c), and the sysctl is 1 from the
#   moment when the module is loaded.
# * The sysctl at 0 would do, for all bridges: Docker keeps its containers apart by it, and sets it again when it
#   starts; so does Kubernetes.
# * A policy of ACCEPT would have the host route for anybody; Docker sets it again, too.
# * Docker leaves rules in FORWARD that are not its own where they are, when it starts, and when it ends.
#
# br_netfilter lets the bridge pass for the interface on both sides, so this is what is bridged on it, and what would be
# routed back to where it came from.  `-m physdev --physdev-is-bridged' would not say on which.
#
# firewalld has no word for such a rule, makes its own anew with each reload, and may let nobody else at its table.  But
# what comes by an interface and goes by one of the same zone it lets pass (`--add-forward', the default since 1.0), if
# that interface is in the zone by name, and not because the zone is the default.  The zone stays the same for all else.
def _iptables_place(program: str, table: str, frame: Frame) -> Place:
    of = "" if table == "filter" else f"-t {shlex.quote(table)} "
    bridge = shlex.quote(frame.bridge)
    return Place(
        f"chain FORWARD of {program}" + (f" (table {printable(table.encode())})" if of else ""),
        f"{program} {of}-I FORWARD -i {bridge} -o {bridge} -j ACCEPT" if PLAIN.fullmatch(frame.bridge) else "",
        f"{program} {of}-S FORWARD",
    )


def _nftables_place(base: nftables.Base, frame: Frame) -> Place:
    where = f"{base.family} {base.table} {base.chain}"
    match = f'iifname "{frame.bridge}" oifname "{frame.bridge}"'
    if base.family == nftables.BRIDGE:
        match = f'ibrname "{frame.bridge}"'
    insert = f"nft {shlex.quote(f'insert rule {where} {match} accept')}"
    if base.table == FIREWALLD:
        insert = _command_for_firewalld(frame.bridge)
    elif not PLAIN.fullmatch(frame.bridge):
        insert = ""
    shown = f"nftables' chain `{printable(where.encode())}'"
    return Place(shown, insert, f"nft list chain {where}", takes_all=base.family == nftables.BRIDGE)


def _command_for_firewalld(bridge: str) -> str:
    """Return what puts a bridge into its zone by name, and lets pass what stays in that zone, for good."""
    name = shlex.quote(bridge)
    zone = f"zone=$(firewall-cmd --get-zone-of-interface={name} || firewall-cmd --get-default-zone)"
    add = 'firewall-cmd --permanent --zone="$zone"'
    return f"{zone} && {add} --change-interface={name} && {add} --add-forward && firewall-cmd --reload"


def _is_shown(frame: Frame) -> bool:
    """Whether br_netfilter shows frames of this protocol on this bridge to what is for frames that are routed."""
    program, _ = PROTOCOLS[frame.protocol]
    return bool(_number(SETTINGS / f"bridge-nf-call-{program}") or _number(_setting_of(frame.bridge, program)))


def _setting_of(bridge: str, program: str) -> Path:
    return Path(f"/sys/class/net/{bridge}/bridge/nf_call_{program}")


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0  # there is no br_netfilter


def _silence(silent: list[NoAnswer], subject: Subject) -> Finding:
    if any(silence.is_missing for silence in silent):
        what = "what nftables drops is not to be seen without its program: install nft, of the package nftables"
        return Finding(STATION, State.UNKNOWN, what)
    if os.geteuid() == 0:
        what = f"what firewalls drop can't be read: {printable(str(silent[0]).encode())}"
        return Finding(STATION, State.UNKNOWN, what, "nft list ruleset")
    of = f" --bridge {shlex.quote(os.fsdecode(subject.bridge))}" if subject.bridge is not None else ""
    what = "whether one drops what is bridged is for root to see"
    return Finding(STATION, State.UNKNOWN, what, f"qbhelperctl doctor{of}")


def _bridges(subject: Subject) -> list[str]:
    """Return the names of the bridges in question that there are."""
    there = bridges.all_bridges()
    return [os.fsdecode(name) for name in bridges.wanted(subject) if name in there]


def _list(names: list[str]) -> str:
    return listed([os.fsencode(name) for name in names])
