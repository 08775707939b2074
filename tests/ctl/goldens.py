# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of cases: what is put in, and what is told of it, word for word."""

from pathlib import Path


def cases(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Return by the title of each case what is put in, and the lines that are told."""
    found = {}
    for case in path.read_text().split("==== ")[1:]:
        before, _, told = case.partition("---- is told\n")
        title, _, text = before.partition("\n")
        found[title] = (text, [line for line in told.splitlines() if line])
    return found
