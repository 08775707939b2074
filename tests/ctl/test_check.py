# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl check`: which files it looks at, what it says, and how it ends."""

import json
import os
from pathlib import Path

import pytest

from tests.ctl import host
from tests.ctl.host import DROP_INS, LIST, POLICY, ctl, write
from tests.support import world

pytestmark = [pytest.mark.needs_root, pytest.mark.usefixtures("a_host")]

ALLOW = '[[allow]]\nbridge = "br0"\n[end]\n'
WRONG = '[[allow]]\nbridge = "br0"\nmtu = 1\nuser = "alice"\n[end]\n'
ERRORS = [
    "{}:3: mtu: 1 is out of range; a number from 68 to 65521",
    "{}:4: `user' is not known; did you mean `users'?",
]


def lines_of(*words: str, status: int, user: str = "root", text: str = "", cwd: Path | None = None) -> list[str]:
    """Run `check`, which ends with this status and says nothing on stderr; return the lines of its answer."""
    said = ctl("check", *words, user=user, text=text, cwd=cwd)
    assert (said.status, said.err) == (status, "")
    return said.out.splitlines()


class TestTheHost:
    """Without a FILE: what rules this host."""

    def test_without_any_file_nothing_is_allowed_and_it_says_what_to_write(self) -> None:
        """A fresh installation."""
        assert lines_of(status=1) == [
            (
                "/etc/qemu/bridge.conf: No such file or directory; "
                "as root write the line `allow br0' into it, or a policy: docs/policy.md"
            ),
            "1 error",
        ]

    def test_a_policy_is_checked_with_all_its_files(self) -> None:
        """Errors of all of them at once."""
        write(POLICY, ALLOW)
        write(DROP_INS / "b.toml", WRONG)
        write(DROP_INS / "a.toml", '[[deny]]\nbridge = ""\n[end]\n')
        found = lines_of(status=1)
        assert [line.partition(": ")[0] for line in found[:-1]] == [
            f"{DROP_INS}/a.toml:2",
            f"{DROP_INS}/b.toml:3",
            f"{DROP_INS}/b.toml:4",
        ]
        assert found[-1] == "3 errors"

    def test_who_can_get_around_a_limit_is_told(self) -> None:
        """By the host's own /etc/subuid, with the groups that the host says; lines that say nothing are passed over."""
        write(POLICY, '[[allow]]\nbridge = "br0"\ngroups = "students"\nmax_ports = 2\n[end]\n')
        for lines, told in (
            ("bob:165536:65536\n1000:231072:65536\nada:296608:65536\n", "bob and 1 more"),
            ("ada:296608:65536\nnobody-here:1:1\nbob:x:1\nbob:1\nalice:5:0\nbob:" + "9" * 5000 + ":1\n", None),
            ("", None),
        ):
            with host.accounts(subuid=lines):
                found = lines_of(status=0)
            expected = (
                f"{POLICY}:1: warning: max_ports counts {told} as many users: they have subordinate uids "
                "(/etc/subuid); write max_ports_total beside it, or name `users'"
            )
            assert found[:-1] == ([expected] if told else [])

    def test_the_access_list_is_no_matter_beside_a_policy(self) -> None:
        """It does not count, whatever is wrong with it."""
        write(POLICY, ALLOW)
        write(LIST, "nonsense\n")
        assert lines_of(status=0) == ["policy: 1 rule in 1 file, nothing wrong"]

    def test_with_qemu_acl_both_are_checked(self) -> None:
        """As both count."""
        write(POLICY, "qemu_acl = true\n" + ALLOW)
        write(LIST, "allow br0\n")
        assert lines_of(status=0) == ["policy and access list: 2 rules in 2 files, nothing wrong"]
        write(LIST, "nonsense\n")
        assert lines_of(status=1)[0].startswith(f"{LIST}:1: Invalid config line: `nonsense'; known: allow")

    def test_who_owns_the_files_counts(self) -> None:
        """A policy that others can change allows nothing."""
        write(POLICY, ALLOW, 0o664)
        expected = f"{POLICY}: others than root can write to it; as root: chmod go-w it, after a look at what is in it"
        assert lines_of(status=1) == [expected, "1 error"]
        assert lines_of(str(POLICY), status=1) == [expected, "1 error"]

    def test_of_the_access_list_every_file_is_checked(self) -> None:
        """Also what only others than root can come to."""
        write(LIST, "allow br0\ninclude alice.conf\n")
        write(LIST.with_name("alice.conf"), "deny\n", 0o600, "alice:alice")
        assert lines_of(status=1)[0].startswith("/etc/qemu/alice.conf:1: Invalid config line: `deny'")

    def test_without_the_right_to_read_it_says_so(self) -> None:
        """A user can check what they can read."""
        write(POLICY, ALLOW, 0o600)
        assert lines_of(status=1, user="alice") == [
            f"{POLICY}: Permission denied; run this as root; the helper alone needs it to be 0644, too",
            "1 error",
        ]
        POLICY.unlink()
        write(LIST, "allow br0\ninclude bob.conf\n")
        write(LIST.with_name("bob.conf"), "deny br0\n", 0o640, "root:bob")
        assert lines_of(status=0, user="alice") == [
            (
                f"{LIST}:2: warning: include `/etc/qemu/bob.conf': Permission denied; "
                "run this as root to have it looked at"
            ),
            "access list: 1 rule in 1 file, 1 warning",
        ]

    def test_more_files_than_anybody_may_read_are_a_warning(self) -> None:
        """Root, for one, can read the include of each of 300 users, and is refused."""
        names = [f"{number}.conf" for number in range(300)]
        write(LIST, "".join(f"include {name}\n" for name in names))
        for name in names:
            write(LIST.with_name(name), f"# {name}\nallow br0\n")
        assert lines_of(status=0) == [
            (
                f"{LIST}: warning: 301 files: who can read more than 256 is refused everything; "
                "`qbhelperctl import' makes one policy of them"
            ),
            "access list: 300 rules in 301 files, 1 warning",
        ]


