# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl doctor` at the policy, or the access list, and at its verdict on a user."""

import os

import pytest

from tests.ctl.host import LIST, POLICY, ctl, write
from tests.ctl.ward import RULE, Found, Ward
from tests.support import broker, world

pytestmark = [pytest.mark.needs_root]
ALICE = 1000
DROP_IN = POLICY.parent / "policy.d" / "allow-alice-br0.toml"


def verdict(ward: Ward, *words: str, user: str = "alice") -> Found:
    """The only finding on what a user may."""
    [found] = ward.visit(*words, user=user).of("verdict")
    return found


def is_allowed(bridge: str = "br0", user: str = "alice") -> bool:
    """What a grant would go by."""
    return ctl("explain", "--bridge", bridge, "--user", user).status == 0


class TestThePolicy:
    """Whether it can be read, and is right."""

    def test_is_summed_up(self, a_healthy_ward: Ward) -> None:
        """What is surely a mistake is no problem of this user's; `check` tells it."""
        write(POLICY, RULE.replace('"alice"', '["alice", "ailce"]'))
        [found] = a_healthy_ward.visit().of("policy")
        assert (found.state, found.what) == ("ok", "policy: 1 rule in 1 file, 1 warning (qbhelperctl check)")

    def test_that_is_not_there_is_begun(self, a_healthy_ward: Ward) -> None:
        """With a rule for this user and this bridge, and for nobody else."""
        POLICY.unlink()
        a_healthy_ward.cured("policy", "--user=alice", user="root", also=["verdict"])
        assert is_allowed()
        assert not is_allowed(user="bob")
        assert ctl("check").status == 0

    def test_that_is_not_there_is_begun_for_the_bridge_that_is_named(self, a_healthy_ward: Ward) -> None:
        """Where there are several, nobody can tell which is meant."""
        POLICY.unlink()
        with world.bridge("br1"):
            [begun] = a_healthy_ward.visit().of("policy")
            assert begun.remedy is None
            [begun] = a_healthy_ward.visit("--bridge=br0").of("policy")
            assert begun.remedy is not None
            a_healthy_ward.run(begun.remedy)
            assert a_healthy_ward.visit().problems() == []

    def test_that_is_wrong_is_told_with_its_lines(self, a_healthy_ward: Ward) -> None:
        """No command mends those; who mends five of them looks again."""
        write(POLICY, "".join(f"setting{number} = 1\n" for number in range(7)) + "[end]\n")
        problems = [found for found in a_healthy_ward.visit().problems() if found.station == "policy"]
        assert [found.remedy for found in problems] == [None] * 6
        assert problems[0].what.startswith(f"{POLICY}:1: `setting0' is not known; ")
        assert problems[-1].what == "and 2 more: qbhelperctl check tells them all"

    def test_that_is_wrong_allows_nothing(self, a_healthy_ward: Ward) -> None:
        """Which is said where the verdict would be."""
        write(POLICY, RULE.removesuffix("[end]\n"))
        found = verdict(a_healthy_ward)
        assert found.state == "problem"
        assert found.what == "alice may use no bridge as long as the policy can't be read completely"

    @pytest.mark.parametrize("kind", ["owner", "mode", "directory", "additions"])
    def test_that_others_may_change_is_made_roots_alone(self, a_healthy_ward: Ward, kind: str) -> None:
        """Otherwise it counts for nobody."""
        if kind == "owner":
            os.chown(POLICY, ALICE, ALICE)
        elif kind == "mode":
            POLICY.chmod(0o666)
        elif kind == "directory":
            POLICY.parent.chmod(0o777)
        else:
            write(POLICY.parent / "policy.d" / "empty.toml", "[end]\n")
            (POLICY.parent / "policy.d").chmod(0o777)
        a_healthy_ward.cured("policy", "--user=alice", user="root", also=["verdict"])

    def test_of_which_only_an_addition_is_there_gets_its_first_file(self, a_healthy_ward: Ward) -> None:
        """Without policy.toml, what stands in policy.d counts for nothing."""
        POLICY.rename(POLICY.parent / "alice.toml")
        write(POLICY.parent / "policy.d" / "alice.toml", RULE)
        a_healthy_ward.cured("policy", "--user=alice", user="root", also=["verdict"])

    def test_that_the_broker_reads_may_be_closed(self, a_healthy_ward: Ward) -> None:
        """Then its users can't be told what it says, and that is no problem."""
        POLICY.chmod(0o600)
        visit = a_healthy_ward.visit()
        assert visit.problems() == []
        assert {found.station for found in visit.unknown()} == {"policy", "verdict"}
        assert a_healthy_ward.visit("--user=alice", user="root").unknown() == []

    @pytest.mark.parametrize("user", ["alice", "root"])
    def test_that_the_helper_reads_has_to_be_open(self, a_ward: Ward, user: str) -> None:
        """It acts as its caller."""
        a_ward.helper.chmod(0o4755)
        POLICY.chmod(0o600)
        visit = a_ward.visit("--user=alice", user=user)
        found = next(each for each in visit.problems() if each.station == "policy")
        assert found.remedy == f"chmod o+r {POLICY}"
        a_ward.run(f"chmod o+r {POLICY}")
        assert a_ward.visit("--user=alice", user=user).problems() == []

    @pytest.mark.parametrize("user", ["alice", "root"])
    def test_that_the_helper_reads_has_to_be_open_with_its_additions(self, a_ward: Ward, user: str) -> None:
        """Whose names it has to read, too; one command does both."""
        a_ward.helper.chmod(0o4755)
        addition = write(POLICY.parent / "policy.d" / "empty.toml", "[end]\n")
        addition.parent.chmod(0o700)
        found = a_ward.cured("policy", "--user=alice", user=user)
        assert found.remedy == f"chmod o+rx {addition.parent}"


