# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor` where AppArmor is in force: our own profile, and libvirt's, which keeps it from our helper."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbhelper.ctl.doctor import confinement, helper
from qbhelper.ctl.doctor.finding import State
from tests.ctl.doctor import found, is_well, mend, the_problem
from tests.support import broker, install, world

pytestmark = pytest.mark.inside("debian13-vm")

PROFILE = Path("/etc/apparmor.d/qbhelper")
LIBVIRTS = Path("/etc/apparmor.d/usr.sbin.virtqemud")
LOCAL = Path("/etc/apparmor.d/local/usr.sbin.virtqemud")

# What is of importance here in libvirt's own, whose places for programs are these.
TEXT_OF_LIBVIRTS = """
abi <abi/3.0>,
include <tunables/global>
profile virtqemud /usr/sbin/virtqemud flags=(attach_disconnected) {
  include <abstractions/base>
  capability,
  network,
  /usr/bin/* PUx,
  include if exists <local/usr.sbin.virtqemud>
}
"""


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Our helper in /usr/bin, and nothing of ours or of libvirt's in AppArmor."""
    theirs = [path for file in confinement.OF_LIBVIRT if (path := confinement.PROFILES / file).exists()]
    for path in theirs:
        path.rename(path.with_name(f"{path.name}.aside"))
    path = Path("/usr/bin/qbhelper")
    shutil.copy(install.installed(), path)
    monkeypatch.setattr(helper, "USUAL", (str(path),))
    yield path
    path.unlink()
    for profile in (PROFILE, LIBVIRTS):
        if profile.exists():
            subprocess.run(["apparmor_parser", "--remove", profile], capture_output=True, check=False)
            profile.unlink()
    LOCAL.unlink(missing_ok=True)
    for path in theirs:
        path.with_name(f"{path.name}.aside").rename(path)


def may_be_started(path: Path) -> bool:
    """Whether libvirt, confined, may start it: without words it says how it is used."""
    command: list[str | Path] = ["aa-exec", "--immediate", "--profile=virtqemud", "--", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "usage" in done.stderr.lower() or "Permission denied" in done.stderr, done
    return "usage" in done.stderr.lower()


def test_without_a_profile() -> None:
    """Nothing is in the way, and anybody can see it."""
    [finding] = found(confinement.look, user="nobody")
    assert (finding.state, finding.what) == (State.OK, "AppArmor has no profile for /usr/bin/qbhelper")


def test_a_profile_that_is_not_loaded() -> None:
    """The printed command loads it; who is not root can't see whether it is."""
    shutil.copy(install.TREE / "packaging/apparmor/qbhelper", PROFILE)
    mend(the_problem(confinement.look))
    [finding] = found(confinement.look)
    assert finding.what == "AppArmor confines /usr/bin/qbhelper by a profile of its own (enforce mode)"
    [finding] = found(confinement.look, user="nobody")
    assert (finding.state, finding.remedy) == (State.UNKNOWN, "qbhelperctl doctor")
    world.run("apparmor_parser", "--replace", "--Complain", str(PROFILE))
    assert "(complain mode)" in found(confinement.look)[0].what


def test_one_that_root_has_disabled() -> None:
    """That is as if there were none."""
    shutil.copy(install.TREE / "packaging/apparmor/qbhelper", PROFILE)
    disabled = PROFILE.parent / "disable" / PROFILE.name
    disabled.parent.mkdir(exist_ok=True)
    disabled.symlink_to(PROFILE)
    assert is_well(confinement.look)
    disabled.unlink()


def test_libvirt_may_start_what_is_in_usr_bin(program: Path) -> None:
    """Its profile says so."""
    load_libvirts()
    assert may_be_started(program)
    assert is_well(confinement.look)


def test_libvirt_may_not_start_what_is_in_usr_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `make install` has it; the printed command adds a rule of root's own."""
    ours = Path("/usr/local/bin/qbhelper")
    shutil.copy(install.installed(), ours)
    monkeypatch.setattr(helper, "USUAL", (str(ours),))
    load_libvirts()
    assert not may_be_started(ours)
    problem = the_problem(confinement.look)
    assert "AppArmor keeps virtqemud from starting /usr/local/bin/qbhelper" in problem.what
    [_, finding] = found(confinement.look, user="nobody")
    assert (finding.state, finding.remedy) == (State.UNKNOWN, "qbhelperctl doctor")
    mend(problem)
    assert may_be_started(ours)
    assert is_well(confinement.look)
    assert is_well(confinement.look)
    ours.unlink()


def test_our_own_profile_lets_the_doctor_look() -> None:
    """Confined as it is where packages have put it, qbhelperctl reads what nft says, and knocks at the broker."""
    profile = install.TREE / "packaging/apparmor/qbhelperctl"
    world.run("apparmor_parser", "--replace", str(profile))
    confined = "aa-exec", "--immediate", "--profile=qbhelperctl", "--"
    knock = "import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect"
    broker.SOCKET.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(broker.SOCKET))
        listener.listen()
        try:
            world.run("nft", "add", "table", "inet", "mine")
            assert "mine" in world.run(*confined, "nft", "--json", "list", "ruleset")
            world.run(*confined, "python3", "-c", f"{knock}({str(broker.SOCKET)!r})")
        finally:
            world.run("nft", "delete", "table", "inet", "mine")
            world.run("apparmor_parser", "--remove", str(profile))
            broker.SOCKET.unlink()


def load_libvirts() -> None:
    """Have libvirt confined."""
    LIBVIRTS.write_text(TEXT_OF_LIBVIRTS)
    world.run("apparmor_parser", "--replace", str(LIBVIRTS))
