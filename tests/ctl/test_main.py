# SPDX-License-Identifier: GPL-2.0-or-later
"""How every command ends: no traceback, whatever happens to it."""

import argparse
import os
import signal
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from qbhelper.ctl import commands as ctl_commands
from qbhelper.ctl.output import EXIT_UNANSWERED
from qbhelper.ctl.parser import parser
from tests.ctl import host
from tests.ctl.host import LIST, POLICY, ctl, write
from tests.support import world

COMMANDS = tuple(ctl_commands.COMMANDS)
HELP = "tells which words there are"


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parsers of the commands, by their names."""
    [action] = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return {**action.choices}


class TestTheParser:
    """The tree of words, from which help, manual and completions come."""

    def test_it_is_made_anew_each_time_and_touches_nothing(self) -> None:
        """So that a manual page can be made of it anywhere; a command that it alone knew would be an internal error."""
        assert parser() is not parser()
        assert tuple(commands()) == COMMANDS

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_tells_what_it_does(self, command: str) -> None:
        """A description, the exit statuses, and a help for each word."""
        made = commands()[command]
        assert made.description
        assert made.epilog is not None
        assert made.epilog.startswith("exit status: 0 ")
        assert all(action.help for action in made._actions)

    def test_the_usage_of_run_shows_where_the_command_stands(self) -> None:
        """Argparse has nothing but dots for it."""
        assert " -- COMMAND ...\n" in commands()["run"].format_usage()

    def test_the_help_of_all_fits_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """80 columns."""
        monkeypatch.setenv("COLUMNS", "80")
        for made in (parser(), *commands().values()):
            assert max(map(len, made.format_help().splitlines())) <= 80

    def test_the_help_is_plain_text_with_every_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From 3.14 on argparse would paint it, of itself on a terminal, and wherever FORCE_COLOR is set."""
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("FORCE_COLOR", "1")
        for made in (parser(), *commands().values()):
            assert "\033" not in made.format_usage() + made.format_help()


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
class TestTheEnd:
    """Of the installed program."""

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], f"the following arguments are required: COMMAND; `qbhelperctl --help' {HELP}"),
            (["--chek"], f"the following arguments are required: COMMAND; `qbhelperctl --help' {HELP}"),
            (["check", "a", "b"], f"unrecognized arguments: b; `qbhelperctl --help' {HELP}"),
            (["check", "--js"], f"unrecognized arguments: --js; `qbhelperctl --help' {HELP}"),
            (["show", "\033[31m"], rf"unrecognized arguments: \x1b[31m; `qbhelperctl --help' {HELP}"),
            (["explain", "--bridge"], f"argument --bridge: expected one argument; `qbhelperctl explain --help' {HELP}"),
        ],
    )
    def test_wrong_words_are_told_in_one_line(self, words: list[str], expected: str) -> None:
        """With status 2, and nothing that could drive a terminal."""
        assert ctl(*words) == host.Said(2, "", f"qbhelperctl: {expected}\n")

    def test_a_command_that_is_not_there_is_told_with_those_that_are(self) -> None:
        """Python's versions word it differently."""
        said = ctl("chek")
        assert (said.status, said.out) == (2, "")
        assert "invalid choice: 'chek'" in said.err
        assert all(command in said.err for command in COMMANDS)
        assert said.err.count("\n") == 1

    @pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in COMMANDS)])
    def test_help_is_an_answer(self, words: list[str]) -> None:
        """On stdout, with status 0."""
        said = ctl(*words)
        assert (said.status, said.err) == (0, "")
        assert said.out.startswith("usage: qbhelperctl")

    @pytest.mark.parametrize("words", [["--help"], ["show"], ["show", "--json"], ["check"], ["import"]])
    def test_who_stops_reading_ends_it_quietly(self, words: list[str]) -> None:
        """As `head` does."""
        write(LIST, "".join(f"allow br{number}\n" for number in range(2000)))
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = subprocess.run(
            [str(host.program()), *words], stdout=write_end, stderr=subprocess.PIPE, timeout=60, check=False
        )
        os.close(write_end)
        assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")

    def test_an_answer_that_cannot_be_written_is_an_error(self) -> None:
        """A full disk must not look like a policy that was imported."""
        write(LIST, "allow br0\n")
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [str(host.program()), "import"], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
            )
        assert (done.returncode, done.stderr) == (EXIT_UNANSWERED, b"qbhelperctl: No space left on device\n")

    @pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_closed_streams_change_no_exit_status(self, streams: str) -> None:
        """As for programs that cron starts."""
        write(POLICY, '[[allow]]\nbridge = "br0"\n[end]\n')
        program = host.program()
        script = "; ".join(f"{program} {words} {streams}; echo $?" for words in ("check", "check /gone", "x"))
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["0", "1", "2"]
        assert "Traceback" not in done.stderr

    def test_the_interrupt_key_ends_it_quietly(self, tmp_path: Path) -> None:
        """By the signal, so that a script around it ends, too."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        with subprocess.Popen([str(host.program()), "check", str(pipe)], stderr=subprocess.PIPE) as child:
            with open(pipe, "wb"):  # which waits for it to read
                child.send_signal(signal.SIGINT)
                assert child.wait(timeout=60) == -signal.SIGINT
            assert child.stderr is not None
            assert child.stderr.read() == b""

    def test_what_nobody_thought_of_is_told_in_one_line(self) -> None:
        """And no traceback, which nobody could use."""
        script = (
            "import sys; from qbhelper.ctl import check, main;"
            "check.run = lambda *_, **__: 1 / 0; sys.exit(main.main(['check']))"
        )
        done = subprocess.run(
            ["/usr/bin/python3", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PYTHONPATH": str(host.program().parents[1] / "lib" / "qbhelper")},
        )
        assert (done.returncode, done.stdout) == (EXIT_UNANSWERED, "")
        assert done.stderr == ("qbhelperctl: internal error: ZeroDivisionError: division by zero; please report this\n")

    def test_no_file_beside_it_is_taken_for_a_module(self, tmp_path: Path) -> None:
        """Root runs it in any directory, with any environment."""
        for name in ("json.py", "argparse.py", "qbhelper.py"):
            (tmp_path / name).write_text("raise SystemExit(99)\n")
        done = subprocess.run(
            [str(host.program()), "show"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "json.py"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1

    @pytest.mark.parametrize("ahead", [0, -1], ids=["today", "yesterday"])
    @pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "<+14>-14", "<-12>12"])
    @pytest.mark.parametrize("words", [["explain", "--bridge=br0"], ["show"], ["check"]], ids=" ".join)
    def test_the_time_zone_of_who_asks_changes_no_answer(self, words: list[str], zone: str, ahead: int) -> None:
        """A rule expires by the day of the host, for the broker and the helper; elsewhere it is another day already."""
        day = (datetime.now().astimezone() + timedelta(days=ahead)).date()
        write(POLICY, f'[[allow]]\nbridge = "br0"\nexpires = {day}\n[end]\n')
        before = ctl(*words)
        said = ctl(*words, variables={"TZ": zone})
        after = ctl(*words)  # another one if it was midnight meanwhile
        assert said in (before, after)

    def test_it_runs_from_the_tree_as_well(self) -> None:
        """`python3 -m qbhelper.ctl`, as in a virtual environment."""
        write(POLICY, '[[allow]]\nbridge = "br0"\n[end]\n')
        assert world.run(*host.main_of(["check"])) == "policy: 1 rule in 1 file, nothing wrong\n"
