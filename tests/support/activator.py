# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays systemd with qbhelper.socket and qbhelper.service: `activator.py SOCKET DAEMON [UID]`.

Listens, and starts the daemon on fd 3 when somebody connects: as this uid (default: its own), with the capabilities
of the unit.  When it has ended with status 0 the next connection starts it again, after a failure the time of
RestartSec= does.
"""

import os
import select
import signal
import socket
import sys
from pathlib import Path

CAPABILITIES = "-all,+net_admin,+dac_read_search"
SETPRIV = (
    *("setpriv", "--no-new-privs", "--pdeathsig", "KILL"),
    *("--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES, "--bounding-set", CAPABILITIES),
)
RESTART_SECONDS = 0.1


def main(path: str, daemon: str, uid: str = "") -> None:
    """Listen until SIGTERM."""
    identity = ["--reuid", uid, "--regid", uid, "--clear-groups"] if uid else []
    signals = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    Path(path).parent.mkdir(mode=0o755, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    Path(path).unlink(missing_ok=True)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen(4096)
    print("listening", flush=True)
    end, told = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(told, b"!") and None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    try:
        waits_for_caller = True
        while True:
            wanted = [end, listener.fileno()] if waits_for_caller else [end]
            if end in select.select(wanted, [], [], None if waits_for_caller else 0)[0]:
                return
            status = _run(listener, [*SETPRIV, *identity, daemon], end)
            if status is None:
                return
            waits_for_caller = status == 0
            if not waits_for_caller and select.select([end], [], [], RESTART_SECONDS)[0]:
                return
    finally:
        os.unlink(path)


def _run(listener: socket.socket, command: list[str], end: int) -> int | None:
    """Run the daemon once and return its status; None if we were told to end."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if listener.fileno() == 3:
            os.set_inheritable(3, True)
        else:
            os.dup2(listener.fileno(), 3)
        os.execvpe(command[0], command, os.environ | {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
    handle = os.pidfd_open(pid)
    ended = end in select.select([handle, end], [], [])[0]
    if ended:
        os.kill(pid, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(handle)
    return None if ended else status


if __name__ == "__main__":
    main(*sys.argv[1:])
