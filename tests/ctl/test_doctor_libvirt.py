# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor`: the helper that libvirt starts for a user's own guests, in a /usr and a /home of this world."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbhelper.ctl.doctor import helper, libvirt
from qbhelper.ctl.doctor.finding import State
from tests.ctl import host
from tests.ctl.doctor import changeable, found, is_well, mend, the_problem
from tests.support import install, world

OLD, NEW, BETWEEN = "libvirt.so.0.9000.0", "libvirt.so.0.11003.0", "libvirt.so.0.10000.0"
QEMUS = Path("/usr/lib/qemu/qemu-bridge-helper")
LINK = Path("/usr/bin/qemu-bridge-helper")
HOME = world.WORLD / "homes/alice"
SETTINGS = HOME / ".config/libvirt/qemu.conf"
PASSWD = host.PASSWD.replace("alice:x:1000:1000::/:", f"alice:x:1000:1000::{HOME}:")

pytestmark = [pytest.mark.needs_root]


@pytest.fixture(autouse=True)
def a_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Alice, who has a home of her own; Debian's QEMU; a libvirt for QEMU, but of no version yet."""
    monkeypatch.setattr(helper, "USUAL", (str(install.installed()),))
    HOME.parent.mkdir(exist_ok=True)
    HOME.mkdir(mode=0o700)
    os.chown(HOME, 1000, 1000)
    with changeable("/usr"), host.accounts(PASSWD):
        Path("/usr/sbin/virtqemud").touch()
        yield
    shutil.rmtree(HOME)


def library(name: str) -> None:
    """Install a libvirt of this version."""
    Path("/usr/lib/x86_64-linux-gnu", name).touch()


def write(text: str) -> None:
    """Write alice's settings."""
    SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text(text)
    for path in (SETTINGS, SETTINGS.parent, SETTINGS.parent.parent):
        os.chown(path, 1000, 1000)


class TestByDefault:
    """Where the user has said nothing."""

    def test_a_new_one_finds_debians(self) -> None:
        """It has no privilege; a link of its name comes first in the search, for all users."""
        library(NEW)
        problem = the_problem(libvirt.look, of="alice")
        assert problem.what == (
            f"libvirt starts {QEMUS} for alice's own guests (it finds that first): QEMU's own, without privilege"
        )
        assert problem.remedy == f"ln -sf {install.installed()} /usr/bin/qemu-bridge-helper"
        mend(problem)
        assert is_well(libvirt.look, of="alice")
        [finding] = found(libvirt.look, user="alice")
        assert finding.what == f"libvirt starts {LINK} for alice's own guests (it finds that first): qbhelper"

    def test_an_old_one_starts_the_one_that_it_was_built_to(self) -> None:
        """Whatever is in /usr/bin: the user has to tell it, and root can do that as the user."""
        library(OLD)
        LINK.symlink_to(install.installed())
        problem = the_problem(libvirt.look, of="alice")
        assert str(QEMUS) in problem.what
        mend(problem)
        assert SETTINGS.read_text() == f'bridge_helper = "{install.installed()}"\n'
        assert (SETTINGS.stat().st_uid, SETTINGS.parent.stat().st_gid) == (1000, 1000)
        assert is_well(libvirt.look, of="alice")

    def test_a_user_is_told_the_command_for_users(self) -> None:
        """Which does the same, without root."""
        library(OLD)
        [problem] = found(libvirt.look, user="alice")
        assert problem.remedy == (
            f"mkdir -p {SETTINGS.parent} && echo 'bridge_helper = \"{install.installed()}\"' >>{SETTINGS}"
        )

    def test_of_one_in_between_it_is_not_known(self) -> None:
        """Unless it comes to the same."""
        library(BETWEEN)
        LINK.symlink_to(install.installed())
        [finding] = found(libvirt.look, of="alice")
        assert finding.state is State.UNKNOWN
        assert "version 10.0" in finding.what
        mend(finding)
        assert is_well(libvirt.look, of="alice")
        SETTINGS.unlink()
        LINK.unlink()
        assert str(QEMUS) in the_problem(libvirt.look, of="alice").what

    def test_no_helper_at_all(self) -> None:
        """As without QEMU's package of programs."""
        library(NEW)
        QEMUS.unlink()
        problem = the_problem(libvirt.look, of="alice")
        assert problem.what.endswith("there is none")
        mend(problem)
        assert is_well(libvirt.look, of="alice")

    def test_a_setuid_one_works(self) -> None:
        """It is just not ours."""
        library(NEW)
        QEMUS.chmod(0o4755)
        [finding] = found(libvirt.look, of="alice")
        assert finding.state is State.OK
        assert finding.what.endswith("QEMU's own, setuid root; it works, and asks neither policy nor broker")


class TestBySetting:
    """Where the user has chosen."""

    @pytest.mark.parametrize("version", [OLD, NEW])
    def test_ours(self, version: str) -> None:
        """By a path, in quotes of either kind; what is commented out does not count."""
        library(version)
        for quote in "'\"":
            write(f'# bridge_helper = "/x"\nuser = "x"\n bridge_helper= {quote}{install.installed()}{quote}  # ours\n')
            assert is_well(libvirt.look, of="alice")

    def test_one_that_does_not_work(self) -> None:
        """Another line would not count, as the first one does: the command changes the one that is there."""
        library(NEW)
        LINK.symlink_to(install.installed())
        write('bridge_helper = "/usr/lib/qemu/no-such"\nuser = "x"\n')
        problem = the_problem(libvirt.look, of="alice")
        assert problem.what.endswith(f"({SETTINGS} says so): there is none")
        mend(problem)
        assert SETTINGS.read_text() == f'bridge_helper = "{install.installed()}"\nuser = "x"\n'
        assert is_well(libvirt.look, of="alice")

    def test_that_of_the_system_is_for_nobody(self) -> None:
        """A session does not read it."""
        library(NEW)
        place = Path("/etc/libvirt")
        place.mkdir()
        (place / "qemu.conf").write_text(f'bridge_helper = "{install.installed()}"\n')
        assert not is_well(libvirt.look, of="alice")
        shutil.rmtree(place)


class TestOthers:
    """Who asks, and of whom."""

    def test_of_another_user_only_root_is_told(self) -> None:
        """Not even whether she has such a file."""
        library(NEW)
        without = found(libvirt.look, user="bob", of="alice")
        write(f'bridge_helper = "{install.installed()}"\n')
        assert found(libvirt.look, user="bob", of="alice") == without
        [finding] = without
        assert (finding.state, finding.remedy) == (State.UNKNOWN, "qbhelperctl doctor --user alice")
        assert is_well(libvirt.look, of="alice")

    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/tty"])
    def test_root_is_not_led_to_a_device(self, device: str) -> None:
        """A user's link can lead anywhere, and some begin to do something when they are opened."""
        library(NEW)
        write("")
        SETTINGS.unlink()
        SETTINGS.symlink_to(device)
        [finding] = found(libvirt.look, of="alice")
        assert finding.state is State.UNKNOWN
        assert finding.what.endswith("not a regular file")

    def test_root_needs_none(self) -> None:
        """Its libvirt is the system's."""
        library(NEW)
        assert is_well(libvirt.look)

    def test_who_has_no_account_has_no_guests(self) -> None:
        """There is no home to look in."""
        library(NEW)
        assert is_well(libvirt.look, of="4711")

    def test_no_libvirt(self) -> None:
        """Nothing to say about it."""
        Path("/usr/sbin/virtqemud").unlink()
        [finding] = found(libvirt.look, of="alice")
        assert finding.what == "there is no libvirt here that runs QEMU"
