# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages for Arch Linux, made with makepkg as Debian has it.  Nothing is installed: that takes an Arch."""

import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.packages.conftest import Needs
from tests.packages.throwaway import OWN_PROGRAMS
from tests.packages.trees import TREE, copy_of_the_source, run, shared
from tests.support.caller import PLAIN_UID

RECIPE = TREE / "packaging/arch"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, needs: Needs) -> Iterator[dict[str, tarfile.TarFile]]:
    """The packages by name."""
    needs("makepkg", "fakeroot", "bsdtar", "musl-gcc")
    place = tmp_path_factory.mktemp("arch")
    copy = copy_of_the_source(place / "qbhelper-0.1.0")
    with tarfile.open(place / "qbhelper-0.1.0.tar.gz", "w:gz") as archive:
        archive.add(copy, copy.name)
    shutil.rmtree(copy)
    for path in RECIPE.iterdir():
        shutil.copy(path, place)
    # makepkg will not run as root, and asks pacman only what is installed.
    identity: dict[str, object] = {}
    if os.geteuid() == 0:
        place.chmod(0o777)
        for directory in place.parents:
            if directory.owner() == "root":
                directory.chmod(directory.stat().st_mode | 0o011)
        identity = {"user": PLAIN_UID, "group": PLAIN_UID, "extra_groups": []}
    environment = {**OWN_PROGRAMS, "PACMAN": "true", "HOME": str(place), "BUILDDIR": str(place)}
    words = ["makepkg", "--nodeps", "--nocheck", "--skipchecksums", "--noconfirm"]
    run(words, cwd=place, env=environment, umask=0o022, **identity)
    with ExitStack() as opened:
        yield {
            name: opened.enter_context(tarfile.open(place / f"{name}-0.1.0-1-{arch}.pkg.tar.gz"))
            for name, arch in (("qbhelper", "x86_64"), ("qbhelper-libvirt", "any"))
        }


def test_each_package_has_its_files(made: dict[str, tarfile.TarFile]) -> None:
    """All programs in /usr/bin, as Arch has it; the unit knows that."""
    ours = set(made["qbhelper"].getnames())
    assert {
        "usr/bin/qbhelper",
        "usr/bin/qbhelperd",
        "usr/lib/systemd/system/qbhelper.socket",
        "usr/lib/sysusers.d/qbhelper.conf",
        "usr/share/qbhelper/qbhelper/standalone.py",
        *shared("usr/share", compressed=".gz"),
        "etc/qbhelper/policy.toml",
        "etc/qbhelper/policy.d",
    } <= ours
    assert not [path for path in ours if re.match(r"usr/(s?bin/\S*/|sbin|local|libexec)", path)]
    unit = made["qbhelper"].extractfile("usr/lib/systemd/system/qbhelper.service")
    assert unit is not None
    assert b"\nExecStart=/usr/bin/qbhelperd\n" in unit.read()
    links = [member.name for member in made["qbhelper-libvirt"].getmembers() if member.issym()]
    assert links == ["usr/bin/qemu-bridge-helper"]


def test_nothing_is_setuid_or_writable(made: dict[str, tarfile.TarFile]) -> None:
    """Every file is root's, with one of two modes."""
    for package in made.values():
        for member in package.getmembers():
            assert member.uid == member.gid == 0, member.name
            assert member.issym() or member.mode in (0o644, 0o755), f"{member.name}: {member.mode:o}"


def test_what_is_installed_is_what_pacman_will_know(made: dict[str, tarfile.TarFile]) -> None:
    """Configuration is kept, the modules of the distribution are named, and nothing tells where it was made."""
    information = made["qbhelper"].extractfile(".PKGINFO")
    assert information is not None
    lines = information.read().decode().splitlines()
    etc = {name for name in made["qbhelper"].getnames() if name.startswith("etc/")}
    files = {name for name in etc if made["qbhelper"].getmember(name).isfile()}
    assert {line.partition(" = ")[2] for line in lines if line.startswith("backup")} == files
    depends = {line.partition(" = ")[2] for line in lines if line.startswith("depend =")}
    assert depends == {"python", "python-prctl", "python-pyroute2"}
    for member in made["qbhelper"].getmembers():
        content = made["qbhelper"].extractfile(member)
        assert content is None or b"/src/qbhelper-0.1.0" not in content.read(), member.name


def test_the_recipe_passes_shellcheck(needs: Needs) -> None:
    """With what makepkg sets and reads taken for granted."""
    needs("shellcheck")
    run(["shellcheck", RECIPE / "PKGBUILD", RECIPE / "qbhelper.install"])


def test_upgrades_do_not_close_the_socket(tmp_path: Path) -> None:
    """Only a broker that runs is restarted; where systemd does not run, nothing is done."""
    text = (RECIPE / "qbhelper.install").read_text()
    assert re.findall(r"systemctl .*", text.partition("post_upgrade")[2]) == [
        "systemctl try-restart qbhelper.service",
        "systemctl disable --now qbhelper.socket",
    ]
    run(["bash", "-euc", f". {RECIPE}/qbhelper.install; [ -d /run/systemd/system ] || {{ post_upgrade; pre_remove; }}"])
