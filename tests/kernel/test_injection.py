# SPDX-License-Identifier: GPL-2.0-or-later
"""Any system call may fail: then one line says so, nothing was sent, and nothing is left."""

import re

import pytest

from tests.kernel import traced
from tests.kernel.ways import Way, refused

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip, pytest.mark.usefixtures("br0")]

WORDS = [
    (
        "openat",
        "/etc/qemu/bridge.conf",
        "EIO",
        "failed to parse default acl file `/etc/qemu/bridge.conf': Input/output",
    ),
    ("socket", "AF_NETLINK", "EMFILE", "failed to open control socket: Too many open files"),
    ("socket", "AF_NETLINK", "EAFNOSUPPORT", "failed to open control socket: Address family not supported by protocol"),
    ("sendto", "br0", "EPERM", "failed to look up bridge `br0': Operation not permitted"),
    ("recvfrom", "br0", "ENOBUFS", "failed to look up bridge `br0': No buffer space available"),
    ("openat", "/dev/net/tun", "EACCES", "failed to open /dev/net/tun: Permission denied"),
    ("openat", "/dev/net/tun", "ENODEV", "failed to open /dev/net/tun: No such device"),
    ("ioctl", "TUNSETIFF", "EPERM", "failed to create tun device: Operation not permitted"),
    ("ioctl", "TUNSETIFF", "EBUSY", "failed to create tun device: Device or resource busy"),
    ("ioctl", "TUNSETOWNER", "EPERM", "failed to create tun device: Operation not permitted"),
    ("sendto", "IFLA_MASTER", "EPERM", "failed to bring up interface `tap0': Operation not permitted"),
    ("recvfrom", "tap0", "ENOBUFS", "failed to bring up interface `tap0': No buffer space available"),
    ("sendmsg", "SCM_RIGHTS", "EAGAIN", "failed to write fd to unix socket: Resource temporarily unavailable"),
    ("sendmsg", "SCM_RIGHTS", "EPIPE", "failed to write fd to unix socket: Broken pipe"),
    ("sendmsg", "SCM_RIGHTS", "ETOOMANYREFS", "failed to write fd to unix socket: Too many references"),
    ("getsockopt", "SO_DOMAIN", "ENOTSOCK", "failed to write fd to unix socket: "),
    ("getpeername", "AF_UNIX", "ENOTCONN", "failed to write fd to unix socket: --fd="),
    ("prctl", "PR_SET_DUMPABLE", "EINVAL", "failed to drop privileges: PR_SET_DUMPABLE: Invalid argument"),
    ("close_range", "", "ENOSYS", "failed to close inherited files: Function not implemented"),
    ("dup2", "", "EBADF", "failed to close inherited files: Bad file descriptor"),
    ("chdir", "", "EACCES", "failed to enter /: Permission denied"),
    ("rt_sigprocmask", "SIG_SETMASK", "EINVAL", "failed to unblock signals: Invalid argument"),
    ("capset", "", "EPERM", "failed to drop privileges: capset: Operation not permitted"),
    ("prctl", "PR_CAP_AMBIENT_RAISE", "EPERM", "failed to drop privileges: prctl: Operation not permitted"),
    ("prctl", "PR_CAP_AMBIENT_CLEAR_ALL", "EINVAL", "failed to drop privileges: prctl: Invalid argument"),
    ("prctl", "PR_SET_NO_NEW_PRIVS", "EINVAL", "failed to drop privileges: prctl: Invalid argument"),
    ("prctl", "PR_GET_NO_NEW_PRIVS", "EINVAL", "failed to drop privileges: the kernel did not set what was asked"),
    ("prctl", "PR_CAP_AMBIENT_IS_SET, CAP_NET_ADMIN", "EINVAL", "failed to drop privileges: the kernel did not set"),
    ("getresuid", "", "EFAULT", "failed to drop privileges: the kernel did not set what was asked"),
    ("getresgid", "", "EFAULT", "failed to drop privileges: the kernel did not set what was asked"),
]
"""The step, the error that it meets, and how the line begins: the original's words where it has some."""

SETUID_ONLY = [
    ("prctl", "PR_CAPBSET_DROP, CAP_SYS_ADMIN", "EPERM", "failed to drop privileges: bounding set: Operation not perm"),
    ("prctl", "PR_SET_KEEPCAPS", "EPERM", "failed to drop privileges: setresuid: Operation not permitted"),
    ("setresuid", "65534, 65534", "EAGAIN", "failed to drop privileges: setresuid: Resource temporarily unavailable"),
]


