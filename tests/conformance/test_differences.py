# SPDX-License-Identifier: GPL-2.0-or-later
"""Each difference in docs/differences.md is real, and each is told there: one test for each, by its number."""

import fcntl
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.comparison import PLAIN, ROOT, Answer, Case, Fact, Peer, Running
from tests.conformance.differences import DOCUMENT, Difference, Pair, agreeing, ask, compare
from tests.conformance.trees import ELSEWHERE, HOME, SECOND_TOP, TOP, File, Tree, plant
from tests.support import install, world
from tests.support.install import Privilege

pytestmark = pytest.mark.conformance
needs_root = pytest.mark.needs_root

ALLOWED = Tree.of("allow br0\n")
ALL_BUT_BR0 = Tree.of("allow all\ndeny br0\n")


def differ(difference: Difference, case: Case) -> Pair:
    """Put a case to both; fail unless they differ, in just this listed way and in no other."""
    pair = compare(case)
    assert difference in pair.excuses, f"{difference.value} is listed, but no longer there:\n{pair}"
    return pair


def turned_down(difference: Difference, case: Case) -> Answer:
    """Return our refusal of what the original grants, for just this difference."""
    pair = differ(difference, case)
    assert pair.theirs.granted, pair
    assert not pair.ours.fds, pair
    return pair.ours


# --- What the access list means ---------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("line", ["permit qa", "deny", "deny sixteen-bytes-16"])
def test_d1_an_error_in_an_include_refuses(br0: str, line: str) -> None:
    """The original goes on after an error in an include and loses the deny behind it; ours refuses."""
    tree = Tree.of(f"allow {br0}\ninclude {HOME}/a.conf\n", a=f"{line}\ndeny {br0}\n")
    ours = turned_down(Difference.INCLUDE_ERROR_REFUSES, Case(tree))
    assert f"{HOME}/a.conf:1:".encode() in ours.stderr


@needs_root
@pytest.mark.parametrize(
    ("path", "extra"),
    [
        (f"{HOME}/a", (f"{HOME}/a", File(None, 0o755))),
        ("", None),
        (f"{HOME}/{'x' * 256}", None),
        ("/dev/null", None),
        (f"{HOME}/large", (f"{HOME}/large", File(b"# a comment\n" * 90_000))),
    ],
    ids=["a directory", "no path", "a name too long", "a device", "more than 1 MiB"],
)
def test_d2_an_include_must_be_a_file(br0: str, path: str, extra: tuple[str, File] | None) -> None:
    """The original passes over an include that is no readable regular file of sane size; ours refuses."""
    tree = Tree.of(f"allow {br0}\ninclude {path}\n")
    case = Case(tree.plus(*extra) if extra else tree, includes_no_file=path.startswith("/dev/"))
    turned_down(Difference.INCLUDE_MUST_BE_A_FILE, case)


@needs_root
def test_d2_a_loop_of_links_is_no_file(br0: str) -> None:
    """The original passes over an include that is a symbolic link to itself; ours refuses."""
    case = Case(Tree.of(f"allow {br0}\ninclude {HOME}/a\n"), includes_no_file=True)
    plant(case.tree)
    os.symlink("a", f"{HOME}/a")
    [pair] = ask(case)
    assert pair.theirs.granted
    assert Difference.INCLUDE_MUST_BE_A_FILE in agreeing(pair).excuses


@needs_root
def test_d3_includes_are_bounded(br0: str) -> None:
    """The original follows any number of includes, to any depth; ours 16 deep, and 256 files in all."""
    chain = {str(number): f"include {HOME}/{number + 1}.conf\n" for number in range(17)}
    for deep, granted in ((15, True), (16, False)):
        parts = {name: text for name, text in chain.items() if int(name) < deep}
        tree = Tree.of(f"include {HOME}/0.conf\n", **parts, **{str(deep): f"allow {br0}\n"})
        if granted:
            assert compare(Case(tree)).ours.granted
        else:
            turned_down(Difference.INCLUDES_ARE_BOUNDED, Case(tree))
    for many, granted in ((255, True), (256, False)):
        files = {str(number): f"# {number}\n" for number in range(many)}
        tree = Tree.of("".join(f"include {HOME}/{name}.conf\n" for name in files) + f"allow {br0}\n", **files)
        if granted:
            assert compare(Case(tree)).ours.granted
        else:
            turned_down(Difference.INCLUDES_ARE_BOUNDED, Case(tree))


