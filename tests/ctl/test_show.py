# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl show`: the rules as a table that fits, and as JSON."""

import json
import os
import pty
import subprocess
import termios
from pathlib import Path

import pytest

from qbhelper.ctl import output, terms
from qbhelper.policy.settings import SETTINGS
from tests.ctl import host
from tests.ctl.host import DROP_INS, LIST, POLICY, ctl, write
from tests.support.policies import policy_of

FULL = """\
qemu_acl = true

[[allow]]
bridge = ["br0", "br-a-long-name"]
users = ["alice", "bob", 1500, "2000-2999"]
groups = ["students", "staff"]
max_ports = 4
max_ports_total = 100
queues = 4
name = "vm%d"
mtu = 1400
vlan = 20
trunk = [30, "40-49", 51]
isolated = true
macs = ["52:54:00:12:34:50", "52:54:00:12:34:51"]
addresses = ["10.0.0.0/24", "2001:db8::/64"]
guards = ["ra", "bpdu", "dhcp-server"]
rate_to_guest = "1gbit"
rate_from_guest = "12.5mbit"
learning = false
unicast_flood = false
other_network_namespaces = true
expires = 2099-01-31

[end]
"""


@pytest.mark.needs_root
@pytest.mark.usefixtures("a_host")
class TestOnAHost:
    """With the files of a host."""

    def test_every_setting_is_shown(self) -> None:
        """Each by its word, in 80 columns."""
        write(POLICY, FULL)
        write(LIST, "allow br0\ndeny br9\ninclude x.conf\n")
        write(LIST.with_name("x.conf"), "allow all\n", 0o604, "root:students")
        said = ctl("show")
        assert (said.status, said.err) == (0, "")
        assert max(map(len, said.out.splitlines())) <= output.WIDTH
        assert said.out == (Path(__file__).parent / "goldens" / "show.txt").read_text()

    def test_the_rules_are_in_the_order_in_which_they_count(self) -> None:
        """Of all files, each below its name."""
        write(POLICY, '[[deny]]\nbridge = "br1"\n[end]\n')
        write(DROP_INS / "b.toml", '[[allow]]\nbridge = "*"\nexpires = 2020-01-01\n[end]\n')
        write(DROP_INS / "a.toml", '[[allow]]\nbridge = "br0"\n[end]\n')
        assert ctl("show").out.splitlines() == [
            "  line  rule   bridges  who       terms",
            str(POLICY),
            "     1  deny   br1      everyone",
            f"{DROP_INS}/a.toml",
            "     1  allow  br0      everyone",
            f"{DROP_INS}/b.toml",
            "     1  allow  *        everyone  expired 2020-01-01",
        ]

    def test_a_policy_without_rules_is_told(self) -> None:
        """Nobody need wonder about an empty table."""
        write(POLICY, "[end]\n")
        assert ctl("show") == host.Said(0, "there is no rule: nothing is allowed to anybody\n", "")

    def test_what_is_wrong_is_not_shown(self) -> None:
        """The rules of a policy with an error do not count, nor do those of a list."""
        write(POLICY, "[[allow]]\n[end]\n")
        said = ctl("show")
        assert (said.status, said.out) == (1, "")
        assert (
            said.err
            == f'qbhelperctl: {POLICY}:1: [[allow]] without a bridge; say which: bridge = "br0", or "*" for every\n'
        )
        POLICY.unlink()
        write(LIST, "alow br0\n")
        said = ctl("show")
        assert (said.status, said.out) == (1, "")
        assert (
            said.err
            == f"qbhelperctl: {LIST}:1: Unknown command `alow'; did you mean `allow'?; `qbhelperctl check' says all\n"
        )
        LIST.unlink()
        assert ctl("show").err == f"qbhelperctl: {LIST}: No such file or directory; `qbhelperctl check' says more\n"

    def test_json_has_all_of_it(self) -> None:
        """For programs: numbers as numbers, and who can read a file of the list."""
        write(POLICY, FULL)
        write(LIST, "deny br9\ninclude x.conf\n", 0o640, "root:students")
        write(LIST.with_name("x.conf"), "allow all\n", 0o640, "root:staff")
        answer = json.loads(ctl("show", "--json").out)
        assert answer["ruled_by"] == ["policy", "access list"]
        first, deny, allow = answer["rules"]
        assert first["settings"] == terms.values_of(policy_of(FULL).rules[0].terms)
        assert first["settings"]["rate_from_guest"] == 12_500_000
        del first["settings"]
        assert first == {
            "file": str(POLICY),
            "line": 3,
            "verdict": "allow",
            "bridges": ["br-a-long-name", "br0"],
            "who": "users alice, bob, 1500, 2000-2999 or groups staff, students",
            "users": ["alice", "bob", 1500, "2000-2999"],
            "groups": ["staff", "students"],
            "expires": "2099-01-31",
        }
        assert (deny["verdict"], deny["users"], deny["groups"], deny["settings"]) == ("deny", [0], [2000], None)
        assert (allow["bridges"], allow["who"]) == (["*"], "who can read the file")
        assert (allow["users"], allow["groups"]) == ([], [])

    def test_colour_is_for_terminals_that_want_it(self) -> None:
        """Not for pipes, not with NO_COLOR, not on a dumb one; and the table is the same without it."""
        write(POLICY, '[[allow]]\nbridge = "br0"\n[[deny]]\nbridge = "br1"\n[end]\n')
        plain = ctl("show").out
        assert "\033" not in plain
        coloured = on_a_terminal("show")
        assert "\033[32mallow\033[0m" in coloured
        assert "\033[31mdeny\033[0m" in coloured
        assert without_colour(coloured) == plain
        assert on_a_terminal("show", NO_COLOR="1") == plain
        assert on_a_terminal("show", TERM="dumb") == plain
        assert "\033" in on_a_terminal("show", NO_COLOR="")

    @pytest.mark.parametrize(("columns", "widest"), [(60, 60), (100, 100), (1000, output.WIDTH_MAX), (0, 80), (10, 40)])
    def test_it_is_as_wide_as_the_terminal(self, columns: int, widest: int) -> None:
        """Within bounds."""
        write(POLICY, FULL.replace("qemu_acl = true\n", ""))
        lines = without_colour(on_a_terminal("show", columns=columns)).splitlines()
        assert widest - 8 <= max(map(len, lines)) <= widest


