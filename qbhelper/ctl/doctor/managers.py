# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether NetworkManager or systemd-networkd takes our ports for interfaces that are its own to manage.

The files in packaging/examples keep them from it; here is found out whether that is needed, and in force.
"""

import os
import shlex
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from qbhelper.ctl.doctor.finding import Finding, State, Subject
from qbhelper.ctl.doctor.settings_files import Setting, files, is_true, last, settings
from qbhelper.errors import printable, reason
from qbhelper.kernel.tap import NAME_TEMPLATE

STATION = "managers"

PORT = NAME_TEMPLATE.decode().replace("%d", "0")
"""What a port is called, unless a rule says otherwise."""
PATTERN = NAME_TEMPLATE.decode().replace("%d", "*")

NETWORKD_DIRECTORIES = [
    f"{directory}/systemd/network" for directory in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
]
UDEV_DIRECTORIES = [f"{directory}/udev/rules.d" for directory in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")]
UDEV_RULES = "70-qbhelper.rules"
MANAGED_BY_SINCE = 257
"""The systemd whose networkd heeds ID_NET_MANAGED_BY."""

_TRAITS = {"Name": PORT, "Kind": "tun", "Type": "ether", "Driver": "tun"}
"""What a TAP is to the section [Match] of a .network file (systemd.network(5)); other than these it has not."""
_OF_THE_HOST = {
    "Host",
    "Virtualization",
    "KernelCommandLine",
    "KernelVersion",
    "Credential",
    "Architecture",
    "Firmware",
}
"""Conditions there that are not about the interface, and that may well be fulfilled."""


def look(subject: Subject) -> Iterator[Finding]:
    """Yield what those that run would do to a port.  Raises OSError if a directory of theirs can't be read."""
    found = []
    if _is_running("systemd-networkd.service", "/run/systemd/netif"):
        found.append(_networkd(subject))
    if _is_running("NetworkManager.service", "/run/NetworkManager"):
        found.append(_network_manager())
    if not found:
        found.append(Finding(STATION, State.OK, "neither NetworkManager nor systemd-networkd runs here"))
    yield from found


def _is_running(unit: str, directory: str) -> bool:
    """Whether a service runs, by what anybody may see.  directory: what it makes in /run, and may leave there."""
    if os.path.isdir("/run/systemd/units"):
        return os.path.islink(f"/run/systemd/units/invocation:{unit}")
    return os.path.isdir(directory)


def _networkd(subject: Subject) -> Finding:
    name = "systemd-networkd"
    if _has_udev_rules() and _systemd_version() >= MANAGED_BY_SINCE:
        return Finding(STATION, State.OK, f"{name} leaves our ports alone: udev's {UDEV_RULES} says so")
    for path in files(NETWORKD_DIRECTORIES, ".network"):
        try:
            found = _with_drop_ins(path)
        except OSError as error:
            what = f"{name} may manage our ports: {printable(path)} can't be read"
            return Finding(STATION, State.UNKNOWN, f"{what}: {reason(error)}", f"cat {shlex.quote(path)}")
        if not _matches([one for one in found if one.section == "Match"]):
            continue
        if is_true(last(found, "Link", "Unmanaged")) or is_true(last(found, "Network", "KeepMaster")):
            return Finding(STATION, State.OK, f"{name} leaves our ports alone: {printable(path)} says so")
        bridge = last(found, "Network", "Bridge")
        if bridge and subject.bridge == os.fsencode(bridge):
            return Finding(
                STATION, State.OK, f"{name} puts our ports on {printable(bridge)}: {printable(path)} says so"
            )
        # Without a Bridge= of its own it takes an interface that it manages off the bridge (KeepMaster= in
        # systemd.network(5)).
        what = f"{name} takes our ports off their bridge, as interfaces of its own: {printable(path)} matches them"
        return Finding(STATION, State.PROBLEM, what, _command_for_networkd(os.path.basename(path)))
    return Finding(STATION, State.OK, f"{name} has no file that matches our ports")


def _with_drop_ins(path: str) -> list[Setting]:
    found = settings(path)
    name = os.path.basename(path)
    for drop_in in files([f"{directory}/{name}.d" for directory in NETWORKD_DIRECTORIES], ".conf"):
        found += settings(drop_in)
    return found


def _matches(match: list[Setting]) -> bool:
    """Whether a section [Match] fits a TAP of ours.  An empty one counts for nothing (since systemd 243)."""
    wanted: dict[str, list[str]] = {}
    for one in match:
        # A list goes on in the next line of the same key, and begins anew after an empty one.
        wanted[one.key] = [*wanted.get(one.key, []), *one.value.split()] if one.value else []
    wanted = {key: patterns for key, patterns in wanted.items() if patterns and key not in _OF_THE_HOST}
    return bool(wanted) and all(_is_one_of(_TRAITS.get(key), patterns) for key, patterns in wanted.items())


def _is_one_of(trait: str | None, patterns: list[str]) -> bool:
    first, *others = patterns
    negated = first.startswith("!")
    found = trait is not None and any(fnmatchcase(trait, pattern) for pattern in [first.removeprefix("!"), *others])
    return found != negated


def _command_for_networkd(other: str) -> str:
    # The first file that matches counts, in the order of their names.
    name = next((name for name in ("10-qbhelper.network", "00-qbhelper.network") if name < other), None)
    if name is None:
        return ""
    lines = ["[Match]", "Kind=tun", f"Name={PATTERN}", "", "[Link]", "Unmanaged=yes"]
    return f"{_command_to_write(lines, f'/etc/systemd/network/{name}')} && networkctl reload"


def _network_manager() -> Finding:
    """Say what NetworkManager does, which is the same whatever it is told of our ports (tried with 1.52).

    It shows those that it is not told to leave alone as `connected (externally)', and changes nothing of them; nor does
    it when it ends, when it is started, or at `nmcli device disconnect'.  A bridge that it has made loses all ports
    when its connection is activated anew, whether it manages them or not.
    """
    what = "NetworkManager leaves our ports where they are, but for `nmcli connection up' of a bridge of its own"
    return Finding(STATION, State.OK, f"{what}, which takes all ports off that")


def _has_udev_rules() -> bool:
    """Whether udev runs, and has our rules."""
    if not os.path.exists("/run/udev/control"):
        return False
    return any(os.path.basename(path) == UDEV_RULES for path in files(UDEV_DIRECTORIES, ".rules"))


def _systemd_version() -> int:
    """Return the number of the installed systemd; 0 if it can't be told."""
    found = [
        path.name
        for pattern in ("systemd", "*/systemd")
        for path in Path("/usr/lib").glob(f"{pattern}/libsystemd-shared-*.so")
    ]
    numbers = [name.removeprefix("libsystemd-shared-").partition(".")[0].partition("-")[0] for name in found]
    return max((int(number) for number in numbers if number.isdigit()), default=0)


def _command_to_write(lines: list[str], path: str) -> str:
    # `install', because networkd is no root, and has to be able to read it whatever our umask is.
    text = "\\n".join([*lines, ""])
    return f"printf {shlex.quote(text)} | install -D -m 0644 /dev/stdin {path}"
