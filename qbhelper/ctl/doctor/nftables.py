# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads what `nft --json list ruleset` writes (libnftables-json(5))."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qbhelper.ctl.doctor.filtering import IPV4, Act, Chain, Fits, Frame, Rule, all_of, fits_if, inverted

BRIDGE, INET = "bridge", "inet"
"""Families; the others have the names of their protocols."""

_ACTS = {"accept": Act.ACCEPT, "drop": Act.DROP, "reject": Act.DROP, "return": Act.RETURN, "queue": Act.UNKNOWN}
_WITHOUT_A_SAY = {"counter", "log", "comment", "notrack", "mangle", "set", "ct helper", "ct timeout", "flow", "dup"}
"""Statements that stop nothing."""
_OTHER_PROTOCOLS = {"icmp", "icmpv6", "igmp", "udp", "udplite", "sctp", "dccp", "esp", "ah", "comp", "arp", "gre"}


@dataclass(frozen=True)
class Base:
    """A chain that frames meet because of its hook; all its table's chains are in `chains`."""

    family: str
    table: str
    chain: str
    chains: Mapping[str, Chain]


def parse(text: str, frame: Frame) -> list[Base]:
    """Return the chains of the hook forward, as they are for `frame`.  Raises ValueError if that can't be read."""
    tables: dict[tuple[str, str], dict[str, Chain]] = {}
    bases = []
    items = json.loads(text)["nftables"]
    for chain in (item["chain"] for item in items if "chain" in item):
        of = chain["family"], chain["table"]
        chains = tables.setdefault(of, {})
        chains[chain["name"]] = Chain(_ACTS[chain.get("policy", "accept")] if "hook" in chain else None)
        if chain.get("hook") == "forward" and chain["family"] in (BRIDGE, INET, frame.protocol):
            bases.append(Base(*of, chain["name"], chains))
    for rule in (item["rule"] for item in items if "rule" in item):
        chains = tables[rule["family"], rule["table"]]
        chains[rule["chain"]].rules += _rules(rule["expr"], frame, rule["family"])
    return bases


def _rules(statements: list[Any], frame: Frame, family: str) -> list[Rule]:
    """Return what a rule comes to: nothing, a rule, or as many as its map of verdicts has entries."""
    fits = [Fits.YES]
    found: list[Rule] = []
    for statement in statements:
        # One without a value, such as `notrack', may stand there as a word.
        word: str
        value: Any
        [(word, value)] = statement.items() if isinstance(statement, dict) else [(str(statement), {})]
        if word == "match":
            fits.append(_match(value, frame, family))
        elif word == "xt":
            act = Act.DROP if value.get("name") == "REJECT" else None
            if act:
                found.append(Rule(all_of(fits), act))
            elif value.get("type") == "match" and value.get("name") != "comment":
                fits.append(Fits.MAYBE)
        elif word == "vmap":
            found += [Rule(min(all_of(fits), one.fits), one.act, one.to) for one in _mapped(value, frame, family)]
        elif word in ("jump", "goto"):
            found.append(Rule(all_of(fits), Act(word), value["target"]))
        elif word in _ACTS:
            found.append(Rule(all_of(fits), _ACTS[word]))
        elif word not in _WITHOUT_A_SAY:
            fits.append(Fits.MAYBE)  # such as a limit, which lets some pass
    return found


def _mapped(value: Any, frame: Frame, family: str) -> list[Rule]:
    """Return a map of verdicts as rules."""
    data = value["data"]
    if not isinstance(data, dict) or "set" not in data:
        return [Rule(Fits.MAYBE, Act.UNKNOWN)]  # by its name: what is in it may change at any time
    found = []
    for key, verdict in data["set"]:
        fits = _equals(_fact(value["key"], frame, family), key)
        found += [Rule(min(fits, one.fits), one.act, one.to) for one in _rules([verdict], frame, family)]
    return found


def _match(value: Any, frame: Frame, family: str) -> Fits:
    is_of_it = _is_of_its_protocol(value["left"], frame)
    if is_of_it is Fits.NO:
        return Fits.NO
    fits = _equals(_fact(value["left"], frame, family), value["right"])
    if value["op"] in ("==", "in"):
        return fits
    return inverted(fits) if value["op"] == "!=" else Fits.MAYBE


def _is_of_its_protocol(left: Any, frame: Frame) -> Fits:
    """Whether a TCP frame has such a field at all: nft looks for the protocol first, and does not show it."""
    protocol = left.get("payload", {}).get("protocol") if isinstance(left, dict) else None
    wrong = protocol in _OTHER_PROTOCOLS or protocol == ("ip6" if frame.protocol == IPV4 else "ip")
    return Fits.NO if wrong else Fits.MAYBE


def _fact(left: Any, frame: Frame, family: str) -> str | None:
    """Return what the frame has there; None if that is not known."""
    if not isinstance(left, dict) or len(left) != 1:
        return None
    [(kind, value)] = left.items()
    if not isinstance(value, dict):
        return None
    # The bridge passes for the interface of what br_netfilter shows; the family bridge sees the ports themselves.
    names = ("ibrname", "obrname") if family == BRIDGE else ("iif", "oif", "iifname", "oifname")
    meta = {"nfproto": "ipv4" if frame.protocol == IPV4 else "ipv6", "protocol": frame.protocol, "l4proto": "tcp"}
    match kind, value.get("key"), value.get("protocol"), value.get("field"):
        case "meta", key, _, _:
            return frame.bridge if key in names else meta.get(str(key))
        case "ct", key, _, _:
            return {"state": "new", "status": "seen-no-reply", "direction": "original"}.get(str(key))
        case ("payload", _, "ether", "type"):
            return frame.protocol
        case ("payload", _, "ip", "protocol") | ("payload", _, "ip6", "nexthdr"):
            return "tcp"
    return None


def _equals(fact: str | None, right: Any) -> Fits:
    """Whether what is in the frame is what a rule wants there: a word, a list of flags, a set."""
    if isinstance(right, dict) and list(right) == ["set"]:
        right = right["set"]
    if isinstance(right, list):
        return max((_equals(fact, one) for one in right), default=Fits.NO)
    if fact is None or not isinstance(right, str) or right.startswith("@"):
        return Fits.MAYBE
    return fits_if(fact.startswith(right[:-1]) if right.endswith("*") else fact == right)
