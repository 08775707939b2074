# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/policy.md says what the code does: its reference comes from the table, and its examples are policies."""

import re

import pytest

from qbhelper.policy.settings import SETTINGS
from tests import pages
from tests.support.policies import policy_of, problems_of

PAGE = pages.PAGE.read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHELL_EXAMPLES = re.findall(r"<<'EOF'\n(.*?)^    EOF$", PAGE, re.MULTILINE | re.DOTALL)
MESSAGES = re.findall(r"^    /etc/qbhelper/policy\.toml:(\d+: .*)$", PAGE, re.MULTILINE)


def test_the_reference_is_that_of_the_table_of_settings() -> None:
    """Who changes the table runs `python3 -m tests.pages`, and the page follows."""
    assert pages.with_reference(PAGE) == PAGE, "run: python3 -m tests.pages"


def test_the_reference_has_every_setting() -> None:
    """A check of the check: the rows are there."""
    for setting in SETTINGS:
        assert f"\n| `{setting.name}` | " in PAGE


@pytest.mark.parametrize("example", [*EXAMPLES, *SHELL_EXAMPLES])
def test_each_example_is_a_policy(example: str) -> None:
    """What is shown as a whole file can be used as it stands."""
    assert policy_of(re.sub("^    ", "", example, flags=re.MULTILINE)).rules


def test_there_are_examples() -> None:
    """A check of the check: the examples are found."""
    assert len(EXAMPLES) >= 5
    assert len(SHELL_EXAMPLES) == 1


def test_the_errors_that_are_shown_are_real() -> None:
    """The page shows what is really said, word for word."""
    shown = '[[allow]]\nbridge = "br0"\ngroup = "students"\n\nvlan = 4095\nrate_to_guest = "10mbps"\n\n# more\n'
    assert len(MESSAGES) == 4
    assert problems_of(shown) == MESSAGES
