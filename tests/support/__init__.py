# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests and the demo stand on: a private world, an installed copy, a caller, a guest."""
