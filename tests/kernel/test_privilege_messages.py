# SPDX-License-Identifier: GPL-2.0-or-later
"""A helper without privilege says which of the reasons it is, and what to do about it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import prctl
import pytest

from tests.kernel.ways import granted_or_refused, refused
from tests.support import caller, install, world
from tests.support.caller import Outcome
from tests.support.install import Privilege

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("br0")]

START = "failed to create tun device: Operation not permitted: "
PRCTL = os.path.dirname(prctl.__file__)
LENT = [Privilege.SETUID, Privilege.FILE_CAPABILITY]


def call_through(*before: str, helper: Path, uid: int | None = caller.PLAIN_UID) -> Outcome:
    """Call a helper through a program that changes what processes may do, like setpriv."""
    words = [*before[1:], str(helper)]
    program = Path(shutil.which(before[0]) or before[0])
    return caller.call(program, uid=uid, argv=lambda fd: [*words, "--use-vnet", f"--fd={fd}", "--br=br0"])


def _with(*capabilities: str) -> list[str]:
    """The options of setpriv that leave a plain uid with these capabilities."""
    added = ",".join(f"+{capability}" for capability in capabilities)
    return ["--inh-caps", added, "--ambient-caps", added]


def as_plain_uid(*options: str) -> list[str]:
    """The setpriv that becomes a plain uid, with something else that only root can do."""
    uid = str(caller.PLAIN_UID)
    return ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", *options]


def test_a_plain_copy_is_told_to_get_a_file_capability() -> None:
    """Neither setuid nor capable: the command that mends it names this very file."""
    helper = install.ours(Privilege.NONE)
    with caller.call(helper) as outcome:
        assert refused(outcome) == (
            f"{START}no broker answers, and {helper} is not setuid root and has no file capability; "
            f"as root: systemctl start qbhelper.socket, or: setcap cap_net_admin=ep {helper}"
        )


@pytest.fixture
def directory() -> Iterator[Path]:
    """A root-owned directory for one test's own copy."""
    place = world.WORLD / "own"
    place.mkdir()
    yield place
    shutil.rmtree(place)


def test_a_setuid_copy_of_somebody_else_is_told_to_be_roots(directory: Path) -> None:
    """Setuid to a plain uid gives nothing; chown comes before chmod in the remedy, for it clears the bit."""
    helper = directory / "qbhelper"
    shutil.copyfile(install.ours(Privilege.SETUID), helper)
    shutil.chown(helper, 4711)
    helper.chmod(0o4755)
    with caller.call(helper) as outcome:
        assert refused(outcome) == (
            f"{START}{helper} is setuid but not owned by root; "
            f"as root: systemctl start qbhelper.socket, or: chown root {helper} && chmod 4755 {helper}"
        )


@pytest.mark.parametrize("privilege", LENT)
def test_a_nosuid_mount_is_named(privilege: Privilege, directory: Path) -> None:
    """Where the file system takes the privilege away, the message says so."""
    world.run("mount", "-t", "tmpfs", "-o", "nosuid,mode=0755", "tmpfs", str(directory))
    try:
        helper = directory / "qbhelper"
        shutil.copyfile(install.ours(privilege), helper)
        helper.chmod(0o4755 if privilege is Privilege.SETUID else 0o755)
        if privilege is Privilege.FILE_CAPABILITY:
            world.run("setcap", "cap_net_admin=ep", str(helper))
        with caller.call(helper) as outcome:
            assert refused(outcome) == (
                f"{START}{helper} is on a file system mounted nosuid; "
                "as root: systemctl start qbhelper.socket, or install it elsewhere"
            )
    finally:
        world.run("umount", str(directory))


@pytest.mark.parametrize("privilege", LENT)
def test_no_new_privs_is_named(privilege: Privilege) -> None:
    """As under `-sandbox on` and in many containers, and with what to do."""
    helper = install.ours(privilege)
    with call_through("setpriv", "--no-new-privs", helper=helper) as outcome:
        line = refused(outcome, f"{START}no_new_privs is set, so the ")
    assert f"{'setuid bit' if privilege is Privilege.SETUID else 'file capability'} of {helper} has no effect; " in line
    assert "start QEMU without -sandbox" in line


