# SPDX-License-Identifier: GPL-2.0-or-later
"""qbhelperd: start, give up every privilege but one, serve.

Started by systemd it takes the listening socket that it is given, and ends when there is nothing to do.
Started by hand as root it makes the socket, and stays as the keeper of it: each worker that it forks gives up
its privileges and serves, and one that ends because the policy has changed is followed by the next.  The
socket is open all the time, so no request is lost.
"""

import os
import pwd
import resource
import signal
import socket
import stat
import sys

from qbhelper import privilege
from qbhelper.broker import snapshot
from qbhelper.broker.journal import Journal
from qbhelper.broker.server import Server
from qbhelper.errors import PrivilegeError, QbError, reason
from qbhelper.wire import SOCKET_PATH

USAGE = "Usage: qbhelperd (it takes no arguments; qbhelperd(8))"
ACCOUNT = "qbhelper"
IDLE_SECONDS = 60.0
LISTEN_FDS_START = 3
BACKLOG = 4096
_SIGNALS = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGCHLD))


def main(words: list[str]) -> int:
    """Run the broker; returns the exit status."""
    try:
        if words:
            raise QbError(f"{USAGE} (`{words[0]}' is not known)")
        os.umask(0o077)
        listener = _socket_of_systemd()
        if listener is not None:
            return _serve(listener, IDLE_SECONDS)
        return _keep(_bind())
    except QbError as error:
        _say(f"{error}")
    except OSError as error:
        _say(f"{reason(error)}: {error.filename or 'see the kernel log (dmesg)'}")
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
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            probe.connect(SOCKET_PATH)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if stat.S_ISSOCK(os.lstat(SOCKET_PATH).st_mode):
                os.unlink(SOCKET_PATH)
            return
    raise QbError(f"another broker listens on {SOCKET_PATH}", "stop it first: systemctl stop qbhelper.socket")


def _keep(listener: socket.socket) -> int:
    """Have a worker serve at any time, until a signal says to end.  This process answers no request."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Blocked, and taken one by one: a handler could run between fork(2) and the moment that we know whom it made.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        while True:
            worker = os.fork()
            if worker == 0:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
                os._exit(_work(listener))
            ended, status = 0, 0
            while not ended:
                number = signal.sigwait(_SIGNALS)
                if number != signal.SIGCHLD:
                    os.kill(worker, number)  # a child that has ended is there until we wait for it
                    os.waitpid(worker, 0)
                    return 0
                ended, status = os.waitpid(worker, os.WNOHANG)
            if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
                return 1
    finally:
        os.unlink(SOCKET_PATH)


def _work(listener: socket.socket) -> int:
    """Be a worker: the privileges of root go first."""
    try:
        account = _account()
        privilege.become_account(account.pw_name, account.pw_uid, account.pw_gid)
        return _serve(listener, None)
    except QbError as error:
        _say(f"{error}")
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


def _serve(listener: socket.socket, idle: float | None) -> int:
    """Read the policy, drop the right to, and answer requests."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    journal = Journal()
    policy = snapshot.take()
    privilege.keep_net_admin()
    server = Server(listener, policy, journal, idle)
    # A handler alone would not wake the loop: Python goes on waiting after it (PEP 475).
    wake, woken = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    signal.set_wakeup_fd(woken.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _notify_ready()
    server.serve(wake)
    return 0


def _notify_ready() -> None:
    """Tell systemd that requests are answered from now on (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notification:
            notification.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
            notification.send(b"READY=1")


def _say(text: str) -> None:
    sys.stderr.write(f"qbhelperd: {text}\n")
