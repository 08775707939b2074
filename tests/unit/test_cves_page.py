# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/cves.md promises a test for each fault of others: the tests are there, and no fault is missing."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
PAGE = (TREE / "docs/cves.md").read_text()
SECTIONS = {title.strip(): body for title, body in re.findall(r"^### (.*)\n((?:- .*\n)+)", PAGE, re.MULTILINE)}
NAMED = sorted(set(re.findall(r"`(tests/\S+?\.py)::(\w+)`", PAGE)))

FAULTS = (
    "CVE-2019-13164",
    "A deny evaded by another name",
    "An error in an include loses a deny",
    "A relative include is the caller's",
    "An include loop crashes",
    "The tail of a long comment is a rule",
    "Exit 0 with nothing sent",
    "A live TAP after a failure",
    "Built without libcap-ng, it keeps full root",
    "Debian #1080456",
    "CVE-2017-5985",
    "CVE-2018-6556",
    "CVE-2022-47952",
    "CVE-2026-39402",
    "lxc 9ed8c96f",
    "lxc#2765",
    "lxc#3176",
    "lxc b9f80409",
    "lxc d8f2c55f",
    "lxc 4fa83282",
    "banger roothelper",
    "Interpreters with privilege (CERT CA-97.17 and since)",
)
"""The rows of our table of known faults; the page may have more."""


@cache
def functions_of(file: str) -> frozenset[str]:
    """The names of the test functions in a file of the tree."""
    tree = ast.parse((TREE / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_each_test_that_the_page_names_exists(file: str, name: str) -> None:
    """A test that was renamed or removed must not leave its promise behind."""
    assert name.startswith("test_")
    assert name in functions_of(file)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_known_fault_has_its_section(fault: str) -> None:
    """Each fault says what was wrong, how ours stands, and names a test or says what will bring one."""
    body = SECTIONS[fault]
    assert "- **Was wrong:** " in body
    assert "- **qbhelper:** " in body
    assert "- **Tests:** `tests/" in body or "not applicable yet: comes with" in body


def test_the_page_names_many_tests() -> None:
    """The check of the checks: names are found in the page at all, and every section is read."""
    assert len(NAMED) > 30
    assert len(SECTIONS) == PAGE.count("\n### ")