@needs_root
def test_d4_a_relative_include_is_looked_for_beside_its_file(br0: str) -> None:
    """The original looks in the caller's directory, so the caller chooses the policy; ours beside the list."""
    of_the_caller = Tree.of("include a.conf\n").plus(
        f"{ELSEWHERE}/a.conf", File(f"allow {br0}\n".encode(), uid=PLAIN.uid)
    )
    turned_down(Difference.INCLUDE_BESIDE_ITS_FILE, Case(of_the_caller))
    of_the_administrator = Tree.of("include a.conf\n", a=f"allow {br0}\n")
    pair = differ(Difference.INCLUDE_BESIDE_ITS_FILE, Case(of_the_administrator))
    assert pair.ours.granted
    assert not pair.theirs.granted


@needs_root
@pytest.mark.parametrize("line", [b"# \0", b"allow br0\0.100", b"\0deny br0"])
def test_d5_a_nul_byte_refuses(br0: str, line: bytes) -> None:
    """The original does not see what stands behind a NUL byte; ours takes the file for damaged."""
    turned_down(Difference.NUL_BYTE_REFUSES, Case(Tree.of(f"allow {br0}\n".encode() + line + b"\n")))


@needs_root
def test_d6_a_line_that_is_too_long_refuses(br0: str) -> None:
    """The original takes what stands behind byte 4095, even of a comment, for a line; ours refuses."""
    comment = "#" + "x" * 4094
    assert compare(Case(Tree.of(f"{comment}\nallow {br0}\n"))).ours.granted
    turned_down(Difference.LONG_LINE_REFUSES, Case(Tree.of(f"{comment}allow {br0}\n")))


@needs_root
@pytest.mark.parametrize("file", [File(None, 0o755), File(b"# a comment\n" * 90_000)], ids=["a directory", "large"])
def test_d7_the_access_list_must_be_a_file(br0: str, file: File) -> None:
    """The original takes a directory for an empty list; ours says that it is no regular file, or too large."""
    differ(Difference.ACCESS_LIST_MUST_BE_A_FILE, Case(Tree({TOP: file})))


@needs_root
def test_d8_there_is_a_second_place_for_the_access_list(br0: str) -> None:
    """Where /etc/qemu/bridge.conf is missing, ours reads Red Hat's /etc/qemu-kvm/bridge.conf."""
    pair = differ(Difference.SECOND_PLACE, Case(Tree({SECOND_TOP: File(f"allow {br0}\n".encode())})))
    assert pair.ours.granted


@needs_root
def test_d9_the_place_of_the_access_list_is_fixed(br0: str) -> None:
    """A directory qemu-bundle beside the original replaces the access list; ours does not look at it."""
    beside = [install.theirs(Privilege.SETUID).parent, install.ours(Privilege.SETUID).parent]
    for directory in beside:
        world.write_access_list(f"allow {br0}\n", directory / "qemu-bundle/etc/qemu/bridge.conf")
    try:
        turned_down(Difference.FIXED_PLACE, Case(ALL_BUT_BR0, facts=frozenset({Fact.BUNDLE})))
    finally:
        for directory in beside:
            shutil.rmtree(directory / "qemu-bundle")


@needs_root
def test_d10_limits_of_the_caller_do_not_count(br0: str) -> None:
    """A caller who leaves the original few files to open makes it pass over an include with a deny; not ours."""
    nested = {"a": f"include {HOME}/b.conf\n", "b": f"include {HOME}/c.conf\n", "c": f"deny {br0}\n"}
    tree = Tree.of(f"allow all\ninclude {HOME}/a.conf\n", **nested)
    ours = turned_down(Difference.LIMITS_DO_NOT_COUNT, Case(tree, spare_files=3))
    assert ours.stderr.startswith(b"access denied by acl file")
    assert differ(Difference.LIMITS_DO_NOT_COUNT, Case(ALLOWED, spare_files=2)).ours.granted


# --- What a bridge is called ------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("name", [b"br0:1", b"br0:"])
def test_d11_a_name_is_the_name_of_a_bridge(br0: str, name: bytes) -> None:
    """`br0:1` is br0 to the kernel but not to the original's access list, and gets round its deny; not with ours."""
    turned_down(Difference.NAME_OF_A_BRIDGE, Case(ALL_BUT_BR0, name))
    for other in (b"", b"..", b"br%d", b"br 0", b"../br0"):
        differ(Difference.NAME_OF_A_BRIDGE, Case(ALL_BUT_BR0, other))


