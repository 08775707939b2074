# SPDX-License-Identifier: GPL-2.0-or-later
"""The only code that changes credentials.

On the standalone way the native part leaves the process as the caller, with CAP_NET_ADMIN alone and
no_new_privs (docs/privileges.md).  Here that is believed only after reading it, and what is left is given
back as soon as it is not needed any more.  The broker comes here from root, or from systemd, by itself.
"""

import os

import prctl

from qbhelper.errors import PrivilegeError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NET_ADMIN_ALONE = frozenset((prctl.CAP_NET_ADMIN,))
_NOTHING: frozenset[int] = frozenset()
_SIGKILL = 9


def enter() -> None:
    """Standalone, first stage, before anything of the caller's is looked at.

    Should: see that the native part did what it promises; close the process to ptrace(2), which execve
    opened again; keep CAP_NET_ADMIN from whatever might be executed, and out of effect while files are
    opened: in effect it would open others' files in /proc/sys/net.
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
    _change(prctl.cap_effective.limit)
    if _held(prctl.CAP_INHERITABLE) != _NOTHING or _held(prctl.CAP_EFFECTIVE) != _NOTHING:
        raise _wrong_state("the kernel did not drop the inheritable and effective capabilities")


def act() -> None:
    """Standalone, second stage, when all is read: put CAP_NET_ADMIN into effect.  Raises PrivilegeError."""
    try:
        prctl.cap_effective.net_admin = True
    except OSError as error:
        raise _wrong_state(reason(error)) from error
    if _held(prctl.CAP_EFFECTIVE) != _NET_ADMIN_ALONE:
        raise _wrong_state("the kernel did not put CAP_NET_ADMIN into effect")


def leave() -> None:
    """Standalone, last stage, when the port is made: give CAP_NET_ADMIN back.

    Should: leave the process with no capability for what remains, the hand-over to the caller.
    Must not: fail silently.  Raises PrivilegeError.
    """
    _change(prctl.cap_effective.limit)
    _change(prctl.cap_permitted.limit)
    if _held(prctl.CAP_PERMITTED) != _NOTHING:
        raise _wrong_state("the kernel did not drop CAP_NET_ADMIN")


def become_account(account: str, uid: int, gid: int) -> None:
    """Broker started by root, first stage: from root to `account`, with what reading the policy takes.

    Should: keep CAP_NET_ADMIN and CAP_DAC_READ_SEARCH, and no other capability; have the account's own groups, as that
    of /dev/vhost-net, and no other; end with the keeper.
    Must not: leave a way back.  Raises PrivilegeError.
    """
    keeper = os.getppid()
    try:
        prctl.set_keepcaps(True)
        os.setgroups([group for group in os.getgrouplist(account, gid) if group != gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        prctl.set_keepcaps(False)
        prctl.cap_effective.limit()
        prctl.cap_permitted.limit(prctl.CAP_NET_ADMIN, prctl.CAP_DAC_READ_SEARCH, prctl.CAP_SETPCAP)
        prctl.cap_effective.setpcap = True
        prctl.capbset.limit()
        prctl.cap_effective.dac_read_search = True
        # After the change of ids, which clears it (prctl(2)).
        prctl.set_pdeathsig(_SIGKILL)
    except OSError as error:
        raise PrivilegeError(
            f"failed to become {account} (uid {uid}): {reason(error)}",
            "it takes CAP_SETUID, CAP_SETGID, CAP_SETPCAP and CAP_DAC_READ_SEARCH: in a container, let it have them",
        ) from error
    if os.getppid() != keeper:
        raise PrivilegeError("the keeper of the socket is gone")


def keep_net_admin() -> None:
    """Broker, last stage, before the first request: CAP_NET_ADMIN alone, for good.

    Should: read back all that docs/privileges.md says of a broker that serves.
    Must not: serve in any other state.  Raises PrivilegeError.
    """
    if prctl.CAP_NET_ADMIN not in _held(prctl.CAP_PERMITTED):
        raise PrivilegeError("the broker has no CAP_NET_ADMIN", "start it as root, or through systemd")
    prctl.set_dumpable(0)
    prctl.set_no_new_privs(1)
    prctl.cap_inheritable.limit()
    prctl.cap_effective.limit()
    prctl.cap_permitted.limit(prctl.CAP_NET_ADMIN)
    prctl.cap_effective.net_admin = True
    if (
        len(set(os.getresuid())) != 1
        or not prctl.get_no_new_privs()
        or _held(prctl.CAP_PERMITTED) != _NET_ADMIN_ALONE
        or _held(prctl.CAP_EFFECTIVE) != _NET_ADMIN_ALONE
        or _held(prctl.CAP_INHERITABLE) != _NOTHING
    ):
        raise _wrong_state("the kernel did not set what was asked")


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
