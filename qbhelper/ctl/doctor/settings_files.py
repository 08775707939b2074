# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of settings in sections, as systemd and NetworkManager have them, in their several directories."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qbhelper.sources import read_source

_TRUE = {"1", "yes", "true", "on", "y", "t"}


@dataclass(frozen=True)
class Setting:
    """A line `key=value` below a line `[section]`."""

    section: str
    key: str
    value: str


def settings(path: str) -> list[Setting]:
    """Return what is set in a file, in its order.  Raises OSError."""
    found = []
    section = ""
    lines = iter(read_source(os.fsencode(path)).decode(errors="replace").splitlines())
    for line in lines:
        text = line.strip()
        while text.endswith("\\"):
            text = text[:-1] + " " + next(lines, "").strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
        elif "=" in text and text[0] not in "#;":
            key, _, value = text.partition("=")
            found.append(Setting(section, key.strip(), value.strip()))
    return found


def last(found: Sequence[Setting], section: str, key: str) -> str:
    """Return what a key is set to in the end; empty if it is not set."""
    return next((one.value for one in reversed(found) if (one.section, one.key) == (section, key)), "")


def is_true(value: str) -> bool:
    """Whether a value means yes."""
    return value.lower() in _TRUE


def files(directories: Sequence[str], ending: str) -> Iterator[str]:
    """Yield the paths of the files with this ending, in the order of their names.

    Of several with the same name only the one in the first directory counts, and none if that is masked: a link to
    /dev/null, or empty.  Raises OSError if a directory can't be read.
    """
    found: dict[str, str] = {}
    for directory in directories:
        try:
            names = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            if name.endswith(ending):
                found.setdefault(name, f"{directory}/{name}")
    for _, path in sorted(found.items()):
        if os.path.isfile(path) and os.path.getsize(path) > 0:
            yield path
