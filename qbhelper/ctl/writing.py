# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes rules as a policy file has them."""

from collections.abc import Callable, Sequence

from qbhelper.policy.who import Ids

WIDTH = 80

Entry = tuple[str | int, str]
"""A value of a list, and what to say of it in a comment, or nothing."""

_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\"} | {code: f"\\u{code:04x}" for code in (*range(0x20), 0x7F)}


def text(value: str) -> str:
    """Return a text as TOML has it, in quotes."""
    return f'"{value.translate(_ESCAPES)}"'


def setting(word: str, entries: Sequence[Entry]) -> list[str]:
    """Return the lines that give a setting a value, or several."""
    values = [value if isinstance(value, int) else text(value) for value, _ in entries]
    line = f"{word} = {values[0]}" if len(values) == 1 else f"{word} = [{', '.join(map(str, values))}]"
    if any(note for _, note in entries):
        line += f"  # {', '.join(note or str(value) for value, note in entries)}"
    if len(line) <= WIDTH or len(values) == 1:
        return [line]
    rows = [f"    {value}," + (f"  # {note}" if note else "") for value, (_, note) in zip(values, entries, strict=True)]
    return [f"{word} = [", *rows, "]"]


def entries_of(ids: Ids, name_of: Callable[[int], str | None], *, by_name: bool) -> list[Entry]:
    """Return the accounts of a rule as it lists them: by name where they have one, or by number with it beside."""
    found: list[Entry] = []
    for low, high in ids.ranges:
        name = name_of(low) if low == high else None
        if low != high:
            found.append((f"{low}-{high}", ""))
        elif name is None:
            found.append((low, ""))
        else:
            found.append((name, "") if by_name else (low, name))
    return found
