# SPDX-License-Identifier: GPL-2.0-or-later
"""Completions offer the bridges that are there, whatever they are called."""

from pathlib import Path

import pytest

from tests.support import world
from tests.support.shells import ask_bash, ask_fish

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("a_host")]


def test_bash_offers_the_bridges_of_the_host() -> None:
    """With both ways to write a value; no other interface."""
    with world.bridge("br-lab"):
        assert ask_bash("explain", "--bridge", "") == ["br-lab", "br0"]
        assert ask_bash("explain", "--bridge", "=") == ["br-lab", "br0"]
        assert ask_bash("explain", "--bridge", "=", "br-") == ["br-lab"]
        assert ask_bash("explain", "--bridge", "l") == []


def test_fish_offers_the_bridges_of_the_host(tmp_path: Path) -> None:
    """No other interface."""
    with world.bridge("br-lab"):
        assert set(ask_fish("qbhelperctl explain --bridge ", tmp_path)) == {"br-lab", "br0"}


def test_a_name_of_a_bridge_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may name interfaces, as in a container, must not run commands as who presses the tab key."""
    monkeypatch.chdir(tmp_path)
    for name in ("$(id>ran)", "`id>ran`", "x;id>ran", "*"):
        with world.bridge(name):
            offered = ask_bash("explain", "--bridge", "")
            assert len(offered) == 2
            [quoted] = set(offered) - {"br0"}
            assert quoted == "".join(f"\\{letter}" if letter in "$()`;>*" else letter for letter in name)
    assert [*tmp_path.iterdir()] == []
