# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel has of ports' settings, as the tools of iproute2 show it; to compare with before."""

import json
import subprocess
from typing import Any

from tests.support import world


def flags(interface: str) -> dict[str, Any]:
    """The flags of a port of a bridge."""
    found: dict[str, Any] = _json("bridge", "-d", "link", "show", "dev", interface)[0]
    return found


def vlans(interface: str) -> dict[int, set[str]]:
    """The VLANs of a port, each with its flags."""
    (found,) = _json("bridge", "vlan", "show", "dev", interface) or [{"vlans": []}]
    numbers: dict[int, set[str]] = {}
    for vlan in found["vlans"]:
        for number in range(vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]) + 1):
            numbers[number] = set(vlan.get("flags", []))
    return numbers


def entries(bridge: str, mac: bytes) -> list[tuple[str, int, str, bool]]:
    """What the bridge knows of a MAC: port, VLAN, state and whether it stays where it is."""
    return sorted(
        (entry["ifname"], entry.get("vlan", 0), entry.get("state", ""), "sticky" in entry["flags"])
        for entry in _json("bridge", "fdb", "show", "br", bridge)
        if entry["mac"] == mac.hex(":")
    )


def qdiscs(interface: str) -> set[str]:
    """The kinds of qdiscs of an interface."""
    return {qdisc["kind"] for qdisc in _json("tc", "qdisc", "show", "dev", interface)}


def filters(interface: str) -> dict[int, Any]:
    """The filters for what comes in on an interface, by their preference."""
    shown = _json("tc", "filter", "show", "dev", interface, "ingress")
    return {entry["pref"]: entry["options"] for entry in shown if "options" in entry}


def actions() -> list[str]:
    """The kinds of all actions of traffic control that there are."""
    kinds = []
    for kind in ("gact", "police"):
        done = subprocess.run(["tc", "actions", "list", "action", kind], capture_output=True, text=True, check=False)
        kinds += [kind] * done.stdout.count("action order")
    return kinds


def everything() -> dict[str, object]:
    """All of it, in this network."""
    return {
        "interfaces": world.interfaces(),
        "qdiscs": world.run("tc", "qdisc", "show"),
        "entries": sorted(world.run("bridge", "fdb", "show").splitlines()),
        "vlans": world.run("bridge", "vlan", "show"),
        "actions": actions(),
    }


def _json(tool: str, *words: str) -> Any:
    return json.loads(world.run(tool, "-j", *words) or "[]")
