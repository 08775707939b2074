# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual pages, docs/man, and those parts of them that come from the code: `python3 -m tests.pages` writes them.

A generated part stands between two comments.  What is said there of qbhelperctl's commands comes from its parser, what
is said of a policy's settings from their table.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from qbhelper.ctl.parser import PROGRAM
from qbhelper.policy.settings import ALLOW, DENY, SETTINGS, TOP, Setting
from tests.words import Command, Word, commands, common

DIRECTORY = Path(__file__).resolve().parents[1] / "docs" / "man"
_WHERE = {(TOP,): "At the top of policy.toml. ", (ALLOW,): "", (ALLOW, DENY): "In an allow or a deny. "}
_ESCAPES = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
)


def synopsis() -> str:
    """Return the lines of qbhelperctl(1) that show how each command is written."""
    return "".join(
        "\n".join([f'.SY "{PROGRAM} {command.name}"', *map(_shown, command.words), ".YS\n"]) for command in commands()
    )


def reference_of_commands() -> str:
    """Return the sections of qbhelperctl(1) on its commands, and on the options of all of them."""
    return "".join([*map(_section, commands()), ".SS Options of all commands\n", *map(_entry, common())])


def reference_of_settings() -> str:
    """Return the list of settings in qbhelper-policy(5)."""
    return "".join(map(_setting, SETTINGS))


PARTS: dict[str, list[tuple[str, Callable[[], str]]]] = {
    "qbhelperctl.1": [
        ("synopsis: from qbhelper/ctl/parser.py", synopsis),
        ("commands: from qbhelper/ctl/parser.py", reference_of_commands),
    ],
    "qbhelper-policy.5": [("settings: from qbhelper/policy/settings.py", reference_of_settings)],
}
"""Page -> what each of its generated parts is called and comes from."""


def pages() -> list[Path]:
    """Return all manual pages."""
    return sorted(DIRECTORY.glob("*.[1-8]"))


def with_generated_parts(page: Path) -> str:
    """Return the text of a page with its generated parts written anew."""
    text = page.read_text()
    for mark, generate in PARTS.get(page.name, []):
        begin, end = f'.\\" {mark}, by `python3 -m tests.pages`\n', f'.\\" end of {mark.partition(":")[0]}\n'
        head, found, rest = text.partition(begin)
        _, found_end, tail = rest.partition(end)
        if not (found and found_end):
            raise ValueError(f"{page} has lost the marks between which `{mark}' stands")
        text = "".join((head, begin, generate(), end, tail))
    return text


def plain(roff: str) -> str:
    """Return a page without its marks and fonts: the words, for tests to look at."""
    text = re.sub(r'^\.\\".*\n', "", roff, flags=re.MULTILINE)
    text = re.sub(r"^\.(?:B|I|BR|RB|BI|IB|IR|RI|SM) +(.*)$", _joined, text, flags=re.MULTILINE)
    text = re.sub(r"\\f[BIRP]", "", text)
    for letter, code in {"\\-": "-", "\\(aq": "'", "\\(ga": "`", "\\(dq": '"', "\\(ha": "^", "\\~": " "}.items():
        text = text.replace(letter, code)
    return text.replace("\\e", "\\")


def examples(roff: str) -> list[str]:
    """Return what stands in the blocks of a page that are shown as they are, without their indentation."""
    blocks = re.findall(r"^\.EX\n(.*?)^\.EE$", roff, re.MULTILINE | re.DOTALL)
    return [re.sub("^    ", "", plain(block), flags=re.MULTILINE) for block in blocks]


def _joined(macro: re.Match[str]) -> str:
    words = re.findall(r'"([^"]*)"|(\S+)', macro.group(1))
    glue = " " if re.match(r"\.[BI] ", macro.group()) else ""
    return glue.join(quoted or bare for quoted, bare in words)


def _section(command: Command) -> str:
    entries = "".join(map(_entry, (*command.arguments, *command.options)))
    return f".SS {command.name}\n{_sentences(command.description)}{entries}.PP\n{_sentences(_capital(command.status))}"


def _entry(word: Word) -> str:
    names = ", ".join(f"\\fB{_roff(option)}\\fR" for option in word.options)
    value = f"\\fI{_roff(word.value)}\\fR" if word.value else ""
    return f".TP\n{' '.join(filter(None, (names, value)))}\n{_sentences(_capital(word.help))}"


def _shown(word: Word) -> str:
    option = f"\\fB{_roff(max(word.options, key=len))}\\fR" if word.options else ""
    value = f"\\fI{_roff(word.value)}\\fR" if word.value else ""
    text = "\\ ".join(filter(None, (option, value))) + ("\\ ...\\&" if word.repeats else "")
    return text if word.required else f"[{text}]"


def _setting(setting: Setting) -> str:
    unit = f" ({setting.unit})" if setting.unit else ""
    absent = "It has to be there." if setting.absent.startswith("(") else f"If absent: {setting.absent}."
    what = _sentences(_WHERE[setting.scopes] + setting.help)
    value = _sentences(f"{_capital(setting.kind.words)}{unit}. {absent}")
    example = _roff(f"`{setting.name} = {setting.example}`")
    return f".TP\n.B {_roff(setting.name)}\n{what}.br\n{value}.br\n{example}\n"


def _sentences(text: str) -> str:
    """Return sentences, each on a line of its own, as roff wants them; what stands in backquotes is bold."""
    lines = re.sub(r"(?<=[.!?]) (?=[A-Z`])", "\n", text if text.endswith((".", "!", "?")) else f"{text}.").split("\n")
    return "".join(f"{_roff(line)}\n" for line in lines)


def _roff(text: str) -> str:
    parts = re.split(r"`([^`']+)`", text)
    shown = [f"\\fB{part.translate(_ESCAPES)}\\fR" if odd else part.translate(_ESCAPES) for odd, part in _odd(parts)]
    line = "".join(shown)
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _odd(parts: list[str]) -> Iterator[tuple[bool, str]]:
    return ((number % 2 == 1, part) for number, part in enumerate(parts))
