# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl import`: how the policy reads, what is left out, and what can't be said."""

import os
from pathlib import Path
from random import Random

import pytest

from qbhelper.accounts import HostAccounts
from qbhelper.ctl import people, tree, writing
from qbhelper.ctl.importing import imported
from qbhelper.policy.toml_file import parse
from qbhelper.policy.who import Ids
from tests.broker import forest
from tests.broker.judge import judges
from tests.broker.test_verdicts import picture
from tests.ctl import goldens, host
from tests.ctl.host import LIST, ctl, write
from tests.support.policies import TODAY, policy_of

pytestmark = pytest.mark.needs_root

CASES = goldens.cases(Path(__file__).parent / "goldens" / "import.txt")
TREES = 200
"""In each of the tests with a seed."""
MIXED = """\
root:x:0:
nogroup:x:65534:
one:x:61234:
two:x:61300:u2,u3
three:x:61301:u1,u2
"""
"""The groups that random trees are given to."""


def plant(text: str) -> None:
    """Make the files of a golden: after `+ PATH MODE OWNER` stands what is in it."""
    for part in text.split("+ ")[1:]:
        first, _, content = part.partition("\n")
        path, mode, owner = first.split()
        write(Path(path), content, int(mode, 8), owner)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("a_host")
def test_a_list_is_imported_exactly_so(case: str) -> None:
    """The policy as it is printed, or why there is none."""
    text, expected = CASES[case]
    title, *options = case.split(" --")
    plant(text)
    said = ctl("import", *(f"--{option}" for option in options))
    assert [line for line in (said.out + said.err).splitlines() if line] == expected, title
    assert said.status == (0 if said.out else 1)
    assert not (said.out and said.err)
    if said.out:
        assert parse(("policy", said.out.encode()))[1] == []


@pytest.mark.usefixtures("a_host")
class TestTheFile:
    """Which list is imported."""

    def test_any_list_can_be(self, tmp_path: Path) -> None:
        """One that was copied from another host, too; its includes are those beside it."""
        write(tmp_path / "list", "include other\n")
        write(tmp_path / "other", "allow br0\n")
        said = ctl("import", "list", cwd=tmp_path)
        assert said.status == 0
        assert f'# {tmp_path}/other: line 1\n[[allow]]\nbridge = "br0"\nusers = "root"\n' in said.out

    def test_a_list_that_is_not_there_is_told(self) -> None:
        """With the path that was looked for."""
        expected = f"qbhelperctl: failed to read `{LIST}': No such file or directory; name an access list, as root\n"
        assert ctl("import") == host.Said(2, "", expected)
        assert ctl("import", str(LIST)) == host.Said(2, "", expected)

    def test_a_list_that_is_closed_is_not_imported(self) -> None:
        """Half of it would be another policy."""
        write(LIST, "allow br0\ninclude bob.conf\n")
        write(LIST.with_name("bob.conf"), "deny br0\n", 0o640, "root:bob")
        said = ctl("import", user="alice")
        assert (said.status, said.out) == (1, "")
        assert said.err == (
            f"qbhelperctl: {LIST}:2: include `/etc/qemu/bob.conf': Permission denied; "
            "run this as root to have it looked at\n"
        )


