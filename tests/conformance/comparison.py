# SPDX-License-Identifier: GPL-2.0-or-later
"""One case, put to the original and to ours, and everything in which the answers differ.

Thousands of cases run, so a helper is started with posix_spawn, as its caller: the test takes on
the caller's real ids, keeps its effective ones, and the child gives those up (POSIX_SPAWN_RESETIDS).
"""

import array
import enum
import fcntl
import os
import re
import resource
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.model import Caller
from tests.conformance.trees import ELSEWHERE, Tree
from tests.support import install
from tests.support.caller import PLAIN_UID, describe
from tests.support.install import Privilege

PLAIN = Caller(PLAIN_UID, PLAIN_UID)
ROOT = Caller(0, 0)

FD = 3
"""The number under which a helper finds its socket."""

FEW_FILES = 64
"""The limit on open files for a case that leaves the helper only some."""

PATIENCE = 20.0
"""Seconds after which a helper that is still running is stuck."""

TUNGETSNDBUF, TUNGETVNETHDRSZ = 0x800454D3, 0x800454D7


class Peer(enum.Enum):
    """What stands behind the number that `--fd` names."""

    QEMU = "a connected stream socket, as QEMU makes it"
    FULL = "the same, with no room for another byte"
    GONE = "the same, with the other end closed"
    NOTHING = "no open file"
    FILE = "a regular file"
    PIPE = "the writing end of a pipe"
    DATAGRAM = "a connected AF_UNIX datagram socket"
    PACKET = "a connected AF_UNIX sequential packet socket"
    UNCONNECTED = "an AF_UNIX stream socket without a peer"
    LISTENING = "a listening AF_UNIX stream socket"
    UDP = "a connected UDP socket"
    TCP = "a connected TCP socket"


class Fact(enum.Enum):
    """What the test has made of the world, where that is out of the ordinary."""

    NO_TUN = "/dev/net/tun cannot be opened, or makes no TAP"
    TUN_FORBIDDEN = "the mode of /dev/net/tun lets nobody open it"
    NO_NEW_PRIVS = "no_new_privs is set"
    AMBIENT = "the caller has CAP_NET_ADMIN in the ambient set"
    NO_NET_ADMIN = "the bounding set lacks CAP_NET_ADMIN"
    NO_SETPCAP = "the bounding set lacks CAP_SETPCAP"
    PERMITTED_ONLY = "the file capability is permitted, not effective"
    BUNDLE = "a directory qemu-bundle stands beside the helper"
    CORE_OF_A_USER = "a file of the Python core is not root's"


@dataclass(frozen=True)
class Case:
    """What a helper is asked, by whom, and in which world; `words` None means QEMU's own order."""

    tree: Tree
    bridge: bytes = b"br0"
    words: tuple[bytes, ...] | None = None
    vnet: bool = True
    caller: Caller = PLAIN
    privilege: Privilege = Privilege.SETUID
    peer: Peer = Peer.QEMU
    fd: int = FD
    cwd: str = ELSEWHERE
    spare_files: int | None = None
    """How many more files the caller leaves the helper to open; None: about a thousand."""
    sigpipe_ignored: bool = True
    wrapper: tuple[str, ...] = ()
    """A program, with its words, that starts the helper in some other state."""
    altnames: Mapping[bytes, bytes] = field(default_factory=dict)
    """Altnames that the world has, and whose they are."""
    includes_no_file: bool = False
    """Whether the list includes what no tree can hold: a device of the world's, a loop of links."""
    facts: frozenset[Fact] = frozenset()

    @property
    def argv(self) -> tuple[bytes, ...]:
        """The words after the program's name."""
        if self.words is not None:
            return self.words
        return (*([b"--use-vnet"] if self.vnet else []), b"--fd=%d" % self.fd, b"--br=" + self.bridge)

    @property
    def started_by(self) -> Caller:
        """Whoever starts the helper: root where the wrapper needs that, and becomes the caller itself."""
        return ROOT if self.facts & {Fact.AMBIENT, Fact.NO_NET_ADMIN, Fact.NO_SETPCAP} else self.caller

    @property
    def depth_max(self) -> int:
        """How many access lists the original can have open; 200 is as good as the usual 1020."""
        return 200 if self.spare_files is None else self.spare_files

    @property
    def asked(self) -> bytes | None:
        """The bridge that is asked for: the last one named."""
        return next((word[5:] for word in reversed(self.argv) if word.startswith(b"--br=")), None)

    def __str__(self) -> str:
        ids = f"{self.caller.uid}:{self.caller.gid} groups {list(self.caller.groups)}"
        return (
            f"{b' '.join(self.argv)!r} by {ids}, {self.privilege.value} copy, --fd is {self.peer.value}, "
            f"cwd {self.cwd}, wrapper {' '.join(self.wrapper) or 'none'}, "
            f"{', '.join(fact.value for fact in self.facts) or 'ordinary world'}\n{self.tree}"
        )


