# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything that can go wrong, by what the caller can do about it.

::

    QbError
     ├── UsageError          the words on the command line are wrong: mend the program that calls
     ├── PrivilegeError      the process has not the privileges it needs: mend the installation
     ├── AccessListError     the access list can't be read completely: the administrator mends it
     ├── PolicyError         the policy can't be read completely, or has an error: the administrator mends it
     ├── AccessDenied        the access list or the policy says no: ask the administrator
     ├── ElsewhereError      the caller is in another network namespace: run QEMU in the broker's, or ask
     ├── QuotaExceeded       the caller has as many ports as the policy gives: end one, or ask the administrator
     ├── Taken               there is no room, or another port has what the rule gives: a port that ends frees it
     ├── Busy                nothing was decided: ask again
     ├── UnsupportedError    what was asked is not to be had on this host as it is: the administrator changes that
     ├── NoSuchLease         the port has ended already: nothing to do
     ├── NoSuchBridge        the bridge is not there: create it, or name another
     ├── KernelError         the kernel refused a step: the message says which, on what
     └── HandOverError       the TAP could not be passed on: the program that called is gone or wrong

qbhelperctl has others of its own, for what the broker (ctl/client.py) or a QEMU (ctl/monitor.py) says to it: no helper
meets or imports them, and they end it with a status of its own.

The text is one line: what failed and on what, in the words of QEMU's own helper where it has
words for the case (people and libvirt search for them), then what to do next.  Every error ends
the program with exit status 1, as QEMU's helper does (contract 1.1).
"""

import os

EXIT_GRANTED = 0
EXIT_REFUSED = 1


class QbError(Exception):
    """A refusal.  `what` failed, on what; `remedy` is what to do next, or empty.

    code: what programs and the log are told of it (Code in wire.py has the same names); rule: the line of the policy or
    the access list that decided, `file:line`, empty where none did.
    """

    code = "INTERNAL"

    def __init__(self, what: str, remedy: str = "", *, rule: object = "") -> None:
        self.what = what
        self.remedy = remedy
        self.rule = str(rule or "")
        super().__init__(f"{what}; {remedy}" if remedy else what)


class UsageError(QbError):
    """The words on the command line are wrong."""

    code = "NOT_ALLOWED"


class PrivilegeError(QbError):
    """The process is not in the state that the native part leaves it in."""


class AccessListError(QbError):
    """The access list, or a file that it includes, can't be read completely."""

    code = "NOT_ALLOWED"


class Problem:
    """One thing that is wrong with a policy: in which file, on which line (0: the file as a whole), and what to do."""

    __slots__ = ("hint", "line", "path", "what")

    def __init__(self, path: str, line: int, what: str, hint: str) -> None:
        self.path = path
        self.line = line
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.line}: {self.what}; {self.hint}"
            if self.line
            else f"{self.path}: {self.what}; {self.hint}"
        )


class PolicyError(QbError):
    """The policy can't be read completely, or something in it is wrong.

    The text is for callers, who may not be able to read the files: it says where, and never what stands there.
    `problems` tells all of it, for the journal and for whoever can read them.
    """

    code = "NOT_ALLOWED"

    def __init__(self, what: str, remedy: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(what, remedy)
        self.problems = problems


class AccessDenied(QbError):
    """The access list, or the policy, does not allow this bridge."""

    code = "NOT_ALLOWED"


class ElsewhereError(QbError):
    """The caller is in another network namespace than the broker, and no rule lets them in from there."""

    code = "ELSEWHERE"


class QuotaExceeded(QbError):
    """The caller has as many ports as the policy gives."""

    code = "QUOTA"


class Taken(QbError):
    """The bridge is full, or another has the name or MAC address that the rule gives."""

    code = "QUOTA"


class Busy(QbError):
    """Nothing was decided: ask again."""

    code = "BUSY"


class UnsupportedError(QbError):
    """What was asked is not to be had on this host as it is: its kernel, its bridge and the rule do not go together."""

    code = "UNSUPPORTED"


class NoSuchBridge(QbError):
    """The bridge that was asked for does not exist, or is no bridge."""

    code = "NO_SUCH_BRIDGE"


class NoSuchLease(QbError):
    """The lease that was named is not there, or is no more."""

    code = "NO_SUCH_LEASE"


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
