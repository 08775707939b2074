# SPDX-License-Identifier: GPL-2.0-or-later
"""Which frames a guest may send, as a program that the kernel runs on each of them (entry: ethernet.program).

The program matches what may pass, and all else is dropped.  So a frame that ends before what has to be looked at is
dropped, too: there the kernel ends the program, and that is no match.

It speaks of what receivers would make of a frame.  What could hide that from us, and not from them, is dropped as soon
as there is anything to look for: IP in 802.2 frames and piles of VLAN tags (CVE-2021-27853, 27854, 27861, 27862), piles
of IPv6 extension headers (RFC 7113), neighbour discovery in fragments (RFC 6980).
"""
