# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits that a caller sets on itself before it starts a helper."""

import resource


def lower(name: str, value: int) -> None:
    """Set both limits RLIMIT_`name` of this process, to less where the hard one is lower already, as sudo leaves it."""
    kind = getattr(resource, f"RLIMIT_{name}")
    hard = resource.getrlimit(kind)[1]
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (least, least))
