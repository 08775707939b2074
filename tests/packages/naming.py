# SPDX-License-Identifier: GPL-2.0-or-later
"""The functions that a rule of AppArmor's or SELinux's can name as its reason."""

import re

from tests.packages.trees import TREE


def functions() -> set[str]:
    """The names of all functions of ours, in Python and in C."""
    core = TREE / "qbhelper"
    python = "\n".join(path.read_text() for path in core.rglob("*.py"))
    native = "\n".join(path.read_text() for path in core.rglob("*.c"))
    return set(re.findall(r"^\s*def (\w+)\(", python, re.MULTILINE)) | set(
        re.findall(r"^[a-z][\w *]*?\b(\w+)\([^;]*\)\n\{", native, re.MULTILINE)
    )
