# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may have what: text in, `Decision` out.  Knows nothing of sockets, netlink or privileges."""