@needs_root
def test_d12_an_altname_is_judged_by_the_name_of_the_bridge(br0: str) -> None:
    """An altname gets round a deny of the original's; ours judges the bridge, by whatever name it was asked for."""
    altnames = {b"lan": br0.encode()}
    world.run("ip", "link", "property", "add", "dev", br0, "altname", "lan")
    try:
        turned_down(Difference.ALTNAME, Case(ALL_BUT_BR0, b"lan", altnames=altnames))
        turned_down(Difference.ALTNAME, Case(Tree.of("allow lan\n"), b"lan", altnames=altnames))
        assert differ(Difference.ALTNAME, Case(ALLOWED, b"lan", altnames=altnames)).ours.granted
        assert not compare(Case(Tree.of("allow all\ndeny lan\n"), b"lan", altnames=altnames)).ours.granted
    finally:
        world.run("ip", "link", "property", "del", "dev", br0, "altname", "lan")


# --- How a helper is called -------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("number", [b"+3", b" 3", b"3x", b"4294967299"])
def test_d13_the_fd_is_a_number(br0: str, number: bytes) -> None:
    """The original takes any word for a number, `abc' for 0; to ours, what is no number is a wrong word."""
    turned_down(Difference.FD_IS_A_NUMBER, Case(ALLOWED, words=(b"--fd=" + number, b"--br=br0")))
    for word in (b"", b"abc", b"-2"):
        differ(Difference.FD_IS_A_NUMBER, Case(ALLOWED, words=(b"--fd=" + word, b"--br=br0")))


@needs_root
def test_d14_the_fd_is_a_connected_stream_socket(br0: str) -> None:
    """Over UDP or TCP the original says it granted, and passed nothing; ours looks at the socket first."""
    for peer in (Peer.UDP, Peer.TCP):
        pair = differ(Difference.STREAM_SOCKET, Case(ALLOWED, peer=peer))
        assert pair.theirs.status == 0
        assert pair.ours.status == 1
    for peer in (Peer.DATAGRAM, Peer.PACKET):
        turned_down(Difference.STREAM_SOCKET, Case(ALLOWED, peer=peer))
    differ(Difference.STREAM_SOCKET, Case(ALL_BUT_BR0, peer=Peer.NOTHING))


@needs_root
def test_d15_a_closed_socket_kills_nobody(br0: str) -> None:
    """Where SIGPIPE is not ignored, the original dies without a word; ours tells what happened."""
    pair = differ(Difference.SIGPIPE, Case(ALLOWED, peer=Peer.GONE, sigpipe_ignored=False))
    assert (pair.theirs.status, pair.ours.status) == (-signal.SIGPIPE, 1)


@contextmanager
def both_running(case: Case) -> Iterator[tuple[Running, Running]]:
    """Start both at once; the original is killed in the end."""
    theirs = Running(install.theirs(case.privilege), case)
    try:
        yield theirs, Running(install.ours(case.privilege), case)
    finally:
        theirs.kill()


@needs_root
@pytest.mark.parametrize("where", ["an include that is a FIFO", "a socket that is full"])
def test_d16_it_never_waits(br0: str, where: str) -> None:
    """A FIFO to read, or a socket without room, stops the original for ever; ours refuses at once."""
    if where == "a socket that is full":
        case, why = (
            Case(ALLOWED, peer=Peer.FULL),
            b"failed to write fd to unix socket: Resource temporarily unavailable",
        )
    else:
        tree = Tree.of(f"allow {br0}\ninclude {HOME}/a\n").plus(f"{HOME}/a", File(None, fifo=True))
        case, why = Case(tree), b"not a regular file"
    plant(case.tree)
    with both_running(case) as (theirs, ours):
        answer = ours.finish()
        assert theirs.is_running(0.2)
    assert answer.status == 1
    assert why in answer.stderr


@needs_root
def test_d16_it_ends_after_ten_seconds(br0: str) -> None:
    """Where the kernel itself keeps it waiting, ours ends after ten seconds, and the original does not."""
    tun = Path("/dev/net/tun")
    kept = tun.with_name("kept")
    plant(ALLOWED)
    tun.rename(kept)
    # A lease makes open(2) wait for us, up to 45 seconds (fcntl(2)).
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        tun.touch(0o666)
        tun.chmod(0o666)
        with tun.open("r+b") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            with both_running(Case(ALLOWED)) as (theirs, ours):
                assert ours.is_running(8)
                assert ours.finish().status == -signal.SIGALRM
                assert theirs.is_running(0)
                # Before the original is killed: it can't be while it waits for us.
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        signal.signal(signal.SIGIO, before)
        kept.rename(tun)


# --- Privilege --------------------------------------------------------------------------------


