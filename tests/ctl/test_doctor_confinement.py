# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor`: confinement that no kernel here can enforce, by the files that say it is in force.

SELinux, and an AppArmor that knows who is at the other end of a socket.  What Debian's kernel enforces is in
tests/host/test_doctor_confinement.py.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbhelper.ctl.doctor import confinement, helper
from qbhelper.ctl.doctor.finding import State
from tests.ctl.doctor import changeable, found, is_well, mend, the_problem
from tests.support import install, world

TREE = install.TREE
HELPER = Path("/usr/bin/qbhelper")
DAEMON = Path("/usr/sbin/qbhelperd")
LABELS = """\
/usr/bin/.*\t--\tsystem_u:object_r:bin_t:s0
/usr/bin/qbhelper\t--\tsystem_u:object_r:qbhelper_exec_t:s0
/usr/sbin/qbhelperd\t--\tsystem_u:object_r:qbhelperd_exec_t:s0
"""

# In place of policycoreutils' own, which asks a kernel with SELinux.
RESTORECON = """#!/usr/bin/python3
import os, sys
with open("/etc/selinux/targeted/contexts/files/file_contexts") as labels:
    wanted = {line.split()[0]: line.split()[-1] for line in labels}
for path in sys.argv[2:]:
    os.setxattr(path, "security.selinux", wanted[path].encode())
"""

