# SPDX-License-Identifier: GPL-2.0-or-later
"""What the one-shot helper imports, counted: QEMU stands still while it does (design section 7)."""

import json
import subprocess
from functools import cache
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
NEVER = """
    argparse asyncio collections ctypes dataclasses enum functools json logging pathlib pyroute2 re
    shutil socket subprocess tempfile threading tomllib traceback typing
"""
"""Each of these costs more than all of the helper's own modules together, or leads to one that does."""

OURS = """
    qbhelper qbhelper.dialect qbhelper.errors qbhelper.fdpass qbhelper.grant qbhelper.kernel qbhelper.kernel.link
    qbhelper.kernel.message qbhelper.kernel.netlink qbhelper.kernel.tap qbhelper.lease qbhelper.policy
    qbhelper.policy.access_list qbhelper.policy.decision qbhelper.policy.port qbhelper.privilege qbhelper.quota
    qbhelper.record qbhelper.request qbhelper.sources qbhelper.standalone
"""
LIBRARY = """
    _abc _collections_abc _prctl _socket _stat _struct
    abc errno fcntl genericpath os os.path posixpath prctl stat struct
"""
"""What of the standard library and python-prctl is paid for; Python 3.14 no longer starts with abc, which os wants."""


OURS_OF_A_POLICY = """
    qbhelper.accounts qbhelper.policy.combinations qbhelper.policy.places qbhelper.policy.rules qbhelper.policy.settings
    qbhelper.policy.toml_file qbhelper.policy.values qbhelper.policy.who
"""
LIBRARY_OF_A_POLICY = "tomllib zlib"
"""What a policy costs: most of it is tomllib, and what that imports by itself."""
USE_A_POLICY = """
from qbhelper.accounts import HostAccounts
from qbhelper.policy.toml_file import parse
from qbhelper.request import Caller
policy, problems = parse(("p", b'[[allow]]\\nbridge = "br0"\\nusers = [7, "root"]\\nguards = "ra"\\n[end]'))
assert policy.decide(b"br0", b"br0", Caller(7, 7, ()), HostAccounts(), (2026, 1, 1)).allowed
"""


@cache
def imported(use: str = "from qbhelper.standalone import main") -> frozenset[str]:
    """The modules that importing the core adds to those of a bare interpreter, started as native/qbhelper.c does."""
    code = (
        f"import sys; sys.path += sys.argv[1:]; bare = set(sys.modules)\n{use}\nprint(*sorted(set(sys.modules) - bare))"
    )
    done = subprocess.run(
        [PYTHON, "-I", "-S", "-B", "-c", code, str(TREE), package_directory()],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return frozenset(done.stdout.split())


@cache
def package_directory() -> str:
    """Where the interpreter has python-prctl, found as the Makefile finds it."""
    code = "import json, os, prctl; print(json.dumps(os.path.dirname(os.path.abspath(prctl.__file__))))"
    done = subprocess.run([PYTHON, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.skip(f"{PYTHON} has no python-prctl")
    directory: str = json.loads(done.stdout)
    return directory


def test_no_dear_module_is_imported() -> None:
    """None of the modules that are known to be slow to import is on the one-shot path."""
    assert not {name.partition(".")[0] for name in imported()} & set(NEVER.split())


def test_the_modules_of_the_helper_are_counted_exactly() -> None:
    """A module more on this path is a decision, made here, and not an accident."""
    assert {name for name in imported() if name.partition(".")[0] == "qbhelper"} == set(OURS.split())


def test_the_modules_of_others_are_counted() -> None:
    """Nothing of the standard library is imported but what is listed; newer Pythons may need less."""
    assert imported() - set(OURS.split()) <= set(LIBRARY.split())
    assert len(imported()) <= len(OURS.split()) + len(LIBRARY.split())


def test_what_a_policy_adds_is_counted_exactly() -> None:
    """A policy takes its own modules and tomllib, and no more: nothing that only errors or rare settings need."""
    both = imported("from qbhelper.standalone import main\n" + USE_A_POLICY)
    its_own = imported(f"import {LIBRARY_OF_A_POLICY.replace(' ', ', ')}, pwd")
    assert {name for name in both - imported() if name.startswith("qbhelper")} == set(OURS_OF_A_POLICY.split())
    assert both - imported() - set(OURS_OF_A_POLICY.split()) <= its_own