@needs_root
def test_d17_missing_privilege_is_told_first(br0: str) -> None:
    """Without privilege ours says so, and not what the access list holds for a helper that can't act."""
    for tree in (ALL_BUT_BR0, Tree()):
        pair = differ(Difference.PRIVILEGE_FIRST, Case(tree, privilege=Privilege.NONE))
        assert not pair.theirs.words.startswith(b"failed to create tun device")


@needs_root
def test_d18_root_is_not_almighty(br0: str) -> None:
    """Root, too, keeps CAP_NET_ADMIN alone: a file that its mode forbids to root is passed over, or unreadable."""
    closed = File(f"allow {br0}\n".encode(), 0o600, PLAIN.uid)
    turned_down(Difference.ROOT_IS_NOT_ALMIGHTY, Case(Tree({TOP: closed}), caller=ROOT))
    denial = File(f"deny {br0}\n".encode(), 0o000)
    tree = Tree.of(f"allow all\ninclude {HOME}/a.conf\n").plus(f"{HOME}/a.conf", denial)
    assert differ(Difference.ROOT_IS_NOT_ALMIGHTY, Case(tree, caller=ROOT)).ours.granted


@needs_root
def test_d19_the_bounding_set_is_named(br0: str) -> None:
    """Where the bounding set lacks CAP_NET_ADMIN ours says so; where it lacks CAP_SETPCAP ours works."""
    become = ("setpriv", "--reuid=61234", "--regid=61234", "--clear-groups")
    without = Case(ALLOWED, wrapper=(*become, "--bounding-set=-net_admin"), facts=frozenset({Fact.NO_NET_ADMIN}))
    assert b"is not in the bounding set" in differ(Difference.BOUNDING_SET, without).ours.stderr
    without = Case(ALLOWED, wrapper=(*become, "--bounding-set=-setpcap"), facts=frozenset({Fact.NO_SETPCAP}))
    assert differ(Difference.BOUNDING_SET, without).ours.granted


@needs_root
def test_d20_a_permitted_capability_is_enough(br0: str) -> None:
    """With `setcap cap_net_admin=p' the original has the capability and does not use it; ours works."""
    copies = [install.theirs(Privilege.FILE_CAPABILITY), install.ours(Privilege.FILE_CAPABILITY)]
    try:
        for copy in copies:
            world.run("setcap", "cap_net_admin=p", str(copy))
        case = Case(ALLOWED, privilege=Privilege.FILE_CAPABILITY, facts=frozenset({Fact.PERMITTED_ONLY}))
        assert differ(Difference.PERMITTED_IS_ENOUGH, case).ours.granted
    finally:
        for copy in copies:
            world.run("setcap", "cap_net_admin=ep", str(copy))


@needs_root
@pytest.mark.parametrize(("uid", "mode"), [(PLAIN.uid, 0o644), (0, 0o666), (0, 0o664)])
def test_d21_the_core_must_be_roots(br0: str, uid: int, mode: int) -> None:
    """Ours gives its privilege to no Python core that another than root owns or may write."""
    core = install.installed().parents[1] / "lib/qbhelper/qbhelper/standalone.py"
    os.chown(core, uid, 0)
    core.chmod(mode)
    try:
        turned_down(Difference.CORE_MUST_BE_ROOTS, Case(ALLOWED, facts=frozenset({Fact.CORE_OF_A_USER})))
    finally:
        os.chown(core, 0, 0)
        core.chmod(0o644)


# --- The port, and what is said ---------------------------------------------------------------


@needs_root
def test_d22_the_tap_is_owned_by_root_and_tells_whose_it_is(br0: str) -> None:
    """Nobody owns the original's TAP, so anybody may open it once it is persistent; ours is uid 0's, with a lease."""
    pair = differ(Difference.OWNER, Case(ALLOWED))
    assert (pair.theirs.port["owner"], pair.ours.port["owner"]) == ("-1", "0")
    assert not pair.theirs.port["ifalias"]
    assert str(pair.ours.port["ifalias"]).startswith("qbhelper lease=")


@needs_root
def test_d29_the_host_takes_no_ipv6_address_on_the_tap(br0: str) -> None:
    """It would be of no use there, and the guest would be told of it."""
    pair = differ(Difference.NO_IPV6_ADDRESS, Case(ALLOWED))
    assert (pair.theirs.port["IPv6 address"], pair.ours.port["IPv6 address"]) == ("0", "1")


