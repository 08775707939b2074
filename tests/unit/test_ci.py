# SPDX-License-Identifier: GPL-2.0-or-later
"""What .ci/run has sudo start, for who is not root."""

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.redistributors_should_skip

TREE = Path(__file__).resolve().parents[2]
RUN = TREE / ".ci" / "run"


@pytest.mark.parametrize(
    ("where", "words"),
    [(".", [".ci/run"]), (".ci", ["./run"]), (".ci", ["bash", "run"]), ("tests", ["../.ci/run"])],
    ids=["tree", "beside it", "by its shell", "another place"],
)
def test_root_runs_the_very_script(tmp_path: Path, where: str, words: list[str]) -> None:
    """From wherever it is started, and whatever CDPATH says: never a word that is looked for in root's own PATH."""
    for name, line in (("id", "echo 1000"), ("sudo", 'printf "%s\\n" "$PWD" "$@"')):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
    (tmp_path / ".ci").mkdir()
    done = subprocess.run(
        words,
        cwd=TREE / where,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "CDPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == ([str(TREE), "--preserve-env=CI", str(RUN)], "")
