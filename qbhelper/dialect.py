# SPDX-License-Identifier: GPL-2.0-or-later
"""The words that QEMU and libvirt start a bridge helper with (contract 1.1).

`[--use-vnet] --br=BRIDGE --fd=N`, in any order, the last of each kind counts.  Parsed by hand: QEMU
waits, and argparse would take longer than everything else together.
"""

import os

from qbhelper.errors import UsageError, printable
from qbhelper.request import IFNAMSIZ, Request, is_bridge_name

USAGE = "Usage: qbhelper [--use-vnet] --br=bridge --fd=unixfd"


def parse(words: list[str]) -> tuple[Request, int]:
    """Return what `words` ask for, and the number of the socket to hand the TAP over on.

    Raises UsageError for a word that is not known, a missing one, and a name that no interface can have.
    """
    bridge: bytes | None = None
    fd: int | None = None
    vnet_header = False
    for word in words:
        if word == "--use-vnet":
            vnet_header = True
        elif word.startswith("--br="):
            bridge = os.fsencode(word[5:])
        elif word.startswith("--fd="):
            fd = _parse_fd(word[5:])
        else:
            raise UsageError(f"{USAGE} (`{printable(word)}' is not known)")
    if bridge is None:
        raise UsageError(f"{USAGE} (`--br=' is missing)")
    if fd is None:
        raise UsageError(f"{USAGE} (`--fd=' is missing)")
    check_name(bridge)
    return Request(bridge, vnet_header), fd


def render(request: Request, fd: int) -> list[str]:
    """Return the words, in QEMU's order, that ask for `request` to be handed over on `fd`."""
    return [
        *(["--use-vnet"] if request.vnet_header else []),
        f"--fd={fd}",
        f"--br={os.fsdecode(request.bridge)}",
    ]


def check_name(bridge: bytes) -> None:
    """Raise UsageError for a name that no interface can have."""
    if len(bridge) >= IFNAMSIZ:
        raise UsageError(
            f"name `{printable(bridge)}' too long: {len(bridge)}",
            f"an interface name has at most {IFNAMSIZ - 1} bytes",
        )
    if not is_bridge_name(bridge):
        raise UsageError(
            f"{USAGE} (`{printable(bridge)}' can't be the name of a bridge)",
            "name the bridge itself, as `ip link show type bridge' prints it",
        )


def _parse_fd(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and int(digits) < 2**31):
        raise UsageError(f"{USAGE} (`--fd={printable(digits)}' is not the number of a file descriptor)")
    return int(digits)
