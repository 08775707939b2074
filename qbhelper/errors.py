# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that can go wrong, by what the caller can do about it.

::

    QbError
     ├── UsageError          the words on the command line are wrong: mend the program that calls
     ├── PrivilegeError      the process has not the privileges it needs: mend the installation
     ├── AccessListError     the access list can't be read completely: the administrator mends it
     ├── AccessDenied        the access list says no: ask the administrator
     ├── NoSuchBridge        the bridge is not there: create it, or name another
     ├── KernelError         the kernel refused a step: the message says which, on what
     └── HandOverError       the TAP could not be passed on: the program that called is gone or wrong

The text is one line: what failed and on what, in the words of QEMU's own helper where it has
words for the case (people and libvirt search for them), then what to do next.  Every error ends
the program with exit status 1, as QEMU's helper does (contract 1.1).
"""

import os

EXIT_GRANTED = 0
EXIT_REFUSED = 1


class QbError(Exception):
    """A refusal.  `what` failed, on what; `remedy` is what to do next, or empty."""

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}; {remedy}" if remedy else what)


class UsageError(QbError):
    """The words on the command line are wrong."""


class PrivilegeError(QbError):
    """The process is not in the state that the native part leaves it in."""


class AccessListError(QbError):
    """The access list, or a file that it includes, can't be read completely."""


class AccessDenied(QbError):
    """The access list does not allow this bridge."""


class NoSuchBridge(QbError):
    """The bridge that was asked for does not exist, or is no bridge."""


class KernelError(QbError):
    """The kernel refused a step."""

    def __init__(self, what: str, remedy: str = "the kernel's log (dmesg) may say more") -> None:
        super().__init__(what, remedy)


class HandOverError(QbError):
    """The TAP could not be handed to the program that asked for it."""

    def __init__(self, what: str, remedy: str = "the program that asked is gone, or is not QEMU") -> None:
        super().__init__(what, remedy)


def printable(text: bytes | str) -> str:
    """Return `text` fit for any terminal: all but printable ASCII is escaped."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if " " <= letter <= "~" else ascii(letter)[1:-1] for letter in text)


def reason(error: OSError) -> str:
    """Return the system's own words for `error`, as perror(3) has them."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))
