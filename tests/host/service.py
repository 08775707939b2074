# SPDX-License-Identifier: GPL-2.0-or-later
"""qbhelper as it is installed on a machine with systemd: for tests that run inside one."""

import hashlib
import subprocess
from pathlib import Path

from tests.packages.debs import BROUGHT, NAMES
from tests.support import caller, install, world
from tests.support.caller import Outcome

PREFIX = Path("/usr/local")
HELPER = PREFIX / "bin/qbhelper"
PACKAGED_HELPER = Path("/usr/bin/qbhelper")
ACCOUNT = "qbhelper"
SERVICE = "qbhelper.service"
SOCKET = "qbhelper.socket"


def install_from_source() -> None:
    """Install from this checkout with the commands of README.md; the socket is enabled."""
    make = ["make", "-s", "-C", str(install.TREE), "install", f"prefix={PREFIX}", "BUILD=/tmp/build"]
    world.run(*make, timeout=180)
    world.run("systemd-sysusers")
    world.run("systemctl", "daemon-reload")
    world.run("systemctl", "enable", "--now", SOCKET)


def apt(*words: str) -> list[str]:
    """Return a command of apt's that asks nothing."""
    return ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet", *words]


def install_packages(*names: str) -> None:
    """Install these of our packages with apt, from files, as the README says; `debs.bring` has brought them."""
    # In a virtual machine it takes half a minute, the more so on a busy one.
    world.run(*apt("install", *(str(BROUGHT / f"{name}.deb") for name in names)), timeout=150)


def offer_packages() -> None:
    """Have apt know our packages by their names, as from the archive of a distribution."""
    entries = []
    for name in NAMES:
        package = BROUGHT / f"{name}.deb"
        fields = world.run("dpkg-deb", "--field", str(package))
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        entries.append(f"{fields}Filename: ./{package.name}\nSize: {package.stat().st_size}\nSHA256: {digest}\n")
    (BROUGHT / "Packages").write_text("\n".join(entries))
    source = Path("/etc/apt/sources.list.d/ours.list")
    source.write_text(f"deb [trusted=yes] file:{BROUGHT} ./\n")
    # There is no network to ask the others by.
    alone = [f"--option=Dir::Etc::SourceList={source}", "--option=Dir::Etc::SourceParts=-"]
    world.run(*apt("update", *alone, "--option=APT::Get::List-Cleanup=0"))


def show(field: str) -> str:
    """One property of the service, as systemd knows it."""
    return world.run("systemctl", "show", "--value", f"--property={field}", SERVICE).strip()


def pid() -> int:
    """The process of the broker; 0 if there is none."""
    return int(show("MainPID"))


def call(bridge: str = "br0") -> Outcome:
    """Have the helper ask for a port, as a user without any privilege."""
    return caller.call(HELPER, bridge=bridge)


def status(process: int) -> dict[str, str]:
    """/proc/PID/status as names and values."""
    lines = Path("/proc", str(process), "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def try_inside(process: int, *argv: str) -> str:
    """Run a command where a process lives, that is in its mount namespace, as root; what it wrote on stderr."""
    inside = ["nsenter", f"--target={process}", "--mount", "--", *argv]
    return subprocess.run(inside, capture_output=True, text=True, check=False).stderr


def logged(*fields: str) -> str:
    """What the journal has with these fields (NAME=VALUE)."""
    world.run("journalctl", "--sync")
    return world.run("journalctl", "--quiet", "--output=cat", f"--unit={SERVICE}", *fields)
