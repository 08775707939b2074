# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl explain`: the verdict that a grant would have, and where it comes from."""

import json
from collections.abc import Iterator

import pytest

from tests.ctl import host
from tests.ctl.host import LIST, POLICY, ctl, write
from tests.support import broker, world

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("a_host")]

RULES = """\
[[allow]]
bridge = "br0"
users = "ada"
macs = ["52:54:00:12:34:50", "52:54:00:12:34:51"]

[[allow]]
bridge = "br0"
groups = "students"
max_ports = 1
max_ports_total = 4

[[allow]]
bridge = "br1"
users = "bob"
expires = 2020-01-01

[[deny]]
bridge = "br-mgmt"

[end]
"""
CLOSED = f"qbhelperctl: you can't read {POLICY}: only root and the broker know what it says; "


def explain(*words: str, user: str = "root") -> host.Said:
    """Run it."""
    return ctl("explain", *words, user=user)


class TestTheAnswer:
    """What is said, and the exit status."""

    @pytest.fixture(autouse=True)
    def _policy(self, a_host: None) -> None:
        write(POLICY, RULES)

    @pytest.mark.parametrize(
        ("words", "status", "expected"),
        [
            (["--user", "ada", "--bridge", "br0"], 0, f"ada (uid 1002) may use br0: {POLICY}:1 allows it\n"),
            (["--user", "1002", "--bridge", "br0"], 0, f"ada (uid 1002) may use br0: {POLICY}:1 allows it\n"),
            (["--user=alice", "--bridge=br0"], 0, f"alice (uid 1000) may use br0: {POLICY}:6 allows it\n"),
            (["--bridge=br0"], 1, f"root (uid 0) may not use br0: no line of {POLICY} allows `br0'\n"),
            (["--bridge=br-mgmt"], 1, f"root (uid 0) may not use br-mgmt: {POLICY}:17 denies `br-mgmt'\n"),
            (
                ["--user=bob", "--bridge=br1"],
                1,
                (
                    f"bob (uid 1001) may not use br1: no line of {POLICY} allows `br1' "
                    f"({POLICY}:12 allowed it until 2020-01-01)\n"
                ),
            ),
            (
                ["--user=4242", "--bridge=br0"],
                1,
                (
                    f"uid 4242 may not use br0: no line of {POLICY} allows `br0'\n"
                    "note: there is no account of this uid: judged as being in no group\n"
                ),
            ),
        ],
    )
    def test_it_names_the_line_that_decides(self, words: list[str], status: int, expected: str) -> None:
        """Who, whether, why; 0 for yes and 1 for no."""
        said = explain(*words)
        assert (said.status, said.err) == (status, "")
        assert said.out.startswith(expected)

    def test_what_the_port_may_do_is_written_as_in_the_policy(self) -> None:
        """Each setting that is not that of a plain port, and how many ports there are."""
        assert explain("--user=bob", "--bridge=br0").out.splitlines()[1:] == [
            "  max_ports = 1  (0 taken now)",
            "  max_ports_total = 4  (0 taken now)",
        ]
        write(POLICY, '[[allow]]\nbridge = "br0"\n[end]')
        assert explain("--bridge=br0").out.splitlines()[1:] == ["  a plain port, as QEMU's own helper makes it"]

    def test_a_mac_address_that_is_not_let_through_is_a_no(self) -> None:
        """The port would be there, and nobody would hear the guest."""
        assert explain("--user=ada", "--bridge=br0", "--mac=52:54:00:12:34:51").status == 0
        said = explain("--user=ada", "--bridge=br0", "--mac=52:54:00:12:34:5F")
        assert said.status == 1
        assert said.out.splitlines()[-1] == (
            "note: a guest with 52:54:00:12:34:5f is not heard: the rule names other macs"
        )
        assert explain("--user=bob", "--bridge=br0", "--mac=52:54:00:12:34:5f").status == 0  # any will do

    def test_another_name_of_a_bridge_is_judged_by_its_own(self) -> None:
        """As a grant does it."""
        said = explain("--user=alice", "--bridge=lan0")
        assert said.status == 0
        assert said.out.splitlines()[-1] == "note: `lan0' is another name of `br0'"
        write(POLICY, '[[deny]]\nbridge = "br0"\n[end]')
        assert explain("--user=alice", "--bridge=lan0").out == (
            f"alice (uid 1000) may not use lan0: {POLICY}:1 denies `br0', which `lan0' is another name of\n"
        )

    def test_what_is_no_bridge_here_is_noted(self) -> None:
        """The policy may say yes before the bridge is made."""
        write(POLICY, '[[allow]]\nbridge = "*"\n[end]')
        assert explain("--bridge=br9").out.splitlines()[-1] == "note: there is no bridge `br9' on this host now"
        said = explain("--bridge=lo")
        assert said.out.splitlines()[-1] == "note: `lo' is no bridge, but another interface"
        assert said.status == 0

    def test_a_policy_with_an_error_allows_nothing(self) -> None:
        """And that is the answer: no, and why."""
        write(POLICY, RULES.replace("users", "user"))
        said = explain("--user=ada", "--bridge=br0")
        assert said.status == 1
        assert said.out == (
            f"ada (uid 1002) may not use br0: the policy has an error: {POLICY}:3 (and 1 more); "
            "nothing is allowed until the administrator mends it: `qbhelperctl check' says what is wrong\n"
        )

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (
                ["--bridge=br0", "--user=carl"],
                "there is no user `carl' on this host; `getent passwd' lists them; a number will do, too",
            ),
            (
                ["--bridge=br0", "--user=99999999999"],
                "there is no user `99999999999' on this host; `getent passwd' lists them; a number will do, too",
            ),
            (
                ["--bridge=br0", "--mac=52:54:00:12:34"],
                '"52:54:00:12:34" is no MAC address; six pairs of digits, as ["52:54:00:12:34:50"]',
            ),
            (
                ["--bridge=br0", "--mac=53:54:00:12:34:50"],
                '"53:54:00:12:34:50" is no address of one machine; the first pair is even, and not all are zero',
            ),
            (
                ["--bridge=br0:1"],
                "`br0:1' can't be the name of a bridge; name one as `ip link show type bridge' prints it",
            ),
            (
                [],
                (
                    "the following arguments are required: --bridge; "
                    "`qbhelperctl explain --help' tells which words there are"
                ),
            ),
        ],
    )
    def test_what_is_no_question_is_told(self, words: list[str], expected: str) -> None:
        """In one line on stderr, with status 2."""
        assert explain(*words) == host.Said(2, "", f"qbhelperctl: {expected}\n")

    def test_json_has_all_of_it(self) -> None:
        """For programs (docs/qbhelperctl.md)."""
        said = explain("--json", "--user=ada", "--bridge=lan0", "--mac=52:54:00:12:34:5f")
        assert said.status == 1
        answer = json.loads(said.out)
        assert answer["settings"]["macs"] == ["52:54:00:12:34:50", "52:54:00:12:34:51"]
        assert answer["settings"]["max_ports"] is None
        del answer["settings"]
        assert answer == {
            "user": {"name": "ada", "uid": 1002, "groups": [1002, 2001]},
            "asked": "lan0",
            "bridge": "br0",
            "allowed": True,
            "rule": {"file": str(POLICY), "line": 1},
            "why": f"{POLICY}:1 allows it",
            "taken": None,
            "mac": {"address": "52:54:00:12:34:5f", "let_through": False},
            "notes": [
                "a guest with 52:54:00:12:34:5f is not heard: the rule names other macs",
                "`lan0' is another name of `br0'",
            ],
        }
        nobody = json.loads(explain("--json", "--user=4242", "--bridge=br0").out)
        assert nobody["user"] == {"name": "uid 4242", "uid": 4242, "groups": []}
        assert (nobody["rule"], nobody["settings"]) == (None, None)


