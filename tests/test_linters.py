# SPDX-License-Identifier: GPL-2.0-or-later
"""Linters are tests: whoever says that all tests pass has said this too."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.redistributors_should_skip

TREE = Path(__file__).resolve().parents[1]
NATIVE = TREE / "qbhelper" / "native"
PAGES = sorted((TREE / "docs" / "man").iterdir())
COMPLETIONS = TREE / "packaging" / "completions"
COLUMNS = 80
NOT_OURS = frozenset(
    {".git", "build", "dist", "__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
SOURCE_NAMES = frozenset({"Makefile", ".gitignore", "_qbhelperctl"})
SOURCE_SUFFIXES = frozenset({".py", ".c", ".h", ".sh", ".bash", ".fish", ".toml", ".1", ".5", ".8"})
SPDX = "SPDX-License-Identifier: GPL-2.0-or-later"

# A program that opens fds for the one it executes "leaks" them on purpose.
ANALYZER = "-fanalyzer -Wno-analyzer-fd-leak"
WARNINGS = "-std=c11 -Wall -Wextra -Wconversion -Wshadow -Wformat=2 -Wstrict-prototypes -Werror"


def is_content(*argv: str | Path) -> None:
    """Run a linter over the tree, and fail with all that it says if it isn't content."""
    done = subprocess.run(argv, cwd=TREE, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        print(done.stdout, done.stderr)
        pytest.fail(f"{argv[0]} {' '.join(map(str, argv[1:4]))}: exit {done.returncode}; see its output", pytrace=False)


def files() -> Iterator[Path]:
    """Every file of the tree that somebody wrote."""
    for directory, subdirectories, names in os.walk(TREE):
        subdirectories[:] = sorted(set(subdirectories) - NOT_OURS)
        yield from (Path(directory, name) for name in sorted(names))


def first_lines(path: Path) -> list[str]:
    """Return the first two lines of a file, where its interpreter and its licence stand."""
    return path.read_bytes()[:300].decode(errors="replace").splitlines()[:2]


def is_script(path: Path, *interpreters: str) -> bool:
    """Whether the first line of a file names one of these interpreters."""
    first = "".join(first_lines(path)[:1])
    return first.startswith("#!") and first.split()[-1].rpartition("/")[2] in interpreters


def lines_of(path: Path) -> int:
    """How long a file is."""
    return len(path.read_text().splitlines())


def test_ruff_finds_no_fault() -> None:
    """The rules chosen in pyproject.toml hold in all Python code."""
    is_content(sys.executable, "-m", "ruff", "check", "--quiet", ".")


def test_the_code_is_formatted() -> None:
    """All Python code is laid out as ruff does it, so that nobody needs to talk about it."""
    is_content(sys.executable, "-m", "ruff", "format", "--check", "--diff", "--quiet", ".")


def test_the_types_hold() -> None:
    """Mypy in its strict mode understands the product and its tests."""
    is_content(sys.executable, "-m", "mypy", "--strict")


def test_shellcheck_finds_no_fault() -> None:
    """Every shell script passes shellcheck."""
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here: install it")
    scripts = [path for path in files() if path.suffix in (".sh", ".bash") or is_script(path, "sh", "bash")]
    assert {TREE / "dev", TREE / ".ci" / "run", COMPLETIONS / "qbhelperctl.bash"} <= set(scripts)
    is_content("shellcheck", *scripts)


@pytest.mark.parametrize(("shell", "name"), [("zsh", "_qbhelperctl"), ("fish", "qbhelperctl.fish")])
def test_other_shells_understand_the_completions(shell: str, name: str) -> None:
    """Each reads those for it without a complaint."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here: install it")
    is_content(shell, "-n", COMPLETIONS / name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manual_pages_are_well_formed(page: Path) -> None:
    """Groff has nothing to warn of, and on a terminal of 80 columns no line is longer."""
    if shutil.which("man") is None:
        pytest.skip("no man here: install man-db")
    done = subprocess.run(
        ["man", "--warnings=w", "--encoding=UTF-8", "--local-file", page],
        # MANROFFSEQ: without preprocessors, as there are no tables; MANOPT: no options of who runs this.
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": str(COLUMNS), "MANROFFSEQ": "", "MANOPT": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "NAME" in lines
    assert [line for line in lines if len(line) > COLUMNS] == []


@pytest.mark.parametrize("extra", ["", ANALYZER], ids=["warnings", "analyzer"])
def test_the_c_compiler_has_no_doubt(extra: str, tmp_path: Path) -> None:
    """The native part compiles without a warning, with the hardening it is shipped with."""
    program = tmp_path / "bin" / "qbhelper"
    flags = f"CFLAGS=-O2 -g {WARNINGS} {extra}"
    is_content("make", "--silent", f"BUILD={tmp_path}", flags, program)
    assert program.exists()


def test_the_native_part_can_be_audited_in_one_sitting() -> None:
    """No file of the native part, which runs with the most privilege, has more than 400 lines."""
    assert {path.name for path in NATIVE.glob("*.c")} == {"broker.c", "installation.c", "qbhelper.c"}
    assert [path for path in NATIVE.iterdir() if lines_of(path) > 400] == []


def test_every_module_can_be_read_in_one_sitting() -> None:
    """No module of the core is longer than 300 lines."""
    assert [path for path in (TREE / "qbhelper").rglob("*.py") if lines_of(path) > 300] == []


def test_every_source_file_names_its_licence() -> None:
    """The licence stands in the first line, or in the second if the first names an interpreter."""
    sources = [
        path
        for path in files()
        if path.name in SOURCE_NAMES or path.suffix in SOURCE_SUFFIXES or is_script(path, "sh", "bash", "python3")
    ]
    assert [path for path in sources if SPDX not in " ".join(first_lines(path))] == []
