# SPDX-License-Identifier: GPL-2.0-or-later
"""What keeps NetworkManager, networkd and udev from the ports that we make: each snippet speaks of ports like ours."""

import configparser
import fnmatch
import re
from pathlib import Path

import pytest

from qbhelper.kernel.tap import NAME_TEMPLATE
from tests.packages.trees import TREE
from tests.support import caller, install, world

SNIPPETS = TREE / "packaging/examples"
RULES = SNIPPETS / "70-qbhelper.rules"
OUR_NAME = NAME_TEMPLATE.decode().replace("%d", "0")


def settings(name: str) -> configparser.ConfigParser:
    """Read a snippet that has sections."""
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    assert parser.read(SNIPPETS / name)
    return parser


@pytest.mark.needs_root
def test_udevs_rule_matches_a_port_that_was_granted() -> None:
    """By what the kernel says of it, so that its name does not matter."""
    world.write_access_list("allow br0\n")
    (rule,) = (line for line in RULES.read_text().splitlines() if line and not line.startswith("#"))
    wanted = dict(re.findall(r'ATTR\{(\w+)\}=="([^"]*)"', rule))
    assert set(wanted) == {"tun_flags", "owner"}
    helper = install.ours(install.Privilege.SETUID)
    with world.bridge("br0"), caller.call(helper) as outcome:
        assert outcome.granted, outcome
        for attribute, pattern in wanted.items():
            value = Path("/sys/class/net", outcome.tap().name, attribute).read_text().strip()
            assert fnmatch.fnmatchcase(value, pattern), (attribute, value)
        assert not Path("/sys/class/net/br0/tun_flags").exists()


def test_networkd_leaves_ports_alone() -> None:
    """Those with the names that they have unless a policy says otherwise."""
    parsed = settings("10-qbhelper.network")
    assert dict(parsed["Match"]) == {"Kind": "tun", "Name": "tap*"}
    assert fnmatch.fnmatchcase(OUR_NAME, parsed["Match"]["Name"])
    assert dict(parsed["Link"]) == {"Unmanaged": "yes"}


def test_networkmanager_leaves_ports_alone() -> None:
    """The same; in addition to what somebody else says is not to be managed."""
    parsed = settings("qbhelper-networkmanager.conf")
    assert fnmatch.fnmatchcase(OUR_NAME, parsed["keyfile"]["unmanaged-devices+"].removeprefix("interface-name:"))


@pytest.mark.parametrize("path", sorted(SNIPPETS.iterdir()), ids=lambda path: path.name)
def test_each_says_how_it_is_put_to_use(path: Path) -> None:
    """A command to copy, with the name that it has."""
    commands = re.findall(r"^#   (.*)$", path.read_text(), re.MULTILINE)
    assert [command for command in commands if path.name in command]
