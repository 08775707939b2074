# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading the journal, by journalctl: it shows its caller what journald lets them see, and no more."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import IO

from qbhelper import record
from qbhelper.ctl import programs
from qbhelper.errors import QbError, printable

_FIELDS = ("MESSAGE", "SYSLOG_IDENTIFIER", "_UID")
_OURS = ("EVENT", "UID", "PID", "BY_UID", "BRIDGE", "INTERFACE", "LEASE", "CODE", "RULE", "REASON")
_ENVIRONMENT = programs.ENVIRONMENT | {"LC_ALL": "C.UTF-8"}
_COMPLAINTS_MAX = 1 << 16
"""Bytes."""

Entry = dict[str, object]
"""An entry of the journal by the names of its fields.  A value is a string, or something else that is to be doubted."""


def read(matches: Sequence[str], since: str | None, *, following: bool) -> Iterator[Entry]:
    """Yield the entries that match (NAME=VALUE: any of those of one name, and of each name), the oldest first.

    since: a time as journalctl takes it; following: begin with the last ones, and go on until nobody reads us.
    Raises QbError where there is no journal, or journalctl does not do it; BrokenPipeError where nobody reads.
    """
    program = programs.find("journalctl")
    if program is None or not os.path.exists(record.JOURNAL):
        raise QbError(
            f"there is no {'journal' if program else 'journalctl'} on this host",
            f"look for `{record.STANDALONE}[' in what syslog keeps ({record.SYSLOG}, facility authpriv), and on the "
            f"standard error of {record.BROKER}",
        )
    fields = ",".join((*_FIELDS, *(record.PREFIX + name for name in _OURS)))
    words = [program, "--quiet", "--no-pager", "--output=json", f"--output-fields={fields}"]
    words += ["--follow"] if following else []
    words += [f"--since={since}"] if since is not None else []
    with subprocess.Popen(  # noqa: S603  no shell; each word of the caller's stands behind a NAME= or --since=
        [*words, *matches], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRONMENT
    ) as child:
        complaints = bytearray()
        try:
            for line in _lines(child.stdout, child.stderr, complaints):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry
        except BaseException:  # nobody wants the rest
            child.kill()
            raise
    if child.returncode != 0:
        raise _error(bytes(complaints).splitlines(), child.returncode)


def _lines(out: IO[bytes] | None, err: IO[bytes] | None, complaints: bytearray) -> Iterator[bytes]:
    """Yield whole lines as they come from `out`, and add to `complaints` what comes from `err`.

    Raises BrokenPipeError when nobody reads ours any more.
    """
    open_, rest = {pipe.fileno() for pipe in (out, err) if pipe}, b""
    aside, ours = err.fileno() if err else -1, sys.stdout.fileno()
    waiting = select.poll()
    for fd in open_:
        waiting.register(fd, select.POLLIN)
    waiting.register(ours, 0)  # is told of all the same: that nobody reads any more
    while open_:
        for fd, _ in waiting.poll():
            if fd == ours:
                raise BrokenPipeError
            part = os.read(fd, 1 << 16)
            if not part:
                waiting.unregister(fd)
                open_.remove(fd)
            elif fd == aside:
                complaints += part[: _COMPLAINTS_MAX - len(complaints)]
            else:
                *lines, rest = (rest + part).split(b"\n")
                yield from lines
                sys.stdout.flush()


def _error(complaints: Sequence[bytes], status: int) -> QbError:
    last = printable(complaints[-1]).rstrip(".") if complaints else f"it has ended with {status}"
    may_not = os.geteuid() != 0 and any(b"insufficient permissions" in line for line in complaints)
    return QbError(f"journalctl: {last}", "the journal is for root and the group systemd-journal" if may_not else "")
