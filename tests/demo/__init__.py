# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo: two QEMU guests, started by a user without privilege, become machines on one bridge.

`./dev demo` runs it in a private world, where our own network namespace plays the host and a
second one plays a PC that hangs on the wire.  It ends with one line per claim; the exit status
is 0 if all of them hold.
"""