class TestAFile:
    """With a FILE: that alone, by anybody."""

    @pytest.mark.parametrize("name", ["draft.toml", "draft", "policy.toml.new", "-"])
    def test_a_policy_is_known(self, tmp_path: Path, name: str) -> None:
        """By its name, or what stands in it."""
        write(tmp_path / name, "# a draft\n\n" + WRONG.replace("mtu", "\n\nmtu"))
        text = (tmp_path / name).read_text()
        found = lines_of(name, status=1, text=text, cwd=tmp_path)
        assert found[1] == f"{name}:8: `user' is not known; did you mean `users'?"

    @pytest.mark.parametrize("name", ["list.conf", "list", "bridge.conf.new", "-"])
    @pytest.mark.parametrize("first", ["# a list\n\n", "\tallow br0\n", "include x\n", "deny all\n"])
    def test_an_access_list_is_known(self, tmp_path: Path, name: str, first: str) -> None:
        """By its name, or what stands in it."""
        write(tmp_path / name, f"{first}allow br0\nalow br1\n")
        text = (tmp_path / name).read_text()
        found = lines_of(name, status=1, text=text, cwd=tmp_path)
        number = text.count("\n")
        assert found[0] == f"{name}:{number}: Unknown command `alow'; did you mean `allow'?"

    def test_the_name_goes_before_the_content(self, tmp_path: Path) -> None:
        """Who lost the first lines of a policy is told of a policy."""
        write(tmp_path / "x.toml", "allow br0\n")
        write(tmp_path / "x.conf", "[[allow]]\n")
        assert "not TOML" in lines_of("x.toml", status=1, cwd=tmp_path)[0]
        assert "Invalid config line" in lines_of("x.conf", status=1, cwd=tmp_path)[0]

    def test_a_file_of_policy_d_is_one_of_those(self, tmp_path: Path) -> None:
        """What counts for all files has no place in it; anywhere else it may be a whole policy."""
        text = f"qemu_acl = true\n{ALLOW}"
        for name in ("policy.d", "other"):
            (tmp_path / name).mkdir()
            write(tmp_path / name / "a.toml", text)
        expected = "policy.d/a.toml:1: `qemu_acl' counts for all files; write it at the top of policy.toml"
        assert lines_of("policy.d/a.toml", status=1, cwd=tmp_path) == [expected, "1 error"]
        assert lines_of("a.toml", status=1, cwd=tmp_path / "policy.d")[0] == expected.removeprefix("policy.d/")
        assert lines_of("other/a.toml", status=0, cwd=tmp_path) == ["policy: 1 rule in 1 file, nothing wrong"]

    def test_includes_are_looked_for_beside_it(self, tmp_path: Path) -> None:
        """As they will be where it is put."""
        write(tmp_path / "a.conf", "include b.conf\n")
        write(tmp_path / "b.conf", "alow br0\n")
        found = lines_of("a.conf", status=1, cwd=tmp_path)
        assert found == ["b.conf:1: Unknown command `alow'; did you mean `allow'?", "1 error"]

    def test_anybody_may_check_a_draft_of_their_own(self) -> None:
        """It need not belong to root before it is in place."""
        draft = write(world.WORLD / "draft.toml", ALLOW, 0o664, "alice:alice")
        assert lines_of(str(draft), status=0, user="alice") == ["policy: 1 rule in 1 file, nothing wrong"]
        draft.unlink()

    def test_what_a_command_prints_can_be_checked(self) -> None:
        """`<(command)` of a shell is a pipe with the name of a file."""
        write(LIST, "allow br0\n")
        script = f"{host.program()} check <({host.program()} import)"
        assert world.run("bash", "-c", script) == "policy: 1 rule in 1 file, nothing wrong\n"

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("gone.toml", "gone.toml: No such file or directory; name a file that is there"),
            (".", ".: Is a directory; a regular file of at most 1 MiB is read"),
            ("large", "large: larger than 1048576 bytes; a regular file of at most 1 MiB is read"),
            ("gone\n.conf", r"gone\n.conf: No such file or directory; name a file that is there"),
        ],
    )
    def test_what_is_no_file_is_told(self, tmp_path: Path, name: str, expected: str) -> None:
        """In one line, whatever the name."""
        write(tmp_path / "large", "#" * (1 << 20 | 1))
        assert lines_of(name, status=1, cwd=tmp_path) == [expected, "1 error"]

    def test_a_file_that_is_closed_is_told(self) -> None:
        """With what to do."""
        write(LIST, "allow br0\n", 0o600)
        expected = [f"{LIST}: Permission denied; run this as root", "1 error"]
        assert lines_of(str(LIST), status=1, user="alice") == expected
        assert lines_of(status=1, user="alice") == expected