@dataclass
class Answer:
    """What one helper did."""

    status: int
    """Exit status; negative: the signal that killed it; None is not possible, a stuck helper raises Stuck."""
    stderr: bytes
    data: bytes = b""
    fds: int = 0
    port: dict[str, object] = field(default_factory=dict, repr=False)
    """Everything that can be seen of the TAP that was handed over."""

    @property
    def granted(self) -> bool:
        """Whether the hand-over was complete."""
        return self.status == 0 and self.data == b"\0" and self.fds == 1

    @property
    def lines(self) -> list[bytes]:
        """What stderr says, without the empty lines."""
        return [line for line in self.stderr.split(b"\n") if line]

    @property
    def words(self) -> bytes:
        """The refusal itself: the original may have told the cause in lines before it."""
        return self.lines[-1] if self.lines else b""


class Stuck(Exception):
    """A helper that did not end."""


# --- Starting a helper ------------------------------------------------------------------------


@contextmanager
def acting_for(caller: Caller) -> Iterator[None]:
    """Take on the caller's real ids and groups; effective ids stay ours."""
    if caller == ROOT:
        yield
        return
    groups = os.getgroups()
    os.setgroups(caller.groups)
    os.setresgid(caller.gid, -1, -1)
    os.setresuid(caller.uid, -1, -1)
    try:
        yield
    finally:
        os.setresuid(0, -1, -1)
        os.setresgid(0, -1, -1)
        os.setgroups(groups)


@contextmanager
def _few_files(few: bool) -> Iterator[None]:
    """Lower the limit as far as posix_spawn allows, which wants to see all its numbers below it."""
    if not few:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _working_directory(path: str) -> Iterator[None]:
    before = os.open(".", os.O_PATH | os.O_CLOEXEC)
    os.chdir(path)
    try:
        yield
    finally:
        os.fchdir(before)
        os.close(before)


