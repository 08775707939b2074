# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl check`: all that is wrong with the policy or the access list, at once.

A policy is read and parsed by the very functions that grants stand on.  Of an access list all files are looked at that
anybody could meet, and in each every line: callers are told of the first that is wrong.
"""

import errno
import os
import sys
import time
from posixpath import basename, dirname

from qbhelper import sources
from qbhelper.accounts import HostAccounts
from qbhelper.ctl import mistakes, people
from qbhelper.ctl.output import EXIT_NO, EXIT_YES, counted, paint, say, say_json
from qbhelper.ctl.tree import WORDS, Tree, default_path
from qbhelper.errors import KernelError, PolicyError, Problem, printable, reason
from qbhelper.kernel.link import Bridge, Network
from qbhelper.policy import access_list
from qbhelper.policy.rules import Policy
from qbhelper.policy.toml_file import parse

POLICY, ACCESS_LIST = "policy", "access list"
STDIN = "-"
_OUR_DIRECTORIES = (sources.DIRECTORY, sources.DIRECTORY + b"/" + sources.DROP_INS)


class Report:
    """What was looked at (path and kind), and what was found; rules: how many there are."""

    def __init__(self) -> None:
        self.checked: list[tuple[str, str]] = []
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self.rules = 0
        self._bridges: dict[bytes, Bridge | None] = {}

    def take_policy(self, policy: Policy | None, problems: list[Problem]) -> None:
        """Take in what parsing a policy has brought."""
        self.errors += problems
        if policy is not None:
            self.rules += len(policy.rules)
            self.warnings += mistakes.in_policy(
                policy, HostAccounts(), time.localtime()[:3], self._find, [*people.with_subordinate_uids()]
            )

    def take_list(self, path: bytes, text: bytes | None = None) -> None:
        """Take in an access list; `text` is what stands there, if that is known."""
        try:
            tree = Tree(path, text)
        except OSError as error:
            self.checked.append((printable(path), ACCESS_LIST))
            self.errors.append(
                _of_file(path, error, "as root write the line `allow br0' into it, or a policy: docs/policy.md")
            )
            return
        self.checked += [(file.path, ACCESS_LIST) for file in tree.files]
        self.errors += tree.problems
        self.rules += len(tree.rules)
        self.warnings += mistakes.in_access_list(tree.path, tree.rules, self._find) + tree.missing + tree.closed
        if len(tree.files) > access_list.FILES_MAX:
            what = f"{len(tree.files)} files: who can read more than {access_list.FILES_MAX} is refused everything"
            self.warnings.append(Problem(tree.path, 0, what, "`qbhelperctl import' makes one policy of them"))

    def _find(self, name: bytes) -> Bridge | None:
        if name not in self._bridges:
            self._bridges[name] = self._look_up(name)
        return self._bridges[name]

    def _look_up(self, name: bytes) -> Bridge | None:
        try:
            network = Network()
            try:
                return network.find(name)
            finally:
                network.close()
        except KernelError as error:
            what = f"whether there is a bridge `{printable(name)}' could not be seen: {error.what}"
            self.warnings.append(Problem(self.checked[0][0], 0, what, error.remedy))
            return Bridge(0, name, 0, is_bridge=True)


def run(file: str | None, *, as_json: bool) -> int:
    """Check a file (`-`: standard input), by default what rules this host, and print what is found."""
    report = Report()
    if file is None:
        _check_host(report)
    else:
        _check_file(report, file)
    if as_json:
        say_json(_as_json(report))
    else:
        _print(report)
    return EXIT_NO if report.errors else EXIT_YES


class _NotedFiles(sources.PolicyFiles):
    """The files of the policy; those that are there are noted in a report."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def read(self, directory: bytes, name: bytes) -> bytes:
        """Return the text of a file that only root can change, as ever."""
        is_there = True
        try:
            return super().read(directory, name)
        except FileNotFoundError:
            is_there = False
            raise
        finally:
            if is_there:
                self._report.checked.append((printable(directory + b"/" + name), POLICY))


def report_of_host() -> Report:
    """Return what is found in the policy of this host, or in its access list.  Raises OSError."""
    report = Report()
    _check_host(report)
    return report


def _check_host(report: Report) -> None:
    policy = None
    try:
        policy = sources.read_policy(_NotedFiles(report))
    except PolicyError as error:
        report.take_policy(None, [_for_us(problem) for problem in error.problems])
        return
    report.take_policy(policy, [])
    if policy is None or policy.qemu_acl:
        report.take_list(default_path())


