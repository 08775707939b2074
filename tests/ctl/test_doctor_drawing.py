# SPDX-License-Identifier: GPL-2.0-or-later
"""How `qbhelperctl doctor` ends, and what it draws for people."""

import os
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from qbhelper.ctl import people
from qbhelper.ctl.doctor import drawing
from qbhelper.ctl.doctor import main as doctor
from qbhelper.ctl.doctor.finding import Finding, State, Subject, listed, word
from qbhelper.errors import KernelError
from qbhelper.request import Caller
from tests.ctl.host import ctl
from tests.ctl.page import PAGE
from tests.ctl.test_show import on_a_terminal, without_colour
from tests.ctl.ward import OURS, Ward
from tests.support.broker import PATIENCE

OK = Finding("bridge", State.OK, "br0 is up")
PROBLEM = Finding("uplink", State.PROBLEM, "eth0 is down", "ip link set dev eth0 up")
UNKNOWN = Finding("policy", State.UNKNOWN, "only root can read it")
LONG = (
    'printf \'[[allow]]\\nbridge = "br0"\\nusers = "alice"\\n[end]\\n\' | '
    "install -D -m 0644 /dev/stdin /etc/qbhelper/policy.d/allow-alice-br0.toml"
)


class TestLines:
    """What is drawn, without a terminal: plain, and 80 columns wide."""

    def test_stations_and_states_are_aligned(self) -> None:
        """And the command stands below its problem."""
        assert drawing.drawn([OK, PROBLEM, UNKNOWN]) == [
            "bridge  ok           br0 is up",
            "uplink  problem      eth0 is down",
            "  # ip link set dev eth0 up",
            "policy  cannot tell  only root can read it",
            "1 problem, 1 that cannot be told",
        ]

    def test_the_last_line_sums_up(self) -> None:
        """For who looks at it alone."""
        assert drawing.drawn([OK])[-1] == "no problem found"
        assert drawing.drawn([OK, UNKNOWN])[-1] == "no problem found, 1 that cannot be told"
        assert drawing.drawn([PROBLEM, PROBLEM])[-1] == "2 problems"

    def test_what_is_long_goes_on_below_itself(self) -> None:
        """In the column where it began."""
        lines = drawing.drawn([Finding("bridge", State.OK, "word " * 40)])[:-1]
        assert len(lines) > 2
        assert max(map(len, lines)) <= 80
        assert all(line.startswith(" " * 21 + "word") for line in lines[1:])

    @pytest.mark.parametrize("remedy", [LONG, LONG.replace(" | ", " && "), "a" * 40 + " # or: " + "b" * 40])
    def test_a_long_command_is_broken_only_where_a_shell_goes_on(self, remedy: str) -> None:
        """So that what is copied, with its line ends, does the same."""
        first, *others = drawing.drawn([Finding("policy", State.PROBLEM, "closed", remedy)])[1:-1]
        assert max(map(len, (first, *others))) <= 80
        assert first.startswith("  # ")
        assert [line[:4] for line in others] == ["    "] * len(others)
        assert " ".join(line[4:] for line in (first, *others)) == remedy
        assert all(
            line.endswith(("&&", "|")) or other.strip().startswith("# or: ") for line, other in [(first, others[0])]
        )

    def test_a_long_word_of_a_command_stays_whole(self) -> None:
        """However narrow the terminal is."""
        remedy = f"chmod o+x /{'d' * 100}"
        assert f"  # {remedy}" in drawing.drawn([Finding("helper", State.PROBLEM, "closed", remedy)])

    def test_a_whole_line_that_is_pasted_does_nothing(self) -> None:
        """Its mark begins a comment."""
        [_, line, _] = drawing.drawn([Finding("helper", State.PROBLEM, "closed", "exit 3")])
        assert subprocess.run(["sh", "-c", line], check=False).returncode == 0

    def test_nothing_drives_the_terminal(self) -> None:
        """Whatever a file or an interface is called."""
        lines = drawing.drawn([Finding("bridge", State.PROBLEM, "\033[31m", "rm \033[2J")])
        assert "\033" not in "".join(lines)

    @pytest.mark.parametrize("name", ["a b", "$(id)", "-x", "a;b", "'", "\\", "a\nb"])
    def test_a_name_is_one_word_of_a_command(self, name: str) -> None:
        """And nothing else, to a shell."""
        done = subprocess.run(["sh", "-c", f"printf %s {word(name)}"], capture_output=True, text=True, check=True)
        assert done.stdout == name.replace("\n", "\\n")

    def test_of_many_names_a_few_are_told(self) -> None:
        """With how many there are besides."""
        assert listed([b"a", b"b", b"c", b"d"]) == "a, b, c, d"
        assert listed([b"a", b"b", b"c", b"d", b"\033", b"f"]) == "a, b, c, d and 2 more"


