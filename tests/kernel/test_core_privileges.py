# SPDX-License-Identifier: GPL-2.0-or-later
"""What the real core holds while it works: looked at from outside, in the middle of a run."""

import pytest

from tests.kernel import probe, traced
from tests.kernel.ways import Way, granted
from tests.support import world

pytestmark = [pytest.mark.needs_root, pytest.mark.redistributors_should_skip, pytest.mark.usefixtures("br0")]

NET_ADMIN, NOTHING = f"{1 << 12:016x}", f"{0:016x}"
SETS = ("CapPrm", "CapEff", "CapInh", "CapAmb")


def held_at(way: Way, step: traced.Step) -> dict[str, str]:
    """The status of the process when it has just taken this step of a run that is then granted."""
    with traced.stopped_at(way.helper, step.name, str(step.nth)) as run:
        run.wait_until_stopped()
        status = probe.status_of(run.pid)
        assert run.finish().granted
    return status


@pytest.mark.parametrize(
    ("name", "text"),
    [("openat", "/dev/net/tun"), ("ioctl", "TUNSETIFF"), ("sendto", "IFLA_MASTER")],
    ids=["opening", "creating", "attaching"],
)
def test_while_it_works_the_core_has_one_capability(lent: Way, name: str, text: str) -> None:
    """From the access list to the port: the caller's ids, CAP_NET_ADMIN, and nothing that execve would pass on."""
    status = held_at(lent, traced.find(lent.helper, name, text))
    assert [status[name] for name in SETS] == [NET_ADMIN, NET_ADMIN, NOTHING, NOTHING]
    assert status["NoNewPrivs"] == "1"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
    assert status["Name"].startswith("python3")


def test_while_it_reads_no_capability_is_in_effect(lent: Way) -> None:
    """CAP_NET_ADMIN in effect would open the files of others in /proc/sys/net: an include may lead there."""
    status = held_at(lent, traced.find(lent.helper, "openat", "/etc/qemu/bridge.conf"))
    assert [status[name] for name in SETS] == [NET_ADMIN, NOTHING, NOTHING, NOTHING]


def test_when_it_hands_over_the_core_has_no_capability(lent: Way) -> None:
    """Before the fd goes to the caller, CAP_NET_ADMIN is given back."""
    status = held_at(lent, traced.find(lent.helper, "getsockname", ""))
    assert [status[name] for name in SETS] == [NOTHING] * 4


def test_privilege_is_given_back_between_verifying_and_sending(lent: Way) -> None:
    """The order of the run: the last request to the kernel's network, the last capset, the hand-over, the end."""
    steps = traced.steps(lent.helper)
    last_look = max(at for at, step in enumerate(steps) if step.name in ("ioctl", "recvfrom"))
    last_drop = max(at for at, step in enumerate(steps) if step.name == "capset")
    sent = max(at for at, step in enumerate(steps) if step.name == "sendmsg")
    assert last_look < last_drop < sent
    assert "effective=0, permitted=0, inheritable=0" in steps[last_drop].text
    # Sending is the last thing that can fail: what follows tells the log, closes and ends.
    after = steps[sent + 1 :]
    assert {step.name for step in after} <= {"socket", "sendto", "close", "munmap", "exit_group", "getpid"}
    assert all("MSG_DONTWAIT" in step.text for step in after if step.name == "sendto")
    assert all("SOCK_NONBLOCK" in step.text for step in after if step.name == "socket")


def test_the_socket_is_looked_at_before_anything_is_made(lent: Way) -> None:
    """The native part knows that it can hand over before it uses any privilege, and the core decides first, too."""
    order = [
        traced.position(lent.helper, name, text)
        for name, text in (
            ("getsockopt", "SO_DOMAIN"),
            ("capset", ""),
            ("openat", "/etc/qemu/bridge.conf"),
            ("openat", "/dev/net/tun"),
        )
    ]
    assert order == sorted(order)


def test_no_other_process_is_started(lent: Way) -> None:
    """One process does it all: nobody else could hold the socket or a privilege."""
    names = [step.name for step in traced.steps(lent.helper)]
    assert names.count("execve") == 2
    assert not {"clone", "clone3", "fork", "vfork"} & set(names)


def test_no_file_of_the_callers_is_opened_for_writing(lent: Way) -> None:
    """All that is opened for writing is the null device and the tun device."""
    opened = [step.text for step in traced.steps(lent.helper) if step.name.startswith("open")]
    for text in opened:
        assert "O_RDONLY" in text or '"/dev/net/tun"' in text or '"/dev/null"' in text, text


def test_a_stop_and_a_start_change_nothing(lent: Way) -> None:
    """A caller may stop its own helper where it likes: the port is the same when it goes on."""
    attach = traced.find(lent.helper, "sendto", "IFLA_MASTER")
    with traced.stopped_at(lent.helper, attach.name, str(attach.nth)) as run:
        run.wait_until_stopped()
        assert len(world.ports("br0")) == 1
        granted(run.finish())