class TestWhoAsks:
    """Everybody about themselves, root about all."""

    def test_a_user_asks_about_themselves(self) -> None:
        """By default, by name, or by number."""
        write(POLICY, RULES)
        for words in ([], ["--user=bob"], ["--user=1001"]):
            said = explain("--bridge=br0", *words, user="bob")
            assert (said.status, said.out.partition(":")[0]) == (0, "bob (uid 1001) may use br0")

    def test_only_root_asks_about_others(self) -> None:
        """What they can read counts, and nobody else can tell."""
        write(POLICY, RULES)
        assert explain("--bridge=br0", "--user=alice", user="bob") == host.Said(
            2,
            "",
            "qbhelperctl: only root may ask about alice: it counts what they can read; sudo qbhelperctl explain ...\n",
        )

    def test_they_are_judged_with_the_groups_of_their_process(self) -> None:
        """Who was added to a group since they logged in is told so; the helper would refuse them, too."""
        write(POLICY, RULES)
        words = ["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", "--inh-caps=-all", str(host.program())]
        for question in ("--bridge=br0", "--bridge=br0 --user=alice"):
            script = f"{' '.join(words)} explain {question}; echo $?"
            assert world.run("sh", "-c", script).splitlines() == [
                f"alice (uid 1000) may not use br0: no line of {POLICY} allows `br0'",
                "note: judged as this process is; it is not in students, as who logs in anew will be",
                "1",
            ]

    def test_a_policy_that_is_closed_to_them_has_no_answer(self) -> None:
        """The broker reads it for all, so the verdict is not no; and nothing of it is told."""
        write(POLICY, RULES, 0o600)
        said = explain("--bridge=br0", user="alice")
        assert said == host.Said(2, "", f"{CLOSED}ask the administrator to run: qbhelperctl explain --user alice ...\n")
        assert explain("--bridge=br0", "--user=alice").status == 0

    def test_includes_count_for_whom_they_are_readable(self) -> None:
        """Root can read all of them, and is answered for each user as that user would be refused or granted."""
        write(LIST, "include alice.conf\ninclude students.conf\n")
        write(LIST.with_name("alice.conf"), "allow br0\n", 0o640, "root:alice")
        write(LIST.with_name("students.conf"), "allow br1\n", 0o640, "root:students")
        for user, bridge, expected in [
            ("alice", "br0", f"{LIST.parent}/alice.conf:1 allows it"),
            ("alice", "br1", f"{LIST.parent}/students.conf:1 allows it"),
            ("bob", "br0", f"no line of {LIST} allows `br0'"),
            ("bob", "br1", f"{LIST.parent}/students.conf:1 allows it"),
            ("ada", "br1", f"no line of {LIST} allows `br1'"),
        ]:
            by_root = explain(f"--user={user}", f"--bridge={bridge}")
            assert by_root == explain(f"--bridge={bridge}", user=user)
            assert by_root.out.splitlines()[0].partition(": ")[2] == expected


