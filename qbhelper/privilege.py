# SPDX-License-Identifier: GPL-2.0-or-later
"""The only code that changes credentials.

The native part leaves this process as the caller, with CAP_NET_ADMIN alone and no_new_privs
(docs/privileges.md).  Here that is believed only after reading it, and what is left is given back
as soon as it is not needed any more.
"""

import os

import prctl

from qbhelper.errors import PrivilegeError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NET_ADMIN_ALONE = frozenset((prctl.CAP_NET_ADMIN,))
_NOTHING: frozenset[int] = frozenset()


def enter() -> None:
    """First stage, before anything of the caller's is looked at.

    Should: see that the native part did what it promises; close the process to ptrace(2), which execve
    opened again; keep CAP_NET_ADMIN from whatever might be executed.
    Must not: give anything the process did not come with.
    Raises PrivilegeError in any other state than the one that docs/privileges.md names.
    """
    _change(prctl.set_dumpable, 0)
    if len(set(os.getresuid())) != 1 or len(set(os.getresgid())) != 1:
        raise _wrong_state("the user or group ids differ")
    if not prctl.get_no_new_privs():
        raise _wrong_state("no_new_privs is not set")
    if _held(prctl.CAP_PERMITTED) != _NET_ADMIN_ALONE or _held(prctl.CAP_EFFECTIVE) != _NET_ADMIN_ALONE:
        raise _wrong_state("the capabilities are not CAP_NET_ADMIN alone")
    # The ambient set goes with the inheritable one (capabilities(7)).
    _change(prctl.cap_inheritable.limit)
    if _held(prctl.CAP_INHERITABLE) != _NOTHING:
        raise _wrong_state("the kernel did not drop the inheritable capabilities")


def leave() -> None:
    """Last stage, when the port is made: give CAP_NET_ADMIN back.

    Should: leave the process with no capability for what remains, the hand-over to the caller.
    Must not: fail silently.  Raises PrivilegeError.
    """
    _change(prctl.cap_effective.limit)
    _change(prctl.cap_permitted.limit)
    if _held(prctl.CAP_PERMITTED) != _NOTHING:
        raise _wrong_state("the kernel did not drop CAP_NET_ADMIN")


def _change(change: "Callable[..., object]", *arguments: int) -> None:
    try:
        change(*arguments)
    except OSError as error:
        raise _wrong_state(reason(error)) from error


def _held(which: int) -> frozenset[int]:
    states = prctl.get_caps((list(prctl.ALL_CAPS), [which]))[which]
    return frozenset(capability for capability, held in states.items() if held)


def _wrong_state(problem: str) -> PrivilegeError:
    return PrivilegeError(
        f"failed to drop privileges: {problem}", "start this through the qbhelper program, not through Python"
    )
