# SPDX-License-Identifier: GPL-2.0-or-later
"""`make install` puts manual pages and completions where man(1) and shells look for them."""

import subprocess
from pathlib import Path

import pytest

from tests import completions, manual

pytestmark = pytest.mark.redistributors_should_skip

TREE = Path(__file__).resolve().parents[2]
SHELLS = {
    "qbhelperctl.bash": "bash-completion/completions",
    "_qbhelperctl": "zsh/site-functions",
    "qbhelperctl.fish": "fish/vendor_completions.d",
}


def make(target: str, directory: Path) -> None:
    """Run make as for a package, with a umask that is odd."""
    words = [target, "prefix=/usr", f"DESTDIR={directory}/root", f"BUILD={directory}/build"]
    subprocess.run(["make", "-s", "-C", TREE, *words], check=True, umask=0o077, timeout=120)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all was installed."""
    directory = tmp_path_factory.mktemp("installation")
    make("install", directory)
    return directory


def expected(share: Path) -> dict[Path, Path]:
    """Each file below share -> where it comes from."""
    pages = {share / "man" / f"man{page.suffix[1:]}" / page.name: page for page in manual.pages()}
    return pages | {share / SHELLS[file.name] / file.name: file for file in completions.files()}


def test_pages_and_completions_are_where_they_are_looked_for(place: Path) -> None:
    """All of them and no other file, to be read by everybody."""
    share = place / "root/usr/share"
    ours = [share / "doc", *(share / "doc").rglob("*")]  # examples: tests/packages
    installed = {path for path in share.rglob("*") if path.is_file()} - set(ours)
    assert installed == set(expected(share))
    for path, source in expected(share).items():
        assert path.read_text() == source.read_text()
        assert path.stat().st_mode & 0o7777 == 0o644
        assert path.parent.stat().st_mode & 0o7777 == 0o755


def test_uninstall_takes_them_away(place: Path) -> None:
    """With the same variables; only directories stay."""
    make("uninstall", place)
    assert [path for path in (place / "root").rglob("*") if not path.is_dir()] == []