class Running:
    """A helper that was started; `finish` waits for it."""

    def __init__(self, helper: Path, case: Case) -> None:
        self._files = ExitStack()
        try:
            theirs, self._end = _open_peer(case.peer, self._files)
            self._stderr = _closed_by(self._files, os.memfd_create("stderr"))
            null = _closed_by(self._files, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            # In this order no target is the source of a later one.
            places = [(self._stderr, 2), (null, 0), (0, 1)]
            if theirs is not None:
                places.append((theirs, case.fd))
            if case.spare_files is not None:
                places += [(0, number) for number in range(FD + 1, FEW_FILES - case.spare_files)]
            argv: list[str | bytes] = [*case.wrapper, str(helper), *case.argv]
            with _working_directory(case.cwd), _few_files(case.spare_files is not None), acting_for(case.started_by):
                self._pid = os.posix_spawnp(
                    argv[0],
                    argv,
                    {"PATH": os.environ["PATH"]},
                    file_actions=[(os.POSIX_SPAWN_DUP2, *place) for place in places],
                    resetids=True,
                    setsigmask=[],
                    setsigdef=[] if case.sigpipe_ignored else [signal.SIGPIPE],
                )
        except BaseException:
            self._files.close()
            raise

    def is_running(self, seconds: float) -> bool:
        """Whether it is still running after so long."""
        process = os.pidfd_open(self._pid)
        try:
            return not select.select([process], [], [], seconds)[0]
        finally:
            os.close(process)

    def kill(self) -> None:
        """End it, whatever it is doing, if it has not ended."""
        with suppress(ChildProcessError, ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        self._files.close()

    def finish(self) -> Answer:
        """Wait for its end and return all that is seen of what it did."""
        if self.is_running(PATIENCE):
            self.kill()
            raise Stuck(f"still running after {PATIENCE} s")
        with self._files:
            _, status = os.waitpid(self._pid, 0)
            answer = Answer(os.waitstatus_to_exitcode(status), os.pread(self._stderr, 1 << 20, 0))
            if self._end is not None:
                answer.data, fds = _drain(self._end)
                answer.fds = len(fds)
                if answer.fds == 1:
                    answer.port = _port(fds[0])
                for fd in fds:
                    os.close(fd)
            return answer


def _closed_by(files: ExitStack, fd: int) -> int:
    files.callback(os.close, fd)
    return fd


def _fill(end: socket.socket) -> None:
    end.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            end.send(bytes(65536))
    end.setblocking(True)


def _open_alone(peer: Peer, files: ExitStack) -> int:
    """Open a socket of no pair."""
    if peer in (Peer.UNCONNECTED, Peer.LISTENING):
        alone = files.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        if peer is Peer.LISTENING:
            alone.bind(f"\0qbhelper-conformance-{os.getpid()}")
            alone.listen()
        return alone.fileno()
    kind = socket.SOCK_DGRAM if peer is Peer.UDP else socket.SOCK_STREAM
    there, here = (files.enter_context(socket.socket(socket.AF_INET, kind)) for _ in range(2))
    there.bind(("127.0.0.1", 0))
    if peer is Peer.TCP:
        there.listen()
    here.connect(there.getsockname())
    return here.fileno()


def _open_peer(peer: Peer, files: ExitStack) -> tuple[int | None, socket.socket | None]:
    """Open what the helper gets as its socket, and our end of it, if there is one."""
    if peer is Peer.NOTHING:
        return None, None
    if peer is Peer.FILE:
        return _closed_by(files, os.memfd_create("file")), None
    if peer is Peer.PIPE:
        _, writing = (_closed_by(files, end) for end in os.pipe())
        return writing, None
    if peer in _PAIRS:
        theirs, ours = (files.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, _PAIRS[peer]))
        ours.setblocking(False)
        if peer is Peer.FULL:
            _fill(theirs)
        if peer is Peer.GONE:
            ours.close()
            return theirs.fileno(), None
        return theirs.fileno(), ours
    return _open_alone(peer, files), None


_PAIRS = {
    Peer.QEMU: socket.SOCK_STREAM,
    Peer.FULL: socket.SOCK_STREAM,
    Peer.GONE: socket.SOCK_STREAM,
    Peer.DATAGRAM: socket.SOCK_DGRAM,
    Peer.PACKET: socket.SOCK_SEQPACKET,
}


def _drain(end: socket.socket) -> tuple[bytes, list[int]]:
    """Take all that was sent; the sender has ended, so nothing more will come."""
    data, fds = b"", array.array("i")
    with suppress(BlockingIOError, ConnectionResetError):
        while True:
            part, ancillary, _, _ = end.recvmsg(4096, socket.CMSG_SPACE(16 * fds.itemsize))
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
            if not part:
                break
            data += part
    return data, list(fds)


_OF_THE_INTERFACE = (
    "mtu",
    "flags",
    "owner",
    "group",
    "tun_flags",
    "tx_queue_len",
    "addr_assign_type",
    "ifalias",
    "type",
)
_OF_THE_PORT = (
    "isolated",
    "hairpin_mode",
    "learning",
    "unicast_flood",
    "multicast_flood",
    "broadcast_flood",
    "bpdu_guard",
    "root_block",
    "path_cost",
    "priority",
    "proxyarp",
    "neigh_suppress",
    "multicast_fast_leave",
    "state",
)


def _port(fd: int) -> dict[str, object]:
    """Everything that can be seen of a TAP through its fd and in sysfs."""
    tap = describe(fd)
    directory = Path("/sys/class/net", tap.name)
    status = fcntl.fcntl(fd, fcntl.F_GETFL)
    return {
        "name": tap.name,
        "tun flags": tap.flags,
        "file status flags": status,
        "header size": struct.unpack("i", fcntl.ioctl(fd, TUNGETVNETHDRSZ, bytes(4)))[0],
        "send buffer": struct.unpack("i", fcntl.ioctl(fd, TUNGETSNDBUF, bytes(4)))[0],
        "first byte of the MAC": (directory / "address").read_text()[:2],
        "bridge": os.path.basename(os.readlink(directory / "master")),
        **{name: _read(directory / name) for name in _OF_THE_INTERFACE},
        **{f"port: {name}": _read(directory / "brport" / name) for name in _OF_THE_PORT},
        "MTU of the bridge": _read(directory / "master" / "mtu"),
        # A bridge without other ports and without a MAC of its own has taken the TAP's, which is random.
        "address of the bridge": re.sub(r"fe:.*", "a port's", _read(directory / "master" / "address") or ""),
        "IPv6 off": _read(Path("/proc/sys/net/ipv6/conf", tap.name, "disable_ipv6")),
        "IPv6 address": _read(Path("/proc/sys/net/ipv6/conf", tap.name, "addr_gen_mode")),
        "queues": len(os.listdir(directory / "queues")),
    }


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None  # this kernel has no such attribute


# --- Comparing --------------------------------------------------------------------------------


class Aspect(enum.Enum):
    """Something in which two answers can differ."""

    STATUS = "exit status"
    HAND_OVER = "hand-over"
    WORDS = "first words of the refusal"
    DETAIL = "lines before the refusal"
    OWNER = "owner and label of the TAP"
    ADDRESSES = "addresses of the host's on the TAP"
    PORT = "shape of the port"


_ASPECTS = {"owner": Aspect.OWNER, "ifalias": Aspect.OWNER, "IPv6 address": Aspect.ADDRESSES}
"""Of what can be seen of a port; all else is its shape."""


def differing(theirs: Answer, ours: Answer) -> set[Aspect]:
    """The aspects in which two answers to the same case differ."""
    seen = set()
    if theirs.status != ours.status:
        seen.add(Aspect.STATUS)
    if (theirs.data, theirs.fds) != (ours.data, ours.fds):
        seen.add(Aspect.HAND_OVER)
    # Only where both refuse are there words to compare.
    alike = ours.words.startswith(theirs.words) and bool(ours.words) == bool(theirs.words)
    if theirs.status != 0 and ours.status != 0 and not alike:
        seen.add(Aspect.WORDS)
    if theirs.lines[:-1] != ours.lines[:-1] or (theirs.status == 0 and theirs.lines != ours.lines):
        seen.add(Aspect.DETAIL)
    return seen | {_ASPECTS.get(name, Aspect.PORT) for name in differences_of_ports(theirs, ours)}


def differences_of_ports(theirs: Answer, ours: Answer) -> dict[str, tuple[object, object]]:
    """Return what can be seen of a port and is not alike: name -> the original's and ours."""
    if not theirs.port or not ours.port:
        return {}
    return {name: (value, ours.port[name]) for name, value in theirs.port.items() if value != ours.port[name]}


def ask_in_turn(case: Case) -> tuple[Answer, Answer]:
    """Put a case to the original, and when that has ended to ours: so both find the same world."""
    return Running(install.theirs(case.privilege), case).finish(), Running(install.ours(case.privilege), case).finish()


def ask_at_once(cases: Sequence[Case]) -> list[tuple[Answer, Answer]]:
    """Put cases that share a tree to both: faster, where no TAP is seen in an answer."""
    running = []
    try:
        for case in cases:
            running += [Running(helper(case.privilege), case) for helper in (install.theirs, install.ours)]
        answers = [helper.finish() for helper in running]
    except BaseException:
        for helper in running:
            helper.kill()
        raise
    return list(zip(answers[::2], answers[1::2], strict=True))


def says(pattern: bytes) -> Callable[[Answer], bool]:
    """For differences: an answer that refuses, in these words."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda answer: answer.status == 1 and compiled.match(answer.stderr) is not None
