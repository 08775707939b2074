# SPDX-License-Identifier: GPL-2.0-or-later
"""qbhelperd: start, give up every privilege but one, serve.

Started by systemd it takes the listening socket that it is given, and ends when there is nothing to do.
Started by hand as root it makes the socket, and stays as the keeper of it: each worker that it forks gives up
its privileges and serves, and one that ends, because the policy has changed or because it failed, is followed by
the next.  The socket is open all the time, so no request is lost.
"""

import gc
import os
import pwd
import resource
import select
import signal
import socket
import stat
import sys
from collections.abc import Callable

from qbhelper import privilege
from qbhelper.broker import snapshot
from qbhelper.broker.journal import Journal, Priority
from qbhelper.broker.server import Server
from qbhelper.errors import PrivilegeError, QbError, printable, reason
from qbhelper.record import ACCOUNT
from qbhelper.wire import SOCKET_PATH

USAGE = "Usage: qbhelperd (it takes no arguments; qbhelperd(8))"
IDLE_SECONDS = 60.0
LISTEN_FDS_START = 3
BACKLOG = 4096
RESTART_SECONDS = 0.1
"""From a worker that failed to the next, as RestartSec= in the unit has it."""
PROBLEMS_LOGGED = 100
"""Of a policy that is wrong: more are no help, and a file can have a hundred thousand."""
_TO_END = frozenset((signal.SIGTERM, signal.SIGINT))


def main(words: list[str]) -> int:
    """Run the broker; returns the exit status."""
    try:
        if words:
            raise QbError(f"{USAGE} (`{words[0]}' is not known)")
        os.umask(0o077)
        listener = _socket_of_systemd()
        if listener is not None:
            return _serve(listener, IDLE_SECONDS, _notify_ready)
        return _keep(_bind())
    except Exception as error:  # noqa: BLE001  a traceback is of no use to who started it
        _say(_describe(error))
    return 1


def _socket_of_systemd() -> socket.socket | None:
    """Return the listening socket that we were started with (sd_listen_fds(3)), if we were."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    if os.environ.get("LISTEN_FDS") != "1":
        raise QbError("LISTEN_FDS is not 1", "use the socket unit that comes with qbhelper")
    listener = socket.socket(fileno=LISTEN_FDS_START)
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_SEQPACKET:
        raise QbError("the socket is not an AF_UNIX SOCK_SEQPACKET one", "use the socket unit that comes with qbhelper")
    listener.set_inheritable(False)
    return listener


def _bind() -> socket.socket:
    """Make the socket that every user may connect to: the policy decides, not the mode of a file."""
    if os.geteuid() != 0:
        raise PrivilegeError("qbhelperd has to be started by root, or by systemd's socket unit")
    os.makedirs(os.path.dirname(SOCKET_PATH), mode=0o755, exist_ok=True)
    os.chmod(os.path.dirname(SOCKET_PATH), 0o755)  # noqa: S103  the umask made it less
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _remove_stale_socket()
        listener.bind(SOCKET_PATH)
        os.chmod(SOCKET_PATH, 0o666)  # noqa: S103  connecting is for everybody
        listener.listen(BACKLOG)
    except OSError as error:
        raise QbError(f"failed to listen on {SOCKET_PATH}: {reason(error)}") from error
    return listener


def _remove_stale_socket() -> None:
    """Remove what a broker that was killed left behind; refuse if one is alive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(SOCKET_PATH)
        except BlockingIOError:
            pass  # alive, with a full backlog
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if stat.S_ISSOCK(os.lstat(SOCKET_PATH).st_mode):
                os.unlink(SOCKET_PATH)
            return
    raise QbError(f"another broker listens on {SOCKET_PATH}", "stop it first: systemctl stop qbhelper.socket")


def _keep(listener: socket.socket) -> int:
    """Have a worker serve at any time, until a signal says to end.  This process answers no request.

    A worker that fails is followed by the next, a moment later; unless none has ever come as far as to serve: what
    kept the first from that would keep the next one too.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would keep the status of a worker from us
    wake = _signals_as_bytes()
    told, tell = os.pipe()
    has_served = False
    try:
        while True:
            # Blocked: SIGTERM must not meet the child while it still has our handler, which ends nothing.
            signal.pthread_sigmask(signal.SIG_BLOCK, _TO_END)
            worker = os.fork()
            if worker == 0:
                os._exit(_work(listener, tell))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_END)
            ended = os.pidfd_open(worker)
            ready: list[int] = []
            while ended not in ready:
                ready = select.select([wake.fileno(), told, ended], [], [])[0]
                if told in ready and os.read(told, 1) and not has_served:
                    has_served = True
                    _notify_ready()
                if wake.fileno() in ready:
                    os.kill(worker, signal.SIGTERM)
                    os.waitpid(worker, 0)
                    return 0
            os.close(ended)
            status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            if status != 0:
                how = f"status {status}" if status > 0 else signal.Signals(-status).name
                _say(f"a worker ended with {how}: {'starting another' if has_served else 'giving up'}")
                if not has_served:
                    return 1
                if select.select([wake], [], [], RESTART_SECONDS)[0]:
                    return 0
    finally:
        os.unlink(SOCKET_PATH)


def _work(listener: socket.socket, tell: int) -> int:
    """Be a worker: the privileges of root go first.  Never raises: what the keeper cleans up is not ours."""
    try:
        os.close(signal.set_wakeup_fd(-1))  # what wakes the keeper
        for number in _TO_END:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_END)
        account = _account()
        privilege.become_account(account.pw_name, account.pw_uid, account.pw_gid)
        return _serve(listener, None, lambda: os.write(tell, b"!"))
    except BaseException as error:  # noqa: BLE001
        _say(_describe(error))
    return 1


def _account() -> pwd.struct_passwd:
    """Return the account to serve as: the broker's own, or nobody's where it was not made, as from the tree."""
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        _say(f"there is no account `{ACCOUNT}': serving as nobody")
    try:
        return pwd.getpwnam("nobody")
    except KeyError as error:
        raise PrivilegeError("there is no account `nobody' either", f"as root: useradd --system {ACCOUNT}") from error


def _serve(listener: socket.socket, idle: float | None, say_ready: Callable[[], object]) -> int:
    """Read the policy, drop the right to, `say_ready`, and answer requests."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    journal = Journal()
    policy = snapshot.take()
    for problem in policy.problems[:PROBLEMS_LOGGED]:
        journal.write(Priority.WARNING, str(problem), EVENT="policy")
    privilege.keep_net_admin()
    server = Server(listener, policy, journal, idle)
    wake = _signals_as_bytes()
    gc.collect()
    gc.freeze()  # what is there by now stays: no request need wait until it is looked through for garbage
    say_ready()
    server.serve(wake)
    return 0


def _signals_as_bytes() -> socket.socket:
    """Return a socket that can be read from when a signal says to end.

    A handler alone would not wake who waits: Python goes on waiting after it (PEP 475).
    """
    wake, woken = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    signal.set_wakeup_fd(woken.detach())
    for number in _TO_END:
        signal.signal(number, lambda *_: None)
    return wake


def _notify_ready() -> None:
    """Tell systemd that requests are answered from now on (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notification:
            notification.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            notification.send(b"READY=1")


def _describe(error: BaseException) -> str:
    """Return what went wrong in one line; with the place in our source where nobody thought of it."""
    if isinstance(error, QbError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{reason(error)}: {printable(os.fsencode(error.filename))}"
    what = reason(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place is not None else "?"
    return f"internal error: {printable(what)} ({where}); please report this"


def _say(text: str) -> None:
    sys.stderr.write(f"qbhelperd: {text}\n")