def test_a_capability_that_the_container_took_away_is_named() -> None:
    """Outside the bounding set neither setuid nor being root brings CAP_NET_ADMIN."""
    start = f"{START}CAP_NET_ADMIN is not in the bounding set, as in most containers; "
    for before, privilege in ((as_plain_uid(), Privilege.SETUID), (["setpriv"], Privilege.NONE)):
        words = [*before, "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
        with call_through(*words, helper=install.ours(privilege), uid=None) as outcome:
            assert "mount the broker's /run/qbhelper/broker.sock into the container" in refused(outcome, start)


def test_a_file_capability_outside_the_bounding_set_cannot_even_start() -> None:
    """The kernel refuses to execute such a file (capabilities(7)), so no message of ours can come."""
    words = as_plain_uid("--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    with call_through(*words, helper=install.ours(Privilege.FILE_CAPABILITY), uid=None) as outcome:
        assert outcome.status != 0
        assert "Operation not permitted" in outcome.stderr
        assert (outcome.data, outcome.fds) == (b"", [])


@pytest.mark.parametrize("privilege", LENT)
def test_a_traced_helper_has_no_privilege(privilege: Privilege) -> None:
    """Started under a tracer of the caller's own, the kernel lends nothing, and the message lists that reason."""
    strace = ["strace", "-o", "/dev/null", "-e", "trace=none"]
    with call_through(*strace, helper=install.ours(privilege)) as outcome:
        assert "the process is traced" in refused(outcome, f"{START}the ")


@pytest.mark.parametrize("capability", ["setuid", "setgid", "setpcap", "sys_resource"])
@pytest.mark.parametrize("root", [False, True], ids=["setuid", "root"])
def test_a_container_that_lacks_what_dropping_takes_is_answered_cleanly(capability: str, *, root: bool) -> None:
    """Setuid and root without one of the usual capabilities still end as CAP_NET_ADMIN alone, or refuse."""
    words = ["--bounding-set", f"-{capability}", "--inh-caps", f"-{capability}"]
    before = ["setpriv", *words] if root else as_plain_uid(*words)
    helper = install.ours(Privilege.NONE if root else Privilege.SETUID)
    with call_through(*before, helper=helper, uid=None) as outcome:
        granted_or_refused(outcome, "failed to drop privileges: ")


_BOUNDING_SET = int(re.findall(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
BPF = "bpf" if _BOUNDING_SET >> 39 & 1 else "net_raw"
"""A capability that is younger than python-prctl 1.8.1, the version that distributions have; containers lack it."""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "no_new_privs is not set"),
        (["--no-new-privs"], "the capabilities are not CAP_NET_ADMIN alone"),
        (["--no-new-privs", *_with("net_raw")], "the capabilities are not CAP_NET_ADMIN alone"),
        (["--no-new-privs", *_with("net_admin", "net_raw")], "the capabilities are not CAP_NET_ADMIN alone"),
        (["--no-new-privs", *_with("net_admin", BPF)], "the capabilities are not CAP_NET_ADMIN alone"),
        (["--ruid", "61235", "--no-new-privs", *_with("net_admin")], "the user or group ids differ"),
        (["--rgid", "61235", "--no-new-privs", *_with("net_admin")], "the user or group ids differ"),
    ],
    ids=["fresh", "no capability", "another", "one more", "a young one more", "two uids", "two gids"],
)
def test_the_core_serves_nobody_in_another_state(options: list[str], problem: str) -> None:
    """Started in any state but the one that the native part leaves, the core says what is wrong with it."""
    assert serve(*options) == (
        f"failed to drop privileges: {problem}; start this through the qbhelper program, not through Python\n"
    )


def test_the_core_goes_on_in_the_state_that_is_right() -> None:
    """The check of the checks: with that state made by hand it comes to what it was asked for."""
    assert "failed to drop privileges" not in serve("--no-new-privs", *_with("net_admin"))


def serve(*options: str) -> str:
    """Start the installed core through setpriv, to hand over on /dev/null; what it says on stderr."""
    modules = install.installed().parents[1] / "lib/qbhelper"
    code = (
        f"import sys; sys.path += {str(modules)!r}, {PRCTL!r}\nfrom qbhelper.standalone import main; main(sys.argv[1:])"
    )
    ids = [word for option in ("--euid", "--egid") for word in (option, str(caller.PLAIN_UID))]
    for option in {"--ruid", "--rgid"} - set(options):
        ids += [option, str(caller.PLAIN_UID)]
    done = subprocess.run(
        [
            "setpriv",
            *ids,
            "--clear-groups",
            *options,
            "/usr/bin/python3",
            "-I",
            "-S",
            "-B",
            "-c",
            code,
            "--fd=0",
            "--br=br0",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr
