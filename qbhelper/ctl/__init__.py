# SPDX-License-Identifier: GPL-2.0-or-later
"""qbhelperctl: what the administrator and the users of a host ask.  It has no privilege that its caller has not."""
