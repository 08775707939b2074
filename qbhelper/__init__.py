# SPDX-License-Identifier: GPL-2.0-or-later
"""qbhelper: a place on a bridge for an unprivileged user's virtual machine.

Start reading at `grant`, which tells what the product does.
"""