def of_a_sick_kernel(_: Subject) -> Iterator[Finding]:
    """A station that can't go on."""
    yield OK
    raise KernelError("failed to ask", "ask again")


def of_a_closed_file(_: Subject) -> Iterator[Finding]:
    """A station that meets a file that it may not open."""
    yield from ()
    raise PermissionError(13, "Permission denied", "/secret")


def of_a_mistake(_: Subject) -> Iterator[Finding]:
    """A station with a fault of its own."""
    yield from ()
    raise ZeroDivisionError("of one's own")


def of(*findings: Finding) -> doctor.Station:
    """A station where this is found."""
    return lambda _: iter(findings)


class TestTheRound:
    """From station to station."""

    def test_goes_on_where_one_can_not(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What was found before is told, and why there is no more."""
        stations = (of_a_sick_kernel, of_a_closed_file, of_a_mistake, of(PROBLEM))
        monkeypatch.setattr(doctor, "STATIONS", stations)
        assert doctor.run(None, None, as_json=False) == 1
        out = capsys.readouterr().out
        assert re.search("^bridge +ok +br0 is up$", out, re.MULTILINE)
        assert "failed to ask; ask again" in out
        assert "`/secret': Permission denied" in out
        assert "ZeroDivisionError: of one's own; please report" in " ".join(out.split())
        assert out.endswith("1 problem, 3 that cannot be told\n")

    @pytest.mark.parametrize(("findings", "status"), [([], 0), ([OK], 0), ([OK, UNKNOWN], 0), ([OK, PROBLEM], 1)])
    def test_ends_with_a_status(self, monkeypatch: pytest.MonkeyPatch, findings: list[Finding], status: int) -> None:
        """What can't be told is no problem: often a plain user may not look."""
        monkeypatch.setattr(doctor, "STATIONS", (of(*findings),))
        assert doctor.run(None, None, as_json=False) == status

    def test_knows_whose_way_it_is(self) -> None:
        """Who calls, unless somebody is named."""
        assert people.asked_about(None, "doctor").caller.uid == os.getuid()
        assert isinstance(people.asked_about("0", "doctor").caller, Caller)


def test_the_page_tells_of_every_station() -> None:
    """Each in a row of its table, with what may be wrong there."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert set(OURS) <= set(rows)


@pytest.mark.needs_root
class TestTheProgram:
    """As it is installed."""

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--user=nobody-of-this-name"], "there is no user `nobody-of-this-name' on this host"),
            (["--bridge=a/b"], "`a/b' can't be the name of a bridge"),
            (["--bridge=abcdefghijklmnop"], "`abcdefghijklmnop' can't be the name of a bridge"),
        ],
    )
    @pytest.mark.usefixtures("a_host")
    def test_without_an_answer_ends_with_2(self, words: list[str], message: str) -> None:
        """In one line, and nothing on stdout."""
        said = ctl("doctor", *words)
        assert (said.status, said.out) == (2, "")
        assert said.err.startswith(f"qbhelperctl: {message}; ")
        assert said.err.count("\n") == 1

    def test_changes_nothing(self, a_ward: Ward) -> None:
        """No interface, no file and no process is new, whatever it has found."""
        # Not `ip -d`: a bridge's timers run on.  Not IPv6: a new address is tentative for a moment.
        command = "ip link; ip -4 address; find /etc/qbhelper /etc/qemu /dev/net -ls; ls -l /run/qbhelper 2>&1"

        def state() -> str:
            return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False).stdout

        deadline = time.monotonic() + PATIENCE
        while "NO-CARRIER" in (before := state()):  # the kernel tells br0 of its port's in its own time
            assert time.monotonic() < deadline, before
            time.sleep(0.01)
        assert a_ward.visit(user="root").problems()
        assert a_ward.visit().problems()
        assert state() == before

    def test_is_in_colour_on_a_terminal_and_80_columns_wide(self, a_ward: Ward) -> None:
        """And says the same without."""
        a_ward.helper.chmod(0o700)
        plain = ctl("doctor", "--user=alice")
        shown = on_a_terminal("doctor", "--user=alice", status=1)
        assert "\033[31mproblem\033[0m" in shown
        assert without_colour(shown) == plain.out
        assert max(map(len, plain.out.splitlines())) <= 80
