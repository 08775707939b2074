# SPDX-License-Identifier: GPL-2.0-or-later
"""The part of docs/policy.md that comes from the table of settings.

`python3 -m tests.pages` writes it anew, and with it all else that comes from the code: parts of the manual pages
(tests/manual.py), the completions (tests/completions.py).
"""

from pathlib import Path

from qbhelper.policy.settings import ALLOW, DENY, SETTINGS, TOP, Setting
from tests import completions, manual

PAGE = Path(__file__).resolve().parents[1] / "docs" / "policy.md"
BEGIN = "<!-- settings: from qbhelper/policy/settings.py, by `python3 -m tests.pages` -->\n"
END = "<!-- end of settings -->\n"
_WHERE = {(TOP,): "top", (ALLOW,): "allow", (ALLOW, DENY): "allow, deny"}


def reference() -> str:
    """Return the reference table of all settings."""
    rows = ["| setting | in | value | if absent | what it does |", "|---|---|---|---|---|"]
    return "\n".join([*rows, *map(_row, SETTINGS)]) + "\n"


def _row(setting: Setting) -> str:
    unit = f" ({setting.unit})" if setting.unit else ""
    example = f"{setting.kind.words}{unit}: `{setting.name} = {setting.example}`"
    return f"| `{setting.name}` | {_WHERE[setting.scopes]} | {example} | {setting.absent} | {setting.help} |"


def with_reference(page: str) -> str:
    """Return the text of the page with its generated part written anew."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has lost the marks between which the reference stands")
    return "".join((head, begin, "\n", reference(), "\n", end, tail))


def generated() -> dict[Path, str]:
    """Return what each file has to be that comes from the code, wholly or in part."""
    manual_pages = {page: manual.with_generated_parts(page) for page in manual.pages()}
    return {PAGE: with_reference(PAGE.read_text()), **manual_pages, **completions.files()}


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text)
