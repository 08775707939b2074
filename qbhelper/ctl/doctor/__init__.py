# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor`: walks the way that a grant and a frame take, and says at each station how things are."""
