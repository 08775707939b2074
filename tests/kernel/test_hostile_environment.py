# SPDX-License-Identifier: GPL-2.0-or-later
"""A hostile caller's environment, directory and words: its code never runs, and the answer is clean."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.trap import Trap
from tests.kernel.ways import Way, granted, refused
from tests.support import caller, world

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("br0")]

ENVIRONMENTS = """
    PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHON* HOME PATH LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT LD_* GLIBC_TUNABLES
    GCONV_PATH MALLOC_* TMPDIR nothing malformed
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Trap]:
    """The trap, built once."""
    root = world.WORLD / "trap"
    yield Trap(root)
    shutil.rmtree(root)


@pytest.fixture
def trap(built: Trap) -> Iterator[Trap]:
    """A trap that nobody has stepped into, nor does until the end of the test."""
    built.sprung()
    yield built
    assert built.sprung() == set()


def test_the_environments_are_all_tried(trap: Trap) -> None:
    """Each environment that the trap knows is in the list of the next test."""
    assert set(trap.environments()) == set(ENVIRONMENTS.split())


@pytest.mark.parametrize("name", ENVIRONMENTS.split())
def test_no_environment_reaches_the_core(lent: Way, trap: Trap, name: str) -> None:
    """Whatever a caller sets, the port is granted as ever, and nothing of the caller's runs."""
    with lent.call(env=trap.environments()[name], cwd=trap.modules) as outcome:
        granted(outcome)


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONSTARTUP", "PYTHON*", "LD_PRELOAD", "malformed"])
def test_no_environment_changes_a_refusal(lent: Way, trap: Trap, name: str) -> None:
    """The same for a refusal: one line, and neither a traceback nor a prompt."""
    world.write_access_list("deny all\n")
    with lent.call(env=trap.environments()[name], cwd=trap.modules) as outcome:
        refused(outcome, "access denied by acl file: ")


@pytest.mark.parametrize("directory", ["modules", "modules/packages", "home", "libraries"])
def test_the_working_directory_plays_no_part(lent: Way, trap: Trap, directory: str) -> None:
    """A directory full of modules with the standard library's names is not looked into."""
    with lent.call(cwd=trap.modules.parent / directory) as outcome:
        granted(outcome)


def test_a_working_directory_that_is_gone_does_no_harm(lent: Way) -> None:
    """A caller whose directory was deleted under it gets its port."""
    gone = world.WORLD / "gone"
    gone.mkdir()
    where = os.open(gone, os.O_RDONLY)
    gone.rmdir()
    try:
        with lent.call(prepare=lambda: os.fchdir(where)) as outcome:
            granted(outcome)
    finally:
        os.close(where)


@pytest.mark.parametrize(
    ("name", "mark"),
    [("PYTHONPATH", "encodings"), ("LD_PRELOAD", "library"), ("LD_AUDIT", "library")],
)
def test_the_trap_springs_for_a_careless_program(built: Trap, name: str, mark: str) -> None:
    """The check of the checks: an ordinary Python, started by the same caller, does run the caller's code."""
    subprocess.run(
        ["/usr/bin/python3", "-c", "pass"],
        env=built.environments()[name],
        user=caller.PLAIN_UID,
        group=caller.PLAIN_UID,
        extra_groups=[],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert mark in built.sprung()


def test_the_trap_springs_for_a_careless_interpreter_in_its_directory(built: Trap) -> None:
    """The same for a Python that looks for modules in the working directory."""
    subprocess.run(["/usr/bin/python3", "-c", "import prctl"], cwd=built.modules, timeout=30, check=True)
    assert "prctl" in built.sprung()


def exec_without_words(helper: Path) -> None:
    """Become the helper with an empty argv, as execve(2) allows and Python does not."""
    nothing = (ctypes.c_char_p * 1)(None)
    environment = (ctypes.c_char_p * 3)(b"--br=br0", b"--fd=3", None)
    ctypes.CDLL(None, use_errno=True).execve(os.fsencode(helper), nothing, environment)


def test_a_caller_without_a_single_word_is_refused(lent: Way) -> None:
    """CVE-2021-4034: with no argv[0] the environment is not taken for words."""
    with lent.call(prepare=lambda: exec_without_words(lent.helper)) as outcome:
        refused(outcome, "Usage: ")


def test_ten_thousand_words_are_refused(lent: Way) -> None:
    """More words than anybody needs are looked at one by one, and the first unknown one is named."""
    with lent.call(argv=lambda fd: [f"--fd={fd}", "--br=br0", *["--use-vnet"] * 10_000, "x" * 100_000]) as outcome:
        refused(outcome, "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd (`xxxxx")


@pytest.mark.parametrize("name", ["qbhelper\n\x1b[2J", "--fd=0", "-c", ""], ids=ascii)
def test_the_program_name_means_nothing(lent: Way, name: str) -> None:
    """argv[0] is the caller's to choose, and is not looked at."""
    with caller.call(
        Path("/usr/bin/python3"),
        argv=lambda fd: ["-c", EXEC, str(lent.helper), name, f"--fd={fd}", "--br=br0"],
    ) as outcome:
        granted(outcome)


EXEC = "import os, sys; os.execv(sys.argv[1], [sys.argv[2] or ' ', *sys.argv[3:]])"
"""Becomes the program in its first word, under the name in its second."""


def test_a_hard_link_of_the_helper_is_the_helper(lent: Way, trap: Trap) -> None:
    """Started by another path, beside a tree of the caller's own, it uses the same fixed files."""
    link = world.WORLD / "linked" / "bin" / "qbhelper"
    link.parent.mkdir(parents=True)
    bundle = link.parent / "qemu-bundle" / "etc" / "qemu"
    bundle.mkdir(parents=True)
    (bundle / "bridge.conf").write_text("allow all\n")
    world.write_access_list("deny all\n")
    os.link(lent.helper, link)
    try:
        with caller.call(link) as outcome:
            refused(outcome, "access denied by acl file: /etc/qemu/bridge.conf:1 ")
    finally:
        shutil.rmtree(world.WORLD / "linked")
