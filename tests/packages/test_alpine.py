# SPDX-License-Identifier: GPL-2.0-or-later
"""The package for Alpine Linux: what its recipe does is done, with a shell like Alpine's, but without abuild."""

import re
from pathlib import Path

import pytest

from tests.packages.conftest import Needs
from tests.packages.throwaway import OWN_PROGRAMS
from tests.packages.trees import TREE, contents, copy_of_the_source, files, run, shared

RECIPE = TREE / "packaging/alpine"
ABUILD = """
set -eu
pkgdir=$1 srcdir=$2 builddir=$3
# Moves what was installed to the package that is being split off.
amove() {
    mkdir -p "$subpkgdir/$(dirname "$1")"
    mv "$pkgdir/$1" "$subpkgdir/$1"
}
. "$srcdir/APKBUILD"
cd "$builddir"
build
package
subpkgdir=$pkgdir-libvirt
libvirt
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds `qbhelper` and `qbhelper-libvirt`, as the recipe made them."""
    place = tmp_path_factory.mktemp("alpine")
    source = copy_of_the_source(place / "source")
    run(["sh", "-c", ABUILD, "abuild", place / "qbhelper", RECIPE, source], env=OWN_PROGRAMS, umask=0o022)
    return place


def test_each_package_has_its_files(made: Path) -> None:
    """A service of OpenRC's in the place of systemd's units."""
    ours = files(made / "qbhelper")
    assert {
        "usr/bin/qbhelper",
        "usr/sbin/qbhelperd",
        "etc/init.d/qbhelperd",
        "etc/qbhelper/policy.toml",
        "usr/share/qbhelper/qbhelper/standalone.py",
        *shared("usr/share"),
    } <= ours
    assert not [path for path in ours if "systemd" in path or "sysusers" in path or path.startswith("usr/lib")]
    page = "usr/share/man/man8/qemu-bridge-helper.8"
    assert page in ours, "the documentation of all is one package"
    assert files(made / "qbhelper-libvirt") == {"usr/bin/qemu-bridge-helper"}


def test_nothing_is_setuid_or_writable(made: Path) -> None:
    """One of two modes for each file: no `options="suid"` is needed."""
    modes = {entry.mode for name in ("qbhelper", "qbhelper-libvirt") for entry in contents(made / name).values()}
    assert modes <= {"-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x", "lrwxrwxrwx"}
    assert "suid" not in (RECIPE / "APKBUILD").read_text()


def test_the_recipe_names_all_that_is_there() -> None:
    """Each file beside it is a source or an install script, and each package that is split off has its function."""
    text = (RECIPE / "APKBUILD").read_text()
    named = {"APKBUILD", "qbhelper.initd", "qbhelper.pre-install"}
    assert {path.name for path in RECIPE.iterdir()} == named
    assert "\tqbhelper.initd\n" in text
    assert 'install="$pkgname.pre-install"' in text
    for function in ("build", "check", "package", "libvirt"):
        assert f"\n{function}() {{\n" in text


def test_the_scripts_pass_shellcheck(needs: Needs) -> None:
    """With what abuild and OpenRC set and read taken for granted."""
    needs("shellcheck")
    run(["shellcheck", "--shell=sh", *sorted(RECIPE.iterdir())])


def test_the_service_starts_the_broker_that_is_installed(made: Path) -> None:
    """By its own path, under a supervisor that starts it again."""
    script = (made / "qbhelper/etc/init.d/qbhelperd").read_text()
    settings = dict(re.findall(r"^(\w+)=(\S+)$", script, re.MULTILINE))
    assert (made / f"qbhelper{settings['command']}").exists()
    assert settings["supervisor"] == "supervise-daemon"
