# SPDX-License-Identifier: GPL-2.0-or-later
"""Finds the few programs of others that we ask, and runs those of the doctor: what the kernel says to them alone.

But for journalctl, which is read while it runs (journal.py), this is the only place in the core that runs anything.
What iptables-legacy has in the kernel can be read with getsockopt(2) and a buffer that is filled in first, which Python
does not offer; what its matches mean, with its own libraries alone.
"""

import os
import shutil
import stat
import subprocess

DIRECTORIES = "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
"""Where root has programs; the last one is NixOS's."""
ENVIRONMENT = {"PATH": DIRECTORIES, "LC_ALL": "C"}
PATIENCE = 10
"""Seconds; a firewall of ten thousand rules takes one."""


class NoAnswer(Exception):
    """What was asked did not answer; the text says why, in one line.  is_missing: there is no such program."""

    def __init__(self, why: str, *, is_missing: bool = False) -> None:
        super().__init__(why)
        self.is_missing = is_missing


def answer(*words: str) -> str:
    """Run a program, by its name, and return what it printed.  Raises NoAnswer if it fails.

    It has the rights of this process, and nothing else of who started it: neither environment nor standard input.
    """
    program = find(words[0])
    if program is None:
        raise NoAnswer(f"there is no program {words[0]} here", is_missing=True)
    try:
        done = subprocess.run(  # noqa: S603  ours to choose, all of it
            words,
            executable=program,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            cwd="/",
            env=ENVIRONMENT,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]} did not answer in {PATIENCE} s") from None
    except OSError as error:
        raise NoAnswer(f"{words[0]} can't be run: {os.strerror(error.errno or 0)}") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise NoAnswer(f"{words[0]}: {said[-1]}")
    return done.stdout.decode(errors="replace")


def find(name: str) -> str | None:
    """Return the path of a program that only root can change; None if there is none."""
    path = shutil.which(name, path=DIRECTORIES)
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return path if status.st_uid == 0 and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None
