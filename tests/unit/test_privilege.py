# SPDX-License-Identifier: GPL-2.0-or-later
"""The core started without the native part: it refuses, whoever starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REMEDY = "start this through the qbhelper program, not through Python"
TREE = Path(__file__).resolve().parents[2]
pytest.importorskip("prctl", reason="python-prctl is not installed")


def start_core(*before: str, words: tuple[str, ...] = ("--br=br0", "--fd=0")) -> subprocess.CompletedProcess[str]:
    """Start the core as anybody could: with Python, from the tree."""
    code = "import sys\nfrom qbhelper.standalone import main\nmain(sys.argv[1:])"
    return subprocess.run(
        [*before, sys.executable, "-B", "-c", code, *words],
        cwd=TREE,
        env=os.environ | {"PYTHONPATH": str(TREE)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_outside_the_native_parts_state_the_core_refuses() -> None:
    """Started through Python, even by root, the core says which promise is not kept, and ends."""
    done = start_core()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"failed to drop privileges: no_new_privs is not set; {REMEDY}\n"


def test_without_the_capability_the_core_refuses() -> None:
    """With no_new_privs alone, and all or none of the capabilities, it is not the named state either."""
    done = start_core("setpriv", "--no-new-privs")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("failed to drop privileges: the capabilities are not CAP_NET_ADMIN alone; ")
    assert done.stderr.count("\n") == 1


def test_privilege_is_looked_at_before_the_words() -> None:
    """Nothing of the caller's is looked at before the state of the process is known."""
    assert start_core(words=("--help",)).stderr.startswith("failed to drop privileges: ")
