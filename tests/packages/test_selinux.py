# SPDX-License-Identifier: GPL-2.0-or-later
"""The SELinux module: it compiles against the reference policy, and each rule says which function needs it."""

import re
import shutil
from pathlib import Path

from tests.packages.conftest import Needs
from tests.packages.naming import functions
from tests.packages.throwaway import OWN_PROGRAMS
from tests.packages.trees import TREE, run

MODULE = TREE / "packaging/selinux"
DEVELOPMENT = Path("/usr/share/selinux/devel/Makefile")
RULE = re.compile(r"(?:allow .*;|[a-z_]+\(.*\))$")
DECLARATION = re.compile(
    r"\s*(?:policy_module|init_daemon_domain|application_domain|ifdef|optional_policy|gen_require)\(|.*files_pid_file"
)


def test_it_compiles(tmp_path: Path, needs: Needs) -> None:
    """With checkmodule and semodule_package, and the interfaces that Debian's selinux-policy-dev has."""
    needs("checkmodule", "semodule_package", "m4")
    assert DEVELOPMENT.exists(), "install selinux-policy-dev"
    copy = shutil.copytree(MODULE, tmp_path / "module")
    said = run(["make", "-C", copy, "-f", DEVELOPMENT, "NAME=default", "qbhelper.pp"], env=OWN_PROGRAMS)
    assert not re.search(r"(?i)warning|error|deprecated", said), said
    package = (copy / "qbhelper.pp").read_bytes()
    assert b"qbhelperd_exec_t" in package
    assert b"/run/qbhelper(/.*)?" in package, "the file contexts are in it"


def test_each_rule_names_the_functions_that_need_it() -> None:
    """And they exist."""
    known = functions()
    lines = (line.partition("# ") for line in (MODULE / "qbhelper.te").read_text().splitlines())
    rules = [(rule, beside) for rule, _, beside in lines if RULE.match(rule.strip()) and not DECLARATION.match(rule)]
    assert len(rules) > 30
    for rule, beside in rules:
        named = re.findall(r"(\w+)\(\)", beside)
        assert named, f"no function beside: {rule}"
        assert set(named) <= known, f"{set(named) - known} beside: {rule}"


def test_what_is_labelled_is_what_is_installed() -> None:
    """The programs by their names in both places that distributions have for them, and the socket's directory."""
    labels = re.findall(r"^(/\S+)\s.*object_r:(\w+),", (MODULE / "qbhelper.fc").read_text(), re.MULTILINE)
    assert dict(labels) == {
        "/usr/bin/qbhelper": "qbhelper_exec_t",
        "/usr/bin/qbhelperd": "qbhelperd_exec_t",
        "/usr/sbin/qbhelperd": "qbhelperd_exec_t",
        "/run/qbhelper(/.*)?": "qbhelper_runtime_t",
    }
