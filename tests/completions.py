# SPDX-License-Identifier: GPL-2.0-or-later
"""The completions of qbhelperctl, packaging/completions, for three shells: `python3 -m tests.pages` writes them.

All words come from the parser.  What may stand for a value, by the word that the parser has for it, is in VALUES; a new
word there has to be told here, or nothing is written.
"""

import enum
from collections.abc import Iterable, Iterator
from pathlib import Path

from qbhelper.ctl.parser import PROGRAM
from tests.words import Command, Word, commands, common

DIRECTORY = Path(__file__).resolve().parents[1] / "packaging" / "completions"
_HEAD = """\
# SPDX-License-Identifier: GPL-2.0-or-later
# From qbhelper/ctl/parser.py, by `python3 -m tests.pages`.
"""


class Value(enum.Enum):
    """What a shell can offer."""

    BRIDGE = "bridge"
    FILE = "file"
    NOTHING = "nothing"
    USER = "user"


VALUES = {
    "BRIDGE": Value.BRIDGE,
    "COMMAND": Value.FILE,
    "FILE": Value.FILE,
    "ID": Value.NOTHING,
    "LEASE": Value.NOTHING,
    "MAC": Value.NOTHING,
    "MODEL": Value.NOTHING,
    "NUMBER": Value.NOTHING,
    "SOCKET": Value.FILE,
    "TAP": Value.NOTHING,
    "TIME": Value.NOTHING,
    "USER": Value.USER,
}
"""The parser's word for a value -> what stands there."""


def files() -> dict[Path, str]:
    """Return what each file of the completions has to be."""
    return {
        DIRECTORY / f"{PROGRAM}.bash": bash(),
        DIRECTORY / f"_{PROGRAM}": zsh(),
        DIRECTORY / f"{PROGRAM}.fish": fish(),
    }


def value_of(word: Word) -> Value:
    """Return what is offered for the value of a word.  Raises LookupError if nobody has said."""
    if word.value not in VALUES:
        raise LookupError(f"what completes {word.value}? say it in VALUES, {__file__}")
    return VALUES[word.value]


def _argument_of(command: Command) -> Word | None:
    """Return what may stand behind a command: of several, the first, if it is one of a few words, and no more."""
    if len({word.value for word in command.arguments}) > 1 and not command.arguments[0].choices:
        raise LookupError(f"{command.name} has arguments of several kinds: say in {__file__} how they are told apart")
    return command.arguments[0] if command.arguments else None


def _names(words: Iterable[Word]) -> str:
    return " ".join(option for word in words for option in word.options)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- bash -------------------------------------------------------------------------------------

# No `compgen -W`: it would execute what a name such as $(id) says, and the kernel takes that for an interface.
_BASH = """\
# shellcheck shell=bash

# Offer those of the words that begin with what was typed.
_qbhelperctl_offer() {
    local typed=$1 word
    shift
    for word; do
        if [[ $word == "$typed"* ]]; then
            printf -v word '%q' "$word"
            COMPREPLY+=("$word")
        fi
    done
}

_qbhelperctl_bridges() {
    local path
    for path in /sys/class/net/*/bridge; do
        path=${path%/bridge}
        [[ ! -e $path ]] || _qbhelperctl_offer "$1" "${path##*/}"
    done
}

_qbhelperctl_users() {
    local -a users
    mapfile -t users < <(compgen -u)
    _qbhelperctl_offer "$1" "${users[@]}"
}

_qbhelperctl() {
    local typed=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _qbhelperctl_offer "$typed" @COMMANDS@
        return
    fi
    # Of --bridge=br0 bash makes three words.
    if [[ $typed == = ]]; then
        typed=
    elif [[ $previous == = ]]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case ${COMP_WORDS[1]}:$previous:$typed in
@CASES@
    esac
}

complete -F _qbhelperctl qbhelperctl
"""
_BASH_VALUES = {
    Value.BRIDGE: '_qbhelperctl_bridges "$typed"',
    Value.FILE: "compopt -o default",
    Value.NOTHING: ":",
    Value.USER: '_qbhelperctl_users "$typed"',
}


def bash() -> str:
    """Return the completions for bash."""
    cases = "\n".join(f"        {case} ;;" for command in commands() for case in _bash_cases(command))
    names = " ".join(command.name for command in commands())
    return _HEAD + _BASH.replace("@COMMANDS@", f"{names} {_names(common())}").replace("@CASES@", cases)


def _bash_cases(command: Command) -> Iterator[str]:
    for word in command.options:
        if word.value:
            pattern = "|".join(f"{command.name}:{option}:*" for option in word.options)
            yield f"{pattern}) {_bash_value(word)}"
    argument, offer = _argument_of(command), f'_qbhelperctl_offer "$typed" {_names((*command.options, *common()))}'
    if argument is None:
        yield f"{command.name}:*) {offer}"
    else:
        yield f"{command.name}:*:-*) {offer}"
        yield f"{command.name}:*) {_bash_value(argument)}"


