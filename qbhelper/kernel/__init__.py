# SPDX-License-Identifier: GPL-2.0-or-later
"""The only code that talks to the kernel's network.  It acts, and knows nothing of users or policy."""