class TestTheAccessList:
    """QEMU's, where there is no policy."""

    def test_that_a_user_can_not_read_is_opened(self, a_healthy_ward: Ward) -> None:
        """It rules who can read it."""
        POLICY.unlink()
        write(LIST, "allow br0\n", 0o600)
        found = a_healthy_ward.cured("policy", "--user=alice", user="root", also=["verdict"])
        assert found.what == f"alice can't read {LIST}, but has to: {LIST} does not let them"

    def test_that_is_for_a_group_stays_so(self, a_healthy_ward: Ward) -> None:
        """The user is put into it."""
        POLICY.unlink()
        write(LIST, "allow br0\n", 0o640, "root:staff")
        found = a_healthy_ward.cured("policy", "--user=alice", user="root", also=["verdict"])
        assert found.remedy == "usermod --append --groups staff alice # counts from their next login"
        assert not is_allowed(user="bob")

    @pytest.mark.parametrize("text", ["allow br1\n", "allow br1"])
    def test_that_says_nothing_of_a_bridge_gets_a_line_more(self, a_healthy_ward: Ward, text: str) -> None:
        """On a line of its own, whether the last one was ended or not."""
        POLICY.unlink()
        write(LIST, text)
        found = a_healthy_ward.cured("verdict")
        assert found.what == f"alice may not use br0: no line of {LIST} allows `br0'"
        assert LIST.read_text().split() == ["allow", "br1", "allow", "br0"]


class TestTheVerdict:
    """What one user may."""

    def test_is_told_with_its_line(self, a_healthy_ward: Ward) -> None:
        """And how many ports of the rule there are."""
        with broker.ask(uid=ALICE):
            found = verdict(a_healthy_ward)
        assert found.state == "ok"
        assert found.what == f"alice may use br0: {POLICY}:1 allows it; they have 1 of 2 ports now"

    def test_with_no_line_is_mended_by_a_rule(self, a_healthy_ward: Ward) -> None:
        """In a file of its own, so that the command works whatever the policy says."""
        write(POLICY, RULE.replace("alice", "bob"))
        found = a_healthy_ward.cured("verdict")
        assert found.what == f"alice may not use br0: no line of {POLICY} allows `br0'"
        assert DROP_IN.stat().st_mode & 0o777 == 0o644
        assert not is_allowed(user="ada")

    def test_with_no_line_for_a_uid_without_an_account(self, a_healthy_ward: Ward) -> None:
        """Its number stands in the rule."""
        a_healthy_ward.cured("verdict", "--user=4711", user="root")
        assert is_allowed(user="4711")

    def test_that_is_a_deny_is_left_to_people(self, a_healthy_ward: Ward) -> None:
        """Who wrote that meant it, perhaps."""
        write(POLICY, '[[deny]]\nbridge = "br0"\nusers = "alice"\n\n' + RULE)
        found = verdict(a_healthy_ward)
        assert (found.state, found.remedy) == ("problem", None)
        assert found.what == f"alice may not use br0: {POLICY}:1 denies `br0'; if they should, change that line"

    def test_is_by_the_canonical_name(self, a_healthy_ward: Ward) -> None:
        """As a grant has it, and the rule that mends it is for that name."""
        assert verdict(a_healthy_ward, "--bridge=lan0").state == "ok"
        write(POLICY, RULE.replace("alice", "bob"))
        a_healthy_ward.cured("verdict", "--bridge=lan0")
        assert DROP_IN.exists()

    def test_of_no_bridge_at_all_is_a_problem(self, a_healthy_ward: Ward) -> None:
        """With several bridges and none of them allowed, one has to be named."""
        write(POLICY, RULE.replace("br0", "br7"))
        with world.bridge("br1"):
            found = verdict(a_healthy_ward)
        assert (found.state, found.remedy) == ("problem", None)
        assert found.what == "alice may use none of br0, br1; name one, and see what to do: --bridge br0"

    def test_of_taken_ports_is_a_problem(self, a_healthy_ward: Ward) -> None:
        """The next would be refused; when one ends, all is well."""
        with broker.ask(uid=ALICE), broker.ask(uid=ALICE):
            found = verdict(a_healthy_ward)
            assert (found.state, found.remedy) == ("problem", None)
            assert "they have all 2 ports of it now" in found.what
        assert broker.no_tap_is_left()
        assert verdict(a_healthy_ward).state == "ok"

    def test_of_others_is_for_root(self, a_healthy_ward: Ward) -> None:
        """As `explain` has it: what others can read is not everybody's business."""
        assert verdict(a_healthy_ward, "--user=bob", user="root").what.startswith("bob may not use br0")
        said = ctl("doctor", "--user=bob", user="alice")
        assert (said.status, said.out) == (2, "")
        assert said.err == (
            "qbhelperctl: only root may ask about bob: it counts what they can read; sudo qbhelperctl doctor ...\n"
        )

    def test_has_commands_only_for_plain_names(self, a_healthy_ward: Ward) -> None:
        """What somebody has called a bridge is never run by root's shell."""
        name = "$(reboot)'"
        with world.bridge(name):
            found = verdict(a_healthy_ward, f"--bridge={name}")
        assert (found.state, found.remedy) == ("problem", None)