def on_a_terminal(*words: str, columns: int = 80, status: int = 0, **variables: str) -> str:
    """Run qbhelperctl on a terminal of so many columns, and return what it draws."""
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, columns))
        environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **variables}
        child = subprocess.Popen([str(host.program()), *words], stdout=theirs, env=environment)
        os.close(theirs)
        drawn = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # EIO: nobody has the terminal any more
                break
            drawn += part
        assert child.wait() == status
    finally:
        os.close(ours)
    return drawn.decode().replace("\r\n", "\n")


def without_colour(text: str) -> str:
    """The same text as for a pipe."""
    for code in ("\033[0m", *(f"\033[{style}m" for style in output._STYLES.values())):
        text = text.replace(code, "")
    return text


def test_every_setting_of_a_port_has_its_word() -> None:
    """A setting that is added to the table is shown and explained without another line of code."""
    words = set(terms.WORDS) | {"bridge", "users", "groups", "expires", "qemu_acl"}
    assert words == {setting.name for setting in SETTINGS}
    values = terms.values_of(policy_of(FULL.replace("qemu_acl = true", "")).rules[0].terms)
    assert set(values) == set(terms.WORDS)


def test_a_setting_is_written_as_a_policy_has_it() -> None:
    """What is explained can be pasted into a policy, and means the same."""
    policy = policy_of(FULL)
    written = terms.changes_of(policy.rules[0].terms)
    text = "\n".join(
        ["[[allow]]", 'bridge = "br0"', *(f"{word} = {value}" for word, value in written.items()), "[end]"]
    )
    assert terms.values_of(policy_of(text).rules[0].terms) == terms.values_of(policy.rules[0].terms)
    assert written["trunk"] == '[30, "40-49", 51]'


@pytest.mark.parametrize(
    ("bits", "written"), [(8000, "8kbit"), (12_500_000, "12500kbit"), (10**12, "1tbit"), (8001, "8001bit")]
)
def test_a_rate_is_written_whole(bits: int, written: str) -> None:
    """Without a fraction, so that nothing is lost."""
    assert terms.rate(bits) == written


def test_a_table_fits_whatever_stands_in_it() -> None:
    """Long words are broken, short columns stay as they are."""
    rows = [("a", "one two three four", "x" * 50), ("bb", "five", "")]
    for room in range(24, 80):
        laid_out = output.table(rows, room)
        assert max(len(line) for lines in laid_out for line in lines) <= room
        assert "".join(laid_out[0]).count("x") == 50