def _check_file(report: Report, file: str) -> None:
    path = os.fsencode(file)
    try:
        text = _read(path)
    except OSError as error:
        report.checked.append((printable(path), POLICY if path.endswith(b".toml") else ACCESS_LIST))
        report.errors.append(_of_file(path, error, "name a file that is there"))
        return
    if _is_policy(path, text):
        report.checked.append((printable(path), POLICY))
        source = (printable(path), text)
        # What counts for all files must not stand in one of policy.d.
        is_drop_in = basename(dirname(os.path.abspath(path))) == sources.DROP_INS
        report.take_policy(*(parse(None, [source]) if is_drop_in else parse(source)))
    else:
        report.take_list(path, text)


def _read(path: bytes) -> bytes:
    """Return what stands in a file, of any type: `<(command)` of a shell is a FIFO.  Raises OSError."""
    directory, name = os.path.split(os.path.abspath(path))
    if directory in _OUR_DIRECTORIES:
        return sources.PolicyFiles().read(directory, name)
    with sys.stdin.buffer if path == os.fsencode(STDIN) else open(path, "rb") as file:
        text = file.read(sources.SIZE_MAX + 1)
    if len(text) > sources.SIZE_MAX:
        raise OSError(errno.EFBIG, f"larger than {sources.SIZE_MAX} bytes")
    return text


def _is_policy(path: bytes, text: bytes) -> bool:
    """Whether this is a policy, and no access list: by its name, else by the first word that is no comment."""
    if path.endswith((b".toml", b".conf")):
        return path.endswith(b".toml")
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith(b"#"):
            return line.split(maxsplit=1)[0].decode(errors="replace") not in WORDS or b"=" in line.split()[1:2]
    return True


def _of_file(path: bytes, error: OSError, if_missing: str) -> Problem:
    hint = f"a regular file of at most {sources.SIZE_MAX >> 20} MiB is read"
    if isinstance(error, FileNotFoundError):
        hint = if_missing
    elif isinstance(error, sources.UntrustedError):
        hint = error.remedy
    elif isinstance(error, PermissionError):
        hint = "run this as root"
    return Problem(printable(path), 0, reason(error), hint)


def _for_us(problem: Problem) -> Problem:
    """Return a problem with the hint that is right for who checks: callers of the helper have others."""
    if problem.line == 0 and problem.what == os.strerror(errno.EACCES) and os.geteuid() != 0:
        return Problem(problem.path, 0, problem.what, "run this as root; the helper alone needs it to be 0644, too")
    return problem


def _print(report: Report) -> None:
    for problem in report.errors:
        say(_line(problem, ""))
    for problem in report.warnings:
        say(_line(problem, paint("warning", "doubtful") + ": "))
    errors, warnings = counted(len(report.errors), "error"), counted(len(report.warnings), "warning")
    if report.errors:
        say(paint(errors, "bad") + (f", {warnings}" if report.warnings else ""))
        return
    found = paint(warnings, "doubtful") if report.warnings else paint("nothing wrong", "good")
    say(f"{_checked(report)}, {found}")


def summary(report: Report) -> str:
    """Return in a few words what was looked at and found, if there are no errors."""
    found = counted(len(report.warnings), "warning") + " (qbhelperctl check)" if report.warnings else "nothing wrong"
    return f"{_checked(report)}, {found}"


def _checked(report: Report) -> str:
    kinds = " and ".join(dict.fromkeys(kind for _, kind in report.checked))
    return f"{kinds}: {counted(report.rules, 'rule')} in {counted(len(report.checked), 'file')}"


def _line(problem: Problem, kind: str) -> str:
    place = f"{problem.path}:{problem.line}" if problem.line else problem.path
    return f"{paint(place, 'strong')}: {kind}{problem.what}; {problem.hint}"


def _as_json(report: Report) -> object:
    return {
        "ok": not report.errors,
        "checked": [{"file": path, "kind": kind} for path, kind in report.checked],
        "rules": report.rules,
        "errors": [as_json(problem) for problem in report.errors],
        "warnings": [as_json(problem) for problem in report.warnings],
    }


def as_json(problem: Problem) -> dict[str, object]:
    """Return a problem for a program; `line` is null where it is about the file as a whole."""
    return {"file": problem.path, "line": problem.line or None, "what": problem.what, "hint": problem.hint}