def in_short(cases: list[tuple[str, str, str, str]]) -> list[str]:
    """Names for the cases."""
    return [f"{name} {text.partition(',')[0]} {error}" for name, text, error, _ in cases]


def fails(way: Way, step: traced.Step, error: str, start: str = "") -> str:
    """Let one step meet an error, and insist on a clean refusal."""
    with traced.tampered(way.helper, step, f"error={error}") as outcome:
        return refused(outcome, start)


@pytest.mark.parametrize(("name", "text", "error", "start"), WORDS, ids=in_short(WORDS))
def test_a_step_that_fails_is_named(lent: Way, name: str, text: str, error: str, start: str) -> None:
    """Each step of the helper's own has words for its failure, and the kernel's reason."""
    # The C library may have set a signal mask before us: ours is set right before the timer.
    before = "setitimer" if name == "rt_sigprocmask" else None
    line = fails(lent, traced.find(lent.helper, name, text, before=before), error, start)
    assert "internal error" not in line


@pytest.mark.parametrize(("name", "text", "error", "start"), SETUID_ONLY, ids=in_short(SETUID_ONLY))
def test_a_step_of_becoming_the_caller_that_fails_is_named(
    setuid: Way, name: str, text: str, error: str, start: str
) -> None:
    """Root's power that can't be given back is never kept."""
    fails(setuid, traced.find(setuid.helper, name, text), error, start)


def test_root_that_can_be_had_back_is_noticed(setuid: Way) -> None:
    """If the kernel says that uid 0 can be regained after the drop, nothing is started."""
    regain = traced.find(setuid.helper, "setresuid", "-1, 0")
    with traced.tampered(setuid.helper, regain, "retval=0") as outcome:
        refused(outcome, "failed to drop privileges: root could be had back")


@pytest.mark.parametrize("call", ["capset", "setresuid", "prctl"])
def test_a_drop_that_did_nothing_is_noticed(setuid: Way, call: str) -> None:
    """The kernel is not believed: what it says it did is read back, in the native part and in the core."""
    telling = {"capset": "", "setresuid": "65534, 65534", "prctl": "PR_SET_NO_NEW_PRIVS"}[call]
    pretended = [step for step in traced.steps(setuid.helper) if step.name == call and telling in step.text]
    # The native part's first capset only prepares what the next ones read back.
    for step in pretended[1 if call == "capset" else 0 :]:
        with traced.tampered(setuid.helper, step, "retval=0") as outcome:
            refused(outcome, "failed to drop privileges: ")


def test_no_failing_request_to_the_kernel_is_overlooked(lent: Way) -> None:
    """Each ioctl on a TAP, and each message to or from netlink, refuses when it fails."""
    requests = [step for step in traced.steps(lent.helper) if re.search("TUN|RTM_", step.text)]
    assert [step.name for step in requests] == ["sendto", "recvfrom", "ioctl", "ioctl", "sendto", "recvfrom"]
    for step in requests:
        fails(lent, step, "ENOMEM")


def test_an_answer_of_the_kernel_that_is_cut_is_noticed(lent: Way) -> None:
    """An answer without a byte, to each question about an interface, is a refusal in words."""
    for step in [step for step in traced.steps(lent.helper) if step.name == "recvfrom"]:
        with traced.tampered(lent.helper, step, "retval=0") as outcome:
            refused(outcome, "failed to ")


def test_no_failing_change_of_privilege_is_overlooked(lent: Way) -> None:
    """Each capset, of the native part and of the core, refuses when it fails; and so does leaving."""
    changes = [step for step in traced.steps(lent.helper) if step.name == "capset"]
    assert len(changes) == 7
    for step in changes:
        fails(lent, step, "EPERM", "failed to drop privileges: ")


def test_python_that_cannot_be_started_is_told(lent: Way) -> None:
    """Where the interpreter can't be executed the message says which, and what to do."""
    second = [step for step in traced.steps(lent.helper) if step.name == "execve"][1]
    assert "install qbhelper again" in fails(lent, second, "ENOENT", "failed to start /usr/bin/python3: No such file")
