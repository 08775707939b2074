# SPDX-License-Identifier: GPL-2.0-or-later
"""What is built once for all tests of packages, and what building takes."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.packages import debs, throwaway
from tests.packages.debs import Debs
from tests.packages.throwaway import System

Needs = Callable[..., None]


@pytest.fixture(scope="session")
def needs() -> Needs:
    """Give a function that skips the test unless these programs are here."""

    def need(*programs: str) -> None:
        missing = [
            program for program in programs if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None
        ]
        if missing:
            pytest.skip(f"not here: {', '.join(missing)}; sudo ./dev test installs what is missing")

    return need


@pytest.fixture(scope="session")
def built(needs: Needs) -> Debs:
    """Our Debian packages."""
    needs("dh", "dh_python3", "dh_apparmor", "dpkg-buildpackage", "fakeroot")
    return debs.built()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """This machine's system, to install packages in."""
    with throwaway.system(tmp_path / "system") as made:
        yield made