@needs_root
def test_d23_the_usage_text_names_this_program(br0: str) -> None:
    """Each names itself in the usage text, and ours also tells which word is wrong."""
    pair = differ(Difference.USAGE_TEXT, Case(ALLOWED, words=(b"--help",)))
    assert pair.ours.words.replace(b"qbhelper", b"qemu-bridge-helper", 1).startswith(pair.theirs.words)


@needs_root
def test_d24_a_message_is_one_line(br0: str) -> None:
    """The original tells of a bad line before it refuses, in lines of their own; ours says it all in one."""
    pair = differ(Difference.ONE_LINE, Case(Tree.of("permit br0\n")))
    assert len(pair.theirs.lines) == 2
    assert pair.ours.stderr.count(b"\n") == 1
    assert b"Unknown command `permit'" in pair.ours.stderr


@needs_root
@pytest.mark.parametrize("name", [b"\x1b[2J", b"a\nb", b"\xff", b"\xe2\x80\xae", b"\x1b" * 16, b"n" * 4096])
def test_d25_a_message_is_printable(br0: str, name: bytes) -> None:
    """The original prints a name as it is, even what drives a terminal; ours escapes it, and cuts at 2 KiB."""
    pair = compare(Case(Tree.of("allow all\n"), name))
    assert pair.excuses & {Difference.PRINTABLE, Difference.NAME_OF_A_BRIDGE}
    assert pair.ours.stderr.rstrip(b"\n").decode().isprintable()
    assert len(pair.ours.stderr) <= 2048


@needs_root
def test_d26_the_bridge_is_looked_up_before_a_tap_is_made(br0: str) -> None:
    """Where there is neither bridge nor /dev/net/tun, the original tells of the device, ours of the bridge."""
    tun = Path("/dev/net/tun")
    kept = tun.rename(tun.with_name("kept"))
    try:
        differ(Difference.BRIDGE_BEFORE_TUN, Case(Tree.of("allow all\n"), b"missing", facts=frozenset({Fact.NO_TUN})))
    finally:
        kept.rename(tun)


@needs_root
def test_d27_no_message_goes_into_the_socket(br0: str) -> None:
    """Where the socket is standard error too, the original writes its refusal into it; ours keeps it clean."""
    for tree in (ALL_BUT_BR0, Tree.of("permit br0\n"), Tree()):
        pair = differ(Difference.SOCKET_IS_NO_STDERR, Case(tree, fd=2))
        assert pair.theirs.data
        assert not pair.ours.data


@needs_root
@pytest.mark.parametrize("privilege", [Privilege.NONE, Privilege.SETUID])
def test_d27_nor_does_a_refusal_of_the_native_part(br0: str, privilege: Privilege) -> None:
    """Words that are wrong, and a lack of privilege, are told before Python starts: not into the socket either."""
    words = None if privilege is Privilege.NONE else (b"--help", b"--fd=2")
    pair = differ(Difference.SOCKET_IS_NO_STDERR, Case(ALLOWED, fd=2, privilege=privilege, words=words))
    assert pair.theirs.data
    assert not pair.ours.data


@needs_root
@pytest.mark.parametrize("line", ["deny br0 # why", "deny br0 br1", "deny "])
def test_d28_a_deny_of_nothing_refuses(br0: str, line: str) -> None:
    """A deny that the original takes for one of a bridge that can't be is a mistake that would open br0."""
    ours = turned_down(Difference.DENY_OF_NOTHING_REFUSES, Case(Tree.of(f"allow all\n{line}\n")))
    assert b"bridge.conf:2: deny of `" in ours.stderr


# --- The document -----------------------------------------------------------------------------


def sections() -> dict[str, str]:
    """Return the sections of docs/differences.md that tell a difference: heading -> text."""
    parts = re.split(r"^### ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]
    return {heading: text for heading, _, text in (part.partition("\n") for part in parts)}


def test_the_document_and_the_table_name_the_same_differences() -> None:
    """A difference is listed in docs/differences.md and in the table, or is none."""
    assert list(sections()) == [difference.value for difference in Difference]


@pytest.mark.parametrize("difference", Difference, ids=lambda difference: difference.id)
def test_each_section_tells_all_that_is_asked_of_it(difference: Difference) -> None:
    """Each section tells what the original does, what ours does, why, and which test shows it."""
    text = sections()[difference.value]
    for word in ("The original", "qbhelper", "Why", "Test"):
        assert f"- **{word}:** " in text
    tests = [name for name in globals() if name.startswith(f"test_{difference.id.lower()}_")]
    assert tests
    assert re.findall(r"`(test_\w+)`", text) == tests
