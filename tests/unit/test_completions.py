# SPDX-License-Identifier: GPL-2.0-or-later
"""Completions of qbhelperctl: what shells offer, asked of the shells themselves.

That the files are those of the parser is tests/unit/test_manual.py's to say, bridges are tests/ctl's.
"""

import argparse
import dataclasses
import pwd
import re
import subprocess
from pathlib import Path

import pytest

from tests import completions
from tests.support.shells import BASH, ZSH, ask_bash, ask_fish, ask_zsh
from tests.words import Command, Word, commands, common

NAMES = [command.name for command in commands()]
BACKSLASHED = r"\\\1"
COMMON = [option for word in common() for option in word.options]


def options_of(command: Command) -> list[str]:
    """Return all options of a command."""
    return [option for word in command.options for option in word.options]


def takes_file(command: Command) -> bool:
    """Whether the argument of a command is a file."""
    return any(word.value in ("COMMAND", "FILE") for word in command.arguments)


class TestBash:
    """packaging/completions/qbhelperctl.bash, sourced by bash."""

    def test_it_completes_the_command(self) -> None:
        """It is registered for that name, and no other."""
        script = f"source '{BASH}'; complete -p"
        done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == "complete -F _qbhelperctl qbhelperctl\n"

    def test_the_first_word_is_a_command(self) -> None:
        """Or an option of the program itself."""
        assert ask_bash("") == [*NAMES, *COMMON]
        assert ask_bash("ex") == ["explain"]
        assert ask_bash("--h") == ["--help"]
        assert ask_bash("x") == []

    @pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
    def test_options_are_those_of_the_command(self, command: Command) -> None:
        """All of them, and none of another."""
        assert ask_bash(command.name, "-") == [*options_of(command), *COMMON]
        for option in options_of(command):
            assert option in ask_bash(command.name, option[:-1])

    @pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
    def test_a_file_is_offered_where_one_is_meant(self, command: Command) -> None:
        """Readline itself knows how to quote them; where no argument is meant, options are all there is."""
        offered = ask_bash(command.name, "")
        assert (offered == ["compopt -o default"]) is takes_file(command)
        assert (offered == [*options_of(command), *COMMON]) is (not command.arguments)

    def test_users_are_those_of_the_host(self) -> None:
        """With both ways to write a value: bash makes three words of --user=root."""
        everybody = {user.pw_name for user in pwd.getpwall()}
        assert set(ask_bash("explain", "--user", "")) == everybody
        assert set(ask_bash("explain", "--bridge", "br0", "--user", "=")) == everybody
        assert "root" in ask_bash("explain", "--user", "=", "roo")
        assert "root" not in ask_bash("explain", "--user", "x")

    def test_nothing_is_offered_for_what_nobody_can_know(self) -> None:
        """A MAC address; an unknown command."""
        assert ask_bash("explain", "--mac", "") == []
        assert ask_bash("expalin", "--") == []


class TestZsh:
    """packaging/completions/_qbhelperctl, read by zsh with stand-ins for its functions that offer."""

    def test_the_first_word_is_a_command(self) -> None:
        """With what it does."""
        for command in commands():
            assert f"{command.name}:{command.help}\n" in ask_zsh()

    @pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
    def test_words_are_those_of_the_command(self, command: Command) -> None:
        """All of them, with their helps as they are in the parser."""
        said = ask_zsh(command.name)
        for word in command.options:
            for option in word.options:
                mark = "" if not word.value else "=" if option.startswith("--") else "+"
                assert f"{option}{mark}[{re.sub(r'([][:])', BACKSLASHED, word.help)}]" in said
        assert any(line.endswith((":COMMAND:_files", ":FILE:_files")) for line in said.splitlines()) is takes_file(
            command
        )

    def test_it_is_for_the_command(self) -> None:
        """Its compinit reads that in the first line."""
        assert ZSH.read_text().startswith("#compdef qbhelperctl\n")
        assert ZSH.name == "_qbhelperctl"


class TestFish:
    """packaging/completions/qbhelperctl.fish, asked through fish's own `complete -C`."""

    def test_the_first_word_is_a_command(self, tmp_path: Path) -> None:
        """With what it does; no file."""
        (tmp_path / "check-me").touch()
        assert ask_fish("qbhelperctl ", tmp_path) == {command.name: command.help for command in commands()}

    @pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
    def test_options_are_those_of_the_command(self, command: Command, tmp_path: Path) -> None:
        """All of them, with their helps, and none of another."""
        helps = {option: word.help for word in (*command.options, *common()) for option in word.options}
        long_ones = {option: told for option, told in helps.items() if option.startswith("--")}
        offered = ask_fish(f"qbhelperctl {command.name} --", tmp_path)
        assert {option.rstrip("="): told for option, told in offered.items()} == long_ones

    @pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
    def test_a_file_is_offered_where_one_is_meant(self, command: Command, tmp_path: Path) -> None:
        """And only there."""
        (tmp_path / "draft.toml").touch()
        assert ("draft.toml" in ask_fish(f"qbhelperctl {command.name} dr", tmp_path)) is takes_file(command)

    def test_users_are_those_of_the_host(self, tmp_path: Path) -> None:
        """With both ways to write a value."""
        assert "root" in ask_fish("qbhelperctl explain --user roo", tmp_path)
        assert "--user=root" in ask_fish("qbhelperctl explain --user=roo", tmp_path)
        assert ask_fish("qbhelperctl explain --mac ", tmp_path) == {}


class TestTheGenerator:
    """What happens when the parser has something new."""

    def test_a_new_word_has_to_be_explained(self) -> None:
        """Nothing is written until somebody has said what stands for it."""
        word = Word(("--from",), "WEATHER", "help", required=False, repeats=False, choices=())
        with pytest.raises(LookupError, match="what completes WEATHER"):
            completions.value_of(word)
        assert completions.value_of(dataclasses.replace(word, value="BRIDGE")) is completions.Value.BRIDGE

    def test_a_new_command_is_found_with_all_its_words(self) -> None:
        """And a hidden one is not."""
        top = argparse.ArgumentParser()
        added = top.add_subparsers(dest="command")
        new = added.add_parser("new", help="something new", description="Does it.", epilog="exit status: 0")
        new.add_argument("--count", "-c", metavar="COUNT", required=True, help="how many")
        new.add_argument("--kind", choices=["a", "b"], action="append", help="which")
        new.add_argument("--secret", help=argparse.SUPPRESS)
        new.add_argument("file", metavar="FILE", nargs="*", help="those")
        added.add_parser("hidden")
        assert commands(top) == (
            Command(
                "new",
                "something new",
                "Does it.",
                "exit status: 0",
                (
                    Word(("--count", "-c"), "COUNT", "how many", required=True, repeats=False, choices=()),
                    Word(("--kind",), "a|b", "which", required=False, repeats=True, choices=("a", "b")),
                    Word((), "FILE", "those", required=False, repeats=True, choices=()),
                ),
            ),
        )
