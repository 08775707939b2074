# SPDX-License-Identifier: GPL-2.0-or-later
"""How long QEMU stands still: our helper against the original and a bare interpreter, in one run."""
