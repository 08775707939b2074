# SPDX-License-Identifier: GPL-2.0-or-later
"""The AppArmor profiles: they compile, they stay small, and each rule says which function needs it.

That they are enough, and enforced, takes a kernel with AppArmor: tests/host.
"""

import re
import subprocess
from pathlib import Path

import pytest

from tests.packages.conftest import Needs
from tests.packages.naming import functions
from tests.packages.trees import TREE

PROFILES = sorted((TREE / "packaging/apparmor").iterdir())
SNIPPET = TREE / "packaging/examples/libvirt-local"
RULE = re.compile(r"\s+(?!\s|#|include if exists)(.*?),?(?:\s+# (.*))?$")
PARSER = ["apparmor_parser", "--skip-kernel-load", "--skip-cache"]

LIBVIRTS = """
abi <abi/3.0>,
include <tunables/global>
profile libvirtd /usr/sbin/libvirtd flags=(attach_disconnected) {{
  include <abstractions/base>
  /usr/bin/* PUx,
{}
}}
"""

of_each = pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)


def rules(profile: Path) -> list[tuple[str, str]]:
    """The rules of a profile, each with the functions that are named beside it."""
    body = profile.read_text().partition("{\n")[2].rpartition("}")[0]
    found = [RULE.match(line) for line in body.splitlines() if line.strip()]
    return [(match[1], match[2] or "") for match in found if match]


@of_each
def test_it_compiles(profile: Path, needs: Needs) -> None:
    """The parser has nothing against it."""
    needs("apparmor_parser")
    done = subprocess.run([*PARSER, "--stdout", profile], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert profile.name.encode() in done.stdout


@of_each
def test_it_is_for_the_program_of_its_name(profile: Path) -> None:
    """Where a distribution or `make install` puts it."""
    start = re.search(r"^profile (\S+) (\S+) ", profile.read_text(), re.MULTILINE)
    assert start is not None
    assert start[1] == profile.name
    assert re.fullmatch(rf"/usr/\{{,local/\}}(bin|\{{bin,sbin\}})/{profile.name}", start[2])


@of_each
def test_each_rule_names_the_functions_that_need_it(profile: Path) -> None:
    """And they exist: what nobody needs any more is taken out with the last of them."""
    known = functions()
    assert rules(profile)
    for rule, beside in rules(profile):
        named = re.findall(r"(\w+)\(\)", beside)
        assert named, f"no function beside: {rule}"
        assert set(named) <= known, f"{set(named) - known} beside: {rule}"


@of_each
def test_it_can_write_only_what_it_says_in_full(profile: Path) -> None:
    """No pattern that could grow: what can be written, and what can be executed, is one thing each."""
    for rule, beside in rules(profile):
        path = re.fullmatch(r"(?:owner )?(\S*/\S*) ([a-zA-Z]+)", rule)
        if path is None or set(path[2]) <= set("rm"):
            continue
        if (profile.name, beside, path[2]) == ("qbhelperctl", "_become()", "pux"):
            continue  # `run' becomes the command of a caller who could have started it themselves
        if (profile.name, beside, path[2]) == ("qbhelperctl", "_connect()", "rw"):
            continue  # the monitor of a QEMU is where its user wants to have it
        executes = {"/usr/bin/python3.[0-9]*"}
        assert "*" not in path[1] or path[1] in executes, rule
        assert not re.search(r"[uUpPcC]x", path[2]), f"a way out of the profile: {rule}"


@of_each
def test_includes_of_an_access_list_may_be_anywhere(profile: Path) -> None:
    """One that is hidden would be passed over, with its denies."""
    assert {"/ r", "/** r"} <= {rule for rule, _ in rules(profile)}


def test_libvirts_own_profile_takes_our_snippet(needs: Needs) -> None:
    """And the snippet speaks of the profile that the helper has."""
    needs("apparmor_parser")
    text = LIBVIRTS.format(SNIPPET.read_text()).encode()
    done = subprocess.run([*PARSER, "--stdout"], input=text, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert set(re.findall(r"peer=(?:\(label=)?(\w+)", SNIPPET.read_text())) == {"qbhelper"}
    assert "qbhelper" in {profile.name for profile in PROFILES}