pytestmark = [pytest.mark.needs_root]


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the kernel and its files are, as the station sees them; for everybody to read."""
    directory = world.WORLD / "confinement"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def installed(a_host: None, monkeypatch: pytest.MonkeyPatch, place: Path) -> Iterator[None]:
    """Helper and daemon where packages have them, and nothing that confines."""
    del a_host
    for name in ("APPARMOR", "SECURITY", "PROFILES", "SELINUX"):
        monkeypatch.setattr(confinement, name, place / name)
    monkeypatch.setattr(helper, "USUAL", (str(HELPER),))
    with changeable("/usr"):
        shutil.copy(install.installed(), HELPER)
        DAEMON.touch()
        yield
    shutil.rmtree("/etc/selinux", ignore_errors=True)


def test_nothing_is_in_force() -> None:
    """As on most machines where this is developed."""
    [finding] = found(confinement.look, user="alice")
    assert (finding.state, finding.what) == (State.OK, "neither AppArmor nor SELinux is in force here")


class TestAppArmor:
    """With a kernel that tells sockets' ends apart."""

    @pytest.fixture(autouse=True)
    def in_force(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """AppArmor with our profile and libvirt's, both loaded."""
        (place / "APPARMOR").write_text("Y\n")
        (place / "SECURITY/features/network_v8/").mkdir(parents=True)
        (place / "SECURITY/features/signal").mkdir()
        (place / "SECURITY/features/network_v8/af_unix").write_text("yes\n")
        self.profiles = place / "SECURITY/profiles"
        self.profiles.write_text("virtqemud//qemu_bridge_helper (enforce)\nvirtqemud (enforce)\nqbhelper (enforce)\n")
        (place / "PROFILES/local").mkdir(parents=True)
        for name in ("qbhelper", "usr.sbin.virtqemud"):
            (place / "PROFILES" / name).touch()
        parser = place / "apparmor_parser"
        parser.write_text(f'#!/bin/sh\necho "$@" >>{place}/parsed\n')
        parser.chmod(0o755)
        monkeypatch.setenv("PATH", str(place), prepend=":")

    def test_libvirt_may_not_talk_to_us(self, place: Path) -> None:
        """Both are confined: the printed command adds what the snippet that we ship says, and has it loaded."""
        problem = the_problem(confinement.look)
        assert "AppArmor keeps virtqemud from talking to /usr/bin/qbhelper" in problem.what
        mend(problem)
        assert is_well(confinement.look)
        assert (place / "parsed").read_text() == f"-r {place}/PROFILES/usr.sbin.virtqemud\n"

    def test_libvirt_may_not_end_us(self, place: Path) -> None:
        """Which nothing depends on, where the kernel does not tell sockets' ends apart; it says what comes of it."""
        (place / "SECURITY/features/network_v8/af_unix").unlink()
        [_, finding] = found(confinement.look)
        assert finding.state is State.OK
        assert finding.what.endswith("not end it: the kernel may log refused ports as `DENIED', too")

    def test_our_snippet_is_enough(self, place: Path) -> None:
        """As a whole, with its comments."""
        shutil.copy(TREE / "packaging/examples/libvirt-local", place / "PROFILES/local/usr.sbin.virtqemud")
        assert is_well(confinement.look)

    def test_if_one_is_not_confined_nothing_is_needed(self) -> None:
        """Libvirt in complain mode is not; and without a profile we are not."""
        loaded = self.profiles.read_text()
        self.profiles.write_text("virtqemud (complain)\nqbhelper (enforce)\n")
        assert is_well(confinement.look)
        self.profiles.write_text(loaded)
        assert not is_well(confinement.look)
        (confinement.PROFILES / "qbhelper").unlink()
        assert is_well(confinement.look)

    def test_older_names_count(self, place: Path) -> None:
        """Of a profile that is named by its program."""
        (place / "PROFILES/usr.sbin.virtqemud").rename(place / "PROFILES/usr.sbin.libvirtd")
        self.profiles.write_text("/usr/sbin/libvirtd (enforce)\nqbhelper (enforce)\n")
        assert "keeps libvirtd from" in the_problem(confinement.look).what

    def test_a_user_can_not_tell(self, place: Path) -> None:
        """Unless what is needed is there anyway."""
        self.profiles.chmod(0o400)
        assert [one.state for one in found(confinement.look, user="alice")] == [State.UNKNOWN] * 2
        local = place / "PROFILES/local/usr.sbin.virtqemud"
        shutil.copy(TREE / "packaging/examples/libvirt-local", local)
        assert [one.state for one in found(confinement.look, user="alice")] == [State.UNKNOWN, State.OK]
        local.chmod(0o600)
        finding = found(confinement.look, user="alice")[1]
        assert (finding.state, finding.remedy) == (State.UNKNOWN, f"cat {local}")


class TestSelinux:
    """By what its policy says of our programs, and what they have."""

    @pytest.fixture(autouse=True)
    def in_force(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It enforces, with our module."""
        (place / "SELINUX").write_text("1")
        contexts = Path("/etc/selinux/targeted/contexts/files")
        contexts.mkdir(parents=True)
        (contexts / "file_contexts").write_text(LABELS)
        Path("/etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=targeted\n")
        (place / "restorecon").write_text(RESTORECON)
        (place / "restorecon").chmod(0o755)
        monkeypatch.setenv("PATH", str(place), prepend=":")

    def test_a_program_without_its_label(self) -> None:
        """As after a copy by hand; the printed command is the one that anybody would use."""
        os.setxattr(HELPER, "security.selinux", b"system_u:object_r:bin_t:s0\0")
        problem = the_problem(confinement.look)
        assert problem.remedy == "restorecon -v /usr/bin/qbhelper /usr/sbin/qbhelperd"
        assert found(confinement.look, user="alice") == [problem]
        mend(problem)
        [finding] = found(confinement.look)
        assert finding.what == (
            "SELinux enforces its rules, by our module, and /usr/bin/qbhelper and /usr/sbin/qbhelperd have its labels"
        )

    def test_permissive(self, place: Path) -> None:
        """It is in nobody's way then."""
        (place / "SELINUX").write_text("0")
        [finding] = found(confinement.look)
        assert finding.state is State.OK
        assert finding.what.startswith("SELinux is permissive, and /usr/bin/qbhelper /usr/sbin/qbhelperd has not")

    def test_without_our_module(self) -> None:
        """There is nothing to be right or wrong."""
        Path("/etc/selinux/targeted/contexts/files/file_contexts").write_text(LABELS.splitlines()[0])
        [finding] = found(confinement.look)
        assert "has no module of ours" in finding.what

    def test_the_labels_are_our_modules(self) -> None:
        """As packaging/selinux has them."""
        ours = (TREE / "packaging/selinux/qbhelper.fc").read_text()
        for path, kind in re.findall(r"^(\S+)\t--\t\w+:\w+:(\w+):", LABELS, re.MULTILINE)[1:]:
            assert re.search(rf"^{path}\t--\tgen_context\(system_u:object_r:{kind},s0\)$", ours, re.MULTILINE)
