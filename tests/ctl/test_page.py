# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/qbhelperctl.md shows what is really printed: every command on it is run, in the order of the page."""

import pytest

from tests.ctl.page import PAGE, as_printed_now, transcripts


@pytest.mark.needs_root
def test_what_is_shown_is_what_is_printed() -> None:
    """Word for word, so that who searches for a message finds it."""
    assert as_printed_now() == PAGE.read_text(), "run: ./dev shell -c 'python3 -m tests.ctl.page'"


def test_no_table_of_it_is_wider_than_a_terminal() -> None:
    """80 columns; a message is one line however long."""
    for block in transcripts(PAGE.read_text()):
        for _, command, out in block:
            if command == "qbhelperctl show":
                assert max(map(len, out.splitlines())) <= 80


def test_the_commands_are_found() -> None:
    """A check of the check."""
    commands = [command for block in transcripts(PAGE.read_text()) for _, command, _ in block]
    for word in ("check", "explain", "show", "import"):
        assert any(command.startswith(f"qbhelperctl {word}") for command in commands)