def _bash_value(word: Word) -> str:
    return f'_qbhelperctl_offer "$typed" {" ".join(word.choices)}' if word.choices else _BASH_VALUES[value_of(word)]


# --- zsh --------------------------------------------------------------------------------------

_ZSH = """\
_qbhelperctl_bridges() {
    local expl
    local -a bridges
    bridges=(/sys/class/net/*/bridge(N:h:t))
    _wanted bridges expl bridge compadd -a bridges
}

_qbhelperctl() {
    local curcontext=$curcontext state line
    local -A opt_args
    local -a commands
    _arguments -C \\
@COMMON@ \\
        '1: :->command' \\
        '*:: :->words' && return
    case $state in
        command)
            commands=(
@COMMANDS@
            )
            _describe -t commands command commands
            ;;
        words)
            case $words[1] in
@CASES@
            esac
            ;;
    esac
}

_qbhelperctl "$@"
"""
_ZSH_VALUES = {Value.BRIDGE: "_qbhelperctl_bridges", Value.FILE: "_files", Value.NOTHING: " ", Value.USER: "_users"}
_ZSH_SPECIAL = str.maketrans({letter: f"\\{letter}" for letter in "\\[]:"})


def zsh() -> str:
    """Return the completions for zsh."""
    text = _ZSH.replace("@COMMON@", " \\\n".join(f"        {_zsh_option(word)}" for word in common()))
    described = (f"                {_quoted(f'{command.name}:{command.help}')}" for command in commands())
    text = text.replace("@COMMANDS@", "\n".join(described))
    return f"#compdef {PROGRAM}\n{_HEAD}\n" + text.replace("@CASES@", "\n".join(map(_zsh_case, commands())))


def _zsh_case(command: Command) -> str:
    argument = _argument_of(command)
    specs = [*map(_zsh_option, (*command.options, *common()))]
    if argument is not None:
        kind = "*" if argument.repeats else "1" if argument.required else "1:"
        specs.append(_quoted(f"{kind}:{argument.value}:{_zsh_value(argument)}"))
    room = " " * 16
    lines = " \\\n".join(f"{room}        {spec}" for spec in specs)
    return f"{room}{command.name})\n{room}    _arguments \\\n{lines}\n{room}    ;;"


def _zsh_option(word: Word) -> str:
    told = f"[{word.help.translate(_ZSH_SPECIAL)}]"
    value = f":{word.value}:{_zsh_value(word)}" if word.value else ""
    names = [
        (f"{option}=" if option.startswith("--") else f"{option}+") if value else option for option in word.options
    ]
    if len(names) == 1:
        return _quoted(("*" if word.repeats else "") + names[0] + told + value)
    again = "*" if word.repeats else "(- *)" if "--help" in word.options else f"({' '.join(word.options)})"
    return f"{_quoted(again)}{{{','.join(names)}}}{_quoted(told + value)}"


def _zsh_value(word: Word) -> str:
    return f"({' '.join(word.choices)})" if word.choices else _ZSH_VALUES[value_of(word)]


# --- fish -------------------------------------------------------------------------------------

_FISH = """\
function __qbhelperctl_bridges
    for path in /sys/class/net/*/bridge
        string split --fields 5 / -- $path
    end
end

complete -c qbhelperctl -f
"""
_FISH_VALUES = {
    Value.BRIDGE: "-x -a '(__qbhelperctl_bridges)'",
    Value.FILE: "-r -F",
    Value.NOTHING: "-x",
    Value.USER: "-x -a '(__fish_complete_users)'",
}


def fish() -> str:
    """Return the completions for fish."""
    lines = [_fish_option("", word) for word in common()] + [
        f"complete -c {PROGRAM} -n __fish_use_subcommand -a {command.name} -d {_fish_text(command.help)}"
        for command in commands()
    ]
    for command in commands():
        condition, argument = f" -n '__fish_seen_subcommand_from {command.name}'", _argument_of(command)
        lines += [_fish_option(condition, word) for word in command.options]
        if argument is not None:
            lines.append(f"complete -c {PROGRAM}{condition} {_fish_value(argument).removeprefix('-r ')}")
    return f"{_HEAD}\n{_FISH}" + "\n".join(lines) + "\n"


def _fish_option(condition: str, word: Word) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in word.options)
    value = f" {_fish_value(word)}" if word.value else ""
    return f"complete -c {PROGRAM}{condition} {names}{value} -d {_fish_text(word.help)}"


def _fish_value(word: Word) -> str:
    return f"-x -a {_fish_text(' '.join(word.choices))}" if word.choices else _FISH_VALUES[value_of(word)]


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
