# SPDX-License-Identifier: GPL-2.0-or-later
"""qbhelperd, the broker: it knows its callers from the kernel, so that nothing need be setuid."""
