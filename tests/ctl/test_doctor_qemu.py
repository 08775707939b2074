# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor`: what QEMU starts for a bare `-nic bridge`, in a /usr that is this world's alone."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbhelper.ctl.doctor import helper, qemu
from qbhelper.ctl.doctor.finding import State
from tests.ctl.doctor import changeable, found, is_well, mend, the_problem
from tests.support import broker, caller, install, world

HELPER = Path("/usr/lib/qemu/qemu-bridge-helper")

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("a_host", "usr")]


@pytest.fixture
def usr(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Debian's QEMU with its helper, and no package of ours; ours is where `make install` has put it."""
    monkeypatch.setattr(helper, "USUAL", (str(install.installed()),))
    assert install.original() == HELPER
    with changeable("/usr"), changeable("/var/lib/dpkg"):
        yield


def granted(helper: Path) -> bool:
    """Whether root, who needs no broker, gets a port by this helper."""
    world.write_access_list("allow br0\n")
    with caller.call(helper, uid=0) as outcome:
        return outcome.granted


def test_debians_has_no_privilege() -> None:
    """It fails for everybody; the printed command puts ours there, and dpkg keeps its own out of the way."""
    problem = the_problem(qemu.look)
    assert found(qemu.look, user="alice") == [problem]
    assert "QEMU's own, without privilege: it fails, unless QEMU is told `-nic bridge,helper=" in problem.what
    mend(problem)
    assert HELPER.readlink() == install.installed()
    assert is_well(qemu.look)
    assert granted(HELPER)
    assert f"local diversion of {HELPER} to {HELPER}.distrib" in world.run("dpkg-divert", "--list", str(HELPER))


def test_where_our_package_is_there_is_one_for_this() -> None:
    """It diverts, and undoes that when it is removed."""
    Path("/var/lib/dpkg/info/qbhelper.list").touch()
    assert the_problem(qemu.look).remedy == "apt install qbhelper-qemu"


def test_without_dpkg_it_is_a_link() -> None:
    """There are no diversions."""
    Path("/var/lib/dpkg/diversions").unlink()
    problem = the_problem(qemu.look)
    assert problem.remedy == f"ln -sf {install.installed()} {HELPER}"
    mend(problem)
    assert is_well(qemu.look)


def test_one_with_privilege_works() -> None:
    """It is not ours, and of no use in QEMU's sandbox; both is said."""
    HELPER.chmod(0o4755)
    [finding] = found(qemu.look)
    assert (finding.state, finding.remedy) == (State.OK, "")
    assert "QEMU's own, setuid root; it works, though not under `-sandbox on'" in finding.what
    HELPER.chmod(0o755)
    world.run("setcap", "cap_net_admin=ep", str(HELPER))
    [finding] = found(qemu.look, user="alice")
    assert "with a file capability; it works" in finding.what


def test_a_setuid_bit_of_another_owner_is_none() -> None:
    """Of root it would be."""
    shutil.chown(HELPER, "alice")
    HELPER.chmod(0o4755)
    assert "without privilege" in the_problem(qemu.look).what


def test_a_file_capability_that_is_not_the_one_is_none() -> None:
    """It takes CAP_NET_ADMIN."""
    world.run("setcap", "cap_net_raw=ep", str(HELPER))
    assert "without privilege" in the_problem(qemu.look).what


def test_a_setuid_bit_counts_for_nothing_on_a_mount_without_it() -> None:
    """Where the file lies takes its privilege away."""
    HELPER.chmod(0o4755)
    world.run("mount", "--bind", str(HELPER), str(HELPER))
    try:
        world.run("mount", "-o", "remount,bind,nosuid", str(HELPER))
        assert "without privilege" in the_problem(qemu.look).what
    finally:
        world.run("umount", str(HELPER))


def test_ours_is_known_by_whatever_name() -> None:
    """A copy is as good as a link; what it needs in the sandbox is a broker."""
    HELPER.unlink()
    shutil.copy(install.installed(), HELPER)
    [finding] = found(qemu.look)
    assert finding.what.endswith("qbhelper, but without a broker not in a sandbox")
    broker.SOCKET.parent.mkdir(exist_ok=True)
    broker.SOCKET.touch()
    [finding] = found(qemu.look)
    assert finding.what.endswith("qbhelper, under `-sandbox on', too, by way of the broker")
    broker.SOCKET.unlink()


def test_a_link_that_leads_nowhere() -> None:
    """As after ours was removed by hand."""
    HELPER.unlink()
    HELPER.symlink_to("/usr/bin/no-such-helper")
    problem = the_problem(qemu.look)
    assert "a link that leads nowhere" in problem.what
    mend(problem)
    assert is_well(qemu.look)


def test_a_qemu_without_a_helper() -> None:
    """Some distributions leave it out."""
    HELPER.unlink()
    problem = the_problem(qemu.look)
    assert problem.what.startswith("qemu-system-x86_64 has no helper")
    mend(problem)
    assert is_well(qemu.look)


def test_no_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to say about it."""
    HELPER.unlink()
    for program in qemu.PROGRAMS:
        subprocess.run(["rm", "-f", f"/usr/bin/{program}"], check=True)
    assert is_well(qemu.look)


def test_one_that_can_not_be_looked_at() -> None:
    """As openSUSE and Alpine have it: only for a group; it may be ours."""
    HELPER.chmod(0o4710)
    [finding] = found(qemu.look, user="alice")
    assert (finding.state, finding.remedy) == (State.UNKNOWN, f"ls -lL {HELPER}")
    assert is_well(qemu.look)
