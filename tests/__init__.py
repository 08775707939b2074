# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests, demo and benchmark.  A package, so that no other `tests` on Python's path is taken for it."""
