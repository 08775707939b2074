# SPDX-License-Identifier: GPL-2.0-or-later
"""Shells, asked what they offer when somebody presses the tab key behind `qbhelperctl`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import completions

BASH, ZSH, FISH = completions.files()

ASK_BASH = """\
set -u
source "$1"
compopt() { printf 'compopt %s\\n' "$*"; }
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_qbhelperctl
printf '%s\\n' "${COMPREPLY[@]}"
"""
ASK_ZSH = """\
_arguments() { state=STATE; print -rl -- "$@"; [[ $1 != -C ]] }
_describe() { print -rl -- "$commands[@]" }
words=("$2")
. "$1"
"""


def ask_bash(*words: str) -> list[str]:
    """Return what bash offers for the last of the words, the others standing before it."""
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK_BASH, "bash", BASH, "qbhelperctl", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def ask_zsh(command: str = "") -> str:
    """Return what the file asks zsh's own functions to offer: for the first word, or for those of a command."""
    script = ASK_ZSH.replace("STATE", "words" if command else "command")
    words = [shell("zsh"), "-f", "-c", script, "zsh", str(ZSH), command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout


def ask_fish(line: str, home: Path) -> dict[str, str]:
    """Return what fish offers at the end of a line, and what it says of it."""
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", str(FISH), line],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        cwd=home,
    )
    parts = (line.partition("\t") for line in done.stdout.splitlines())
    return {word: said for word, _, said in parts}


def shell(name: str) -> str:
    """Return the path of a shell that not everybody has."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} here: install it")
    return path
