# SPDX-License-Identifier: GPL-2.0-or-later
"""A helper in the background of a terminal: the terminal must not hold it up."""

import os
import pty
import socket
import subprocess

import pytest

from tests.kernel.ways import Way, taps
from tests.support import caller, world

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("br0")]

SHELL = """
import os, sys, termios

terminal, *words = sys.argv[1:]
tty = os.open(terminal, os.O_RDWR)  # we lead a session, so this becomes its terminal
settings = termios.tcgetattr(tty)
settings[3] |= termios.TOSTOP
termios.tcsetattr(tty, termios.TCSANOW, settings)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.dup2(tty, 2)
    os.execv(words[0], words)
_, status = os.waitpid(pid, os.WUNTRACED)
print("stopped" if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status))
if os.WIFSTOPPED(status):
    os.kill(pid, 9)
    os.waitpid(pid, 0)
"""
"""A shell with job control, in short: it starts its words as a background job of a terminal with `stty tostop`."""


def test_a_terminal_that_stops_background_writers_does_not_stop_the_helper(lent: Way) -> None:
    """SIGTTOU would stop it while QEMU waits, past its time to live: a stopped process can't be ended by SIGALRM."""
    world.write_access_list("deny all\n")
    master, slave = pty.openpty()
    os.chown(os.ttyname(slave), caller.PLAIN_UID, -1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [str(lent.helper), f"--fd={theirs.fileno()}", "--br=br0"]
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", SHELL, os.ttyname(slave), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            user=caller.PLAIN_UID,
            group=caller.PLAIN_UID,
            extra_groups=[],
            text=True,
            timeout=30,
            check=False,
        )
    os.close(slave)
    os.close(master)
    assert done.stdout == "1\n", done
    assert taps() == frozenset()
