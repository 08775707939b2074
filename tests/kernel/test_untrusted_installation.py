# SPDX-License-Identifier: GPL-2.0-or-later
"""An installation that others than root can change: privilege is lent to none of it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel import probe
from tests.kernel.conftest import LENT
from tests.kernel.ways import Way, granted, refused
from tests.support import world
from tests.support.install import Privilege

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("br0")]

CORE = "lib/qbhelper/qbhelper/standalone.py"


@pytest.fixture(params=LENT)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """A copy of our helper with an installation of its own, which is put in order again."""
    privilege: Privilege = request.param
    native = probe.installation("doubtful", None) / "bin/qbhelper"
    yield probe.probe("doubtful", None, privilege)
    prefix = native.parents[1]
    for path in (prefix, *prefix.rglob("*")):
        if path.parent.name != "bin":
            os.chown(path, 0, 0)
            path.chmod(0o755 if path.is_dir() else 0o644)


def prefix_of(way: Way) -> Path:
    """Where its installation lies."""
    return way.helper.parents[1]


def others(path: Path) -> None:
    """Let everybody write."""
    path.chmod(path.stat().st_mode | 0o002)


def group(path: Path) -> None:
    """Let the group write."""
    path.chmod(path.stat().st_mode | 0o020)


def somebody(path: Path) -> None:
    """Give it to a plain user."""
    shutil.chown(path, 61234)


def test_an_installation_that_is_in_order_works(way: Way) -> None:
    """The check of the checks: untouched, this copy grants."""
    with way.call() as outcome:
        granted(outcome)


@pytest.mark.parametrize("spoil", [others, group, somebody])
def test_a_core_that_others_can_change_is_not_started(way: Way, spoil: Callable[[Path], None]) -> None:
    """The core's first module must be root's, and nobody else's to write."""
    core = prefix_of(way) / CORE
    spoil(core)
    with way.call() as outcome:
        line = refused(outcome, f"failed to start {core}: {core} is not root's, or others may write to it; ")
    assert "make install" in line


@pytest.mark.parametrize("spoil", [others, group, somebody])
@pytest.mark.parametrize(
    "directory",
    [
        *("lib/qbhelper/qbhelper", "lib/qbhelper", "lib", "."),
        *("lib/qbhelper/qbhelper/kernel", "lib/qbhelper/qbhelper/policy", "lib/qbhelper/qbhelper/__pycache__"),
        *("lib/qbhelper/qbhelper/kernel/__pycache__", "lib/qbhelper/qbhelper/policy/__pycache__"),
        *("lib/qbhelper/qbhelper/kernel/sieve", "lib/qbhelper/qbhelper/kernel/sieve/__pycache__"),
    ],
)
def test_a_core_in_a_directory_that_others_can_change_is_not_started(
    way: Way, directory: str, spoil: Callable[[Path], None]
) -> None:
    """Who may write to the directory can put another core into it, so that counts as well."""
    spoil(prefix_of(way) / directory)
    with way.call() as outcome:
        refused(outcome, "failed to start ")


def sticky(path: Path) -> None:
    """Let the group add to a directory, but not take away or replace what is in it."""
    path.chmod(0o1775)


@pytest.mark.parametrize("directory", [".", "lib", "lib/qbhelper", "lib/qbhelper/qbhelper"])
def test_a_directory_that_a_group_adds_to_is_not_used(way: Way, directory: str) -> None:
    """Sticky or not: a new module or setting there could come before what is meant."""
    sticky(prefix_of(way) / directory)
    with way.call() as outcome:
        refused(outcome, f"failed to start {prefix_of(way)}")


@pytest.fixture(params=LENT)
def stored(request: pytest.FixtureRequest) -> Iterator[Way]:
    """A copy that was built for a store, and lies in it; that is put in order again."""
    store = world.WORLD / "probes/store"
    yield probe.probe("store/package", None, request.param, f"STORE={store}")
    for path in (store, store / "package", store / "package/lib"):
        path.chmod(0o755)
        os.chown(path, 0, 0)


def test_a_group_may_add_to_the_store_that_a_helper_was_built_for(stored: Way) -> None:
    """As on NixOS, whose /nix/store is root:nixbld 1775: what is root's in there stays root's."""
    sticky(prefix_of(stored).parent)
    with stored.call() as outcome:
        granted(outcome)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1757, 0o1777])
def test_a_store_where_what_is_roots_can_be_replaced_is_not_used(stored: Way, mode: int) -> None:
    """Not sticky, or open to everybody."""
    prefix_of(stored).parent.chmod(mode)
    with stored.call() as outcome:
        refused(outcome, "failed to start ")


def test_a_store_of_somebody_else_is_not_used(stored: Way) -> None:
    """Who owns a sticky directory may replace what is in it."""
    sticky(prefix_of(stored).parent)
    somebody(prefix_of(stored).parent)
    with stored.call() as outcome:
        refused(outcome, "failed to start ")


@pytest.mark.parametrize("directory", [".", "lib"])
def test_only_the_store_itself_is_for_a_group_to_add_to(stored: Way, directory: str) -> None:
    """Not what lies in it."""
    sticky(prefix_of(stored) / directory)
    with stored.call() as outcome:
        refused(outcome, "failed to start ")


def test_a_link_of_somebody_else_is_not_followed(way: Way) -> None:
    """A symlink where the modules should be leads to root's own, until its owner makes it lead elsewhere."""
    modules = prefix_of(way) / "lib/qbhelper"
    aside = modules.with_name("aside")
    modules.rename(aside)
    modules.symlink_to(aside)
    os.chown(modules, 61234, 61234, follow_symlinks=False)
    try:
        with way.call() as outcome:
            refused(outcome, "failed to start ")
    finally:
        modules.unlink()
        aside.rename(modules)


def test_a_core_that_is_missing_is_told(way: Way) -> None:
    """A half-removed installation says what to install again."""
    core = prefix_of(way) / CORE
    aside = core.with_suffix(".aside")
    core.rename(aside)
    try:
        with way.call() as outcome:
            refused(outcome, f"failed to start {core}: No such file or directory; install qbhelper again")
    finally:
        aside.rename(core)


def test_a_core_that_is_broken_is_told_without_a_traceback(way: Way) -> None:
    """A module that is missing behind the first one makes one line, too."""
    modules = prefix_of(way) / "lib/qbhelper/qbhelper"
    for part in (modules / "grant.py", modules / "__pycache__"):
        part.rename(part.with_name(part.name + ".aside"))
    try:
        with way.call() as outcome:
            line = refused(outcome, "failed to load the Python core: ")
        assert "install qbhelper and python-prctl again" in line
    finally:
        for part in (modules / "grant.py", modules / "__pycache__"):
            part.with_name(part.name + ".aside").rename(part)