@pytest.mark.usefixtures("a_host")
@pytest.mark.parametrize("seed", range(3))
def test_with_users_named_every_list_is_imported(seed: int) -> None:
    """Whatever the modes ask for: for the users of this host the verdicts are kept, and nobody else gets anything."""
    passwd = host.PASSWD + "".join(
        f"u{n}:x:6123{n + 3}:{gid}::/:/bin/sh\n" for n, gid in ((1, 61234), (2, 61235), (3, 61300))
    )
    forester = forest.Forester(Random(seed))
    count = named = 0
    with host.accounts(passwd, MIXED):
        accounts = HostAccounts()
        with judges([caller for _, caller in people.people()]) as all_judges:
            for number in range(TREES):
                forester.plant()
                text = imported_or_wrong()
                if text is None:
                    continue
                count += 1
                named += "For the users of this host" in text
                policy = policy_of(text)
                for judge in all_judges:
                    judge.ask(forest.BRIDGES)
                for judge in all_judges:
                    verdict = judge.answer()
                    if isinstance(verdict, str):
                        verdict = ("refused",) * len(forest.BRIDGES)
                    for name, word in zip(forest.BRIDGES, verdict, strict=True):
                        decision = policy.decide(name, name, judge.caller, accounts, TODAY)
                        where = f"seed {seed}, tree {number}, uid {judge.caller.uid}"
                        assert decision.allowed == word.startswith("allow"), f"{where}\n{text}\n{picture()}"
    assert count > TREES // 3
    assert named > 10


def imported_or_wrong() -> str | None:
    """Return the policy that a list becomes; None if there is no list, or it has an error."""
    try:
        found = tree.of_host()
    except OSError:
        return None
    return None if found.problems else imported(found, name_users=True)


@pytest.mark.usefixtures("a_host")
def test_of_accounts_with_one_uid_the_stricter_counts() -> None:
    """A rule can't tell them apart: an allow is for neither, a deny for both."""
    write(LIST, "include a.conf\n", 0o640, "root:staff")
    write(LIST.with_name("a.conf"), "allow br0\ndeny br1\n", 0o604, "root:students")
    passwd = host.PASSWD + "twin:x:1002:1002::/:/bin/sh\n"
    with host.accounts(passwd, host.GROUP.replace("alice,bob", "alice,bob,twin")):
        allow, deny = policy_of(imported(tree.of_host(), name_users=True)).rules
    assert str(allow.who) == "users root"
    assert str(deny.who) == "users 0-999, 1002-65533, 65535-4294967294"


def test_a_name_that_means_something_else_is_not_written() -> None:
    """Nor one that a policy would take for a number: then the number stands there."""
    passwd = "twice:x:3000:1::/:\ntwice:x:3001:1::/:\n3100:x:3002:1::/:\na,b:x:3003:1::/:\n"
    with host.accounts(host.PASSWD + passwd, host.GROUP + passwd.replace(":1::/:", ":")):
        for name_of in (people.user_to_write, people.group_to_write):
            assert [name_of(number) for number in range(3000, 3005)] == ["twice", None, None, None, None]


def test_a_text_is_written_so_that_it_is_read_again() -> None:
    """Quotes, backslashes and control characters in the names of groups."""
    for name in ("br0", 'a"b', "a\\b", "\x01\x7f", "\u00fc"):
        text = f"[[allow]]\nbridge = {writing.text(name)}\n[end]"
        assert policy_of(text).rules[0].bridges == frozenset([name.encode()])


def test_long_lists_stand_below_each_other() -> None:
    """One entry on a line where they do not fit on one."""
    ids = Ids((), [(number, number) for number in range(1000, 1060, 3)] + [(5000, 5999)])
    for by_name in (True, False):
        names = {1000: "a", 1003: "b"}
        lines = writing.setting("users", writing.entries_of(ids, names.get, by_name=by_name))
        assert max(map(len, lines)) <= writing.WIDTH
        assert lines[1] == ('    "a",' if by_name else "    1000,  # a")
        rule = policy_of("\n".join(["[[allow]]", 'bridge = "br0"', *lines, "[end]"])).rules[0]
        assert rule.who.users is not None
        assert len(rule.who.users.ranges) + len(rule.who.users.names) == 21


def test_what_is_made_is_looked_at_before_it_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Should a rule come out wrong, there is no policy, and nobody has to find out later."""
    monkeypatch.setattr(writing, "text", lambda value: f"'{value}")
    write(tmp_path / "list", "allow br0\n")
    with pytest.raises(Exception, match="internal error: policy:"):
        imported(tree.Tree(os.fsencode(tmp_path / "list")))
