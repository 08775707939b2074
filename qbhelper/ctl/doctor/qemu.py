# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU starts where nobody names a helper, as `-nic bridge` does not.

The path is compiled into QEMU, and it has no option that tells it.  These are the ones that distributions choose; to
look for strings in its program would find others as well.
"""

import os
import shlex
import shutil
from collections.abc import Iterator

from qbhelper.ctl.doctor.finding import Finding, State, Subject
from qbhelper.ctl.doctor.kind_of_helper import Kind, installed, kind_of
from qbhelper.wire import SOCKET_PATH

STATION = "qemu"

HELPERS = tuple(
    f"{directory}/qemu-bridge-helper"
    for directory in (
        *("/usr/lib/qemu", "/usr/libexec", "/usr/libexec/qemu"),
        *("/usr/local/libexec", "/usr/local/lib/qemu", "/run/wrappers/bin"),
    )
)
"""Debian, Arch and Alpine; Fedora and openSUSE; Debian for a time; QEMU's own default, and a variant; NixOS."""
PROGRAMS = ("qemu-system-x86_64", "qemu-system-aarch64", "qemu-kvm", "kvm")
PLACES = "/usr/local/bin:/usr/bin:/usr/libexec:/run/current-system/sw/bin"
DIVERSIONS = "/var/lib/dpkg/diversions"
PACKAGED = "/var/lib/dpkg/info/qbhelper.list"


def look(subject: Subject) -> Iterator[Finding]:
    """Say what becomes of `-nic bridge`, with and without QEMU's sandbox."""
    del subject  # it is the same for all
    there = [path for path in HELPERS if os.path.lexists(path)]
    programs = [program for program in PROGRAMS if shutil.which(program, path=PLACES)]
    if not there and not programs:
        yield Finding(STATION, State.OK, "there is no QEMU here in the places that distributions have")
    elif not there:
        what = f"{programs[0]} has no helper at any path that it is known to have: `-nic bridge' fails"
        place = "/usr/lib/qemu" if os.path.isdir("/usr/lib/qemu") else "/usr/libexec"
        yield Finding(
            STATION, State.PROBLEM, f"{what}, {_otherwise()}", _command_to_link(f"{place}/qemu-bridge-helper")
        )
    for path in there:
        yield _judged(path)


def _judged(path: str) -> Finding:
    what = f"`-nic bridge' starts {path}: "
    kind = kind_of(path)
    if kind is Kind.OURS:
        has_broker = os.path.exists(SOCKET_PATH)
        sandbox = (
            "under `-sandbox on', too, by way of the broker" if has_broker else "but without a broker not in a sandbox"
        )
        return Finding(STATION, State.OK, f"{what}qbhelper, {sandbox}")
    if kind in (Kind.SETUID, Kind.CAPABLE):
        # The sandbox sets no_new_privs, whatever elevateprivileges= says: a setuid bit gives nothing there.
        not_ours = "it works, though not under `-sandbox on', and asks neither policy nor broker"
        return Finding(STATION, State.OK, f"{what}{kind.value}; {not_ours}")
    if kind is Kind.UNKNOWN:
        return Finding(STATION, State.UNKNOWN, f"{what}it can't be looked at", f"ls -lL {path}")
    fault = kind.value if kind is Kind.PLAIN else "a link that leads nowhere, or nothing to start"
    return Finding(STATION, State.PROBLEM, f"{what}{fault}: it fails, {_otherwise()}", _command_to_replace(path))


def _otherwise() -> str:
    return f"unless QEMU is told `-nic bridge,helper={installed()}'"


def _command_to_replace(path: str) -> str:
    """Return what puts ours in the place of another, so that it stays there."""
    if not _is_of_dpkg(path):
        # Until QEMU's package is upgraded: rpm and pacman know no diversions.
        return _command_to_link(path)
    if os.path.exists(PACKAGED):
        return "apt install qbhelper-qemu"
    # As that package does it (dpkg-divert(1)).
    return f"dpkg-divert --local --rename {path} && {_command_to_link(path)}"


def _is_of_dpkg(path: str) -> bool:
    """Whether dpkg would put its own there again."""
    if not os.path.exists(DIVERSIONS):
        return False
    with open(DIVERSIONS, errors="replace") as diversions:
        return path not in diversions.read().splitlines()


def _command_to_link(path: str) -> str:
    return f"ln -sf {shlex.quote(installed())} {path}"