@pytest.fixture
def daemon() -> Iterator[None]:
    """A broker for the policy."""
    write(POLICY, RULES)
    with broker.by_hand():
        yield


def test_it_says_what_the_broker_does(daemon: None) -> None:
    """Yes if and only if a port is granted."""
    for user, uid, groups in (("alice", 1000, (1000, 2000)), ("bob", 1001, (1001, 2000)), ("root", 0, (0,))):
        for bridge in ("br0", "br-mgmt", "br9"):
            with broker.ask(bridge, uid=uid, groups=groups) as answer:
                assert answer.granted == (explain(f"--user={user}", f"--bridge={bridge}").status == 0)


def test_ports_that_are_taken_are_counted(daemon: None) -> None:
    """So that who is refused by a quota sees why."""
    with broker.ask("br0", uid=1001, groups=(2000,)) as answer:
        assert answer.granted
        found = explain("--user=bob", "--bridge=br0")
        assert found.status == 0
        assert found.out.splitlines()[1:] == [
            "  max_ports = 1  (1 taken now)",
            "  max_ports_total = 4  (1 taken now)",
            "note: all ports that the rule gives are taken: the next is refused until one ends",
        ]
        assert json.loads(explain("--json", "--user=alice", "--bridge=br0").out)["taken"] == {"user": 0, "all": 1}
