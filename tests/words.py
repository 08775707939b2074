# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of qbhelperctl, taken from its parser, as the manual page and the completions need them."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from qbhelper.ctl.deeds import OfCard
from qbhelper.ctl.parser import parser


@dataclass(frozen=True)
class Word:
    """An option, or an argument without a name of its own.

    options: as `-h` and `--help`, empty for an argument; value: the word that stands for its value, empty where it has
    none; required: it has to be there; repeats: there may be several; choices: the only values, if they are given.
    """

    options: tuple[str, ...]
    value: str
    help: str
    required: bool
    repeats: bool
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A command.  help: what it does, in a few words; description: in sentences; status: how it exits."""

    name: str
    help: str
    description: str
    status: str
    words: tuple[Word, ...]

    @property
    def options(self) -> tuple[Word, ...]:
        """Those that begin with a dash."""
        return tuple(word for word in self.words if word.options)

    @property
    def arguments(self) -> tuple[Word, ...]:
        """Those that do not."""
        return tuple(word for word in self.words if not word.options)


def commands(top: argparse.ArgumentParser | None = None) -> tuple[Command, ...]:
    """Return the commands of the parser, in its order; those that its help does not show are left out."""
    group = next(action for action in (top or parser())._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help for action in group._choices_actions}
    return tuple(_command(name, helps[name] or "", made) for name, made in group.choices.items() if name in helps)


def common(top: argparse.ArgumentParser | None = None) -> tuple[Word, ...]:
    """Return the options that stand before a command."""
    return tuple(word for word in _words((top or parser())._actions) if word.options)


def _command(name: str, help: str, made: argparse.ArgumentParser) -> Command:  # noqa: A002  as argparse has it
    words = tuple(_words(made._actions))
    # Of all commands alike, and told once.
    mine = tuple(word for word in words if word not in common())
    return Command(name, help, made.description or "", made.epilog or "", mine)


def _words(actions: list[argparse.Action]) -> Iterator[Word]:
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            if action.dest != "command":
                raise NotImplementedError(f"commands below a command ({action.dest}): say here how they are told")
            continue
        if action.help == argparse.SUPPRESS:
            continue
        choices = tuple(map(str, action.choices or ()))
        value = "" if action.nargs == 0 else str(action.metavar or "|".join(choices) or action.dest.upper())
        required = action.required if action.option_strings else action.nargs not in ("?", "*")
        repeats = action.nargs in ("*", "+", argparse.REMAINDER) or isinstance(action, argparse._AppendAction | OfCard)
        yield Word(tuple(action.option_strings), value, action.help or "", required, repeats, choices)