class TestWarnings:
    """What is no error leaves the status 0."""

    def test_of_an_access_list(self) -> None:
        """Bridges, names that can't be, and allows that a deny takes away from whoever reads them."""
        text = "allow br0\nallow br7\nallow br0 # why\nallow lan0\ndeny lan0\ninclude alice.conf\ninclude gone.conf\n"
        write(LIST, text)
        write(LIST.with_name("alice.conf"), "allow br0\ndeny br0\nallow lan0\n")
        known = "`ip link show type bridge' lists the bridges that are there"
        alice = LIST.with_name("alice.conf")
        assert lines_of(status=0) == [
            f"{LIST}:2: warning: there is no bridge `br7' on this host now; {known}",
            (
                f"{LIST}:3: warning: `br0 # why' can't be the name of a bridge: the line says nothing; "
                "one bridge on a line; a comment has a line of its own"
            ),
            f"{LIST}:4: warning: `lan0' is another name of `br0', and an allow counts for that one; write br0",
            f"{LIST}:4: warning: allows nothing: {LIST}:5 denies it; take one of the two out",
            (
                f"{LIST}:5: warning: `lan0' is another name of `br0': only who asks by it is refused; "
                "write br0, which refuses by all its names"
            ),
            f"{alice}:1: warning: allows nothing: {alice}:2 denies it; take one of the two out",
            f"{alice}:3: warning: `lan0' is another name of `br0', and an allow counts for that one; write br0",
            f"{alice}:3: warning: allows nothing: {LIST}:5 denies it; take one of the two out",
            (
                f"{LIST}:7: warning: include `/etc/qemu/gone.conf': No such file or directory; "
                "it is passed over until it is there"
            ),
            "access list: 8 rules in 2 files, 9 warnings",
        ]

    def test_accounts_are_those_of_this_host(self) -> None:
        """The names of the accounts that there are, and no others."""
        write(POLICY, '[[allow]]\nbridge = "br0"\nusers = ["alice", "carl"]\ngroups = ["staff", "nerds"]\n[end]\n')
        found = lines_of(status=0)
        assert [line.partition(" is not")[0] for line in found[:-1]] == [
            f"{POLICY}:1: warning: user `carl'",
            f"{POLICY}:1: warning: group `nerds'",
        ]
        assert found[-1] == "policy: 1 rule in 1 file, 2 warnings"


class TestJson:
    """`--json`: the same for programs (docs/qbhelperctl.md)."""

    def test_it_has_all_that_is_printed(self) -> None:
        """Errors, warnings, and what was looked at."""
        write(POLICY, "[[allow]]\nbridge = 'br7'\n[end]\n")
        write(DROP_INS / "a.toml", ALLOW)
        said = ctl("check", "--json")
        assert said.status == 0
        assert json.loads(said.out) == {
            "ok": True,
            "checked": [
                {"file": str(POLICY), "kind": "policy"},
                {"file": f"{DROP_INS}/a.toml", "kind": "policy"},
            ],
            "rules": 2,
            "errors": [],
            "warnings": [
                {
                    "file": str(POLICY),
                    "line": 1,
                    "what": "there is no bridge `br7' on this host now",
                    "hint": "`ip link show type bridge' lists the bridges that are there",
                }
            ],
        }

    def test_a_whole_file_has_no_line(self) -> None:
        """Null, not zero, which an editor would take for a line."""
        os.mkfifo(POLICY, 0o644)
        said = ctl("check", "--json")
        assert said.status == 1
        answer = json.loads(said.out)
        assert answer["ok"] is False
        assert answer["checked"] == [{"file": str(POLICY), "kind": "policy"}]
        assert [(error["line"], error["what"]) for error in answer["errors"]] == [(None, "not a regular file")]
