# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl reconcile`: the leases that the policy of today would not grant, each for one reason; and their end."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from qbhelper.lease import parse_alias
from tests.ctl.host import LIST, POLICY, ctl, write
from tests.support import broker, world

ALICE, BOB = 1000, 1001
BEFORE = """\
[[allow]]
bridge = "br0"
queues = 2
persistent = true
isolated = true
max_ports = 3
[end]
"""


@pytest.fixture
def given(a_host: None) -> Iterator[dict[str, broker.Answer]]:
    """Two ports of Alice's, and one of Bob's with two queues, granted by BEFORE."""
    write(POLICY, BEFORE)
    with broker.by_hand(), ExitStack() as stack:
        yield {
            "first": stack.enter_context(broker.ask("br0", uid=ALICE)),
            "second": stack.enter_context(broker.ask("br0", uid=ALICE)),
            "bobs": stack.enter_context(broker.ask("br0", uid=BOB, queues=2)),
        }
        stack.close()
        for tap in broker.taps():
            world.run("ip", "link", "delete", tap)


def found() -> dict[str, str]:
    """Of each lease that does not conform, its port's name and why."""
    said = ctl("reconcile", "--json")
    assert said.err == ""
    answer = {lease["name"]: lease["why"] for lease in json.loads(said.out)["leases"]}
    assert said.status == (1 if answer else 0)
    return answer


@pytest.mark.needs_root
class TestWhatItFinds:
    """After the policy has changed."""

    def test_nothing_where_nothing_has_changed(self, given: dict[str, broker.Answer]) -> None:
        """Also with other words for the same, on other lines."""
        assert not found()
        write(POLICY, "# a comment\n" + BEFORE.replace("queues = 2", "queues = 4").replace("= 3", "= 30"))
        assert not found()
        assert ctl("reconcile").out == "every lease is as the policy has it\n"

    @pytest.mark.parametrize(
        ("change", "who", "why"),
        [
            (("isolated = true", ""), {"first", "second", "bobs"}, "policy.toml:1 says other settings"),
            (("queues = 2", ""), {"bobs"}, "policy.toml:1 allows 1 queue, and it has 2"),
            (("max_ports = 3", "max_ports = 1"), {"second"}, "policy.toml:1 gives 1 ports to one user"),
            (("max_ports = 3", "max_ports = 2\nmax_ports_total = 2"), {"bobs"}, "policy.toml:1 gives 2 ports to all"),
            (("isolated = true", 'isolated = true\nusers = "bob"'), {"first", "second"}, "nothing allows it"),
            (
                ("isolated = true", "isolated = true\nexpires = 2020-01-31"),
                {"first", "second", "bobs"},
                "allowed it until 2020-01-31",
            ),
            (("[end]", '[[deny]]\nbridge = "br0"\nusers = "bob"\n[end]'), {"bobs"}, "policy.toml:7 denies it"),
            (('"br0"', '"br9"'), {"first", "second", "bobs"}, "nothing allows it"),
        ],
    )
    def test_what_has_changed(
        self, given: dict[str, broker.Answer], change: tuple[str, str], who: set[str], why: str
    ) -> None:
        """Each reason, and the leases that it is one for; what conforms is not in the list."""
        write(POLICY, BEFORE.replace(*change))
        answer = found()
        assert set(answer) == {given[each].name for each in who}
        assert all(why in text for text in answer.values()), answer

    def test_a_port_that_was_put_back_without_its_settings(self, given: dict[str, broker.Answer]) -> None:
        """A bridge forgets them when a port is detached, and `ip link' does not know them."""
        name = given["first"].name
        lease = parse_alias(Path("/sys/class/net", name, "ifalias").read_bytes().rstrip(b"\n"))
        assert lease is not None
        assert ctl("revoke", "--detach", lease.identity).status == 0
        assert not found()
        world.run("ip", "link", "set", name, "master", "br0", "up")
        answer = found()
        assert set(answer) == {name}
        assert "policy.toml:1 says other settings" in answer[name]

    def test_a_tap_that_may_not_stay_any_more(self, given: dict[str, broker.Answer]) -> None:
        """The ports of QEMUs are let be."""
        name = ctl("tap", "create", "--bridge", "br0", user="alice").out.strip()
        assert not found()
        write(POLICY, BEFORE.replace("persistent = true", ""))
        assert found() == {name: "/etc/qbhelper/policy.toml:1 does not allow that it is persistent"}

    def test_a_port_that_may_not_have_vhost_any_more(self, a_host: None) -> None:
        """What its lease says of it counts; the device is not wanted for that."""
        write(POLICY, '[[allow]]\nbridge = "br0"\nvhost = true\n[end]\n')
        world.run("ip", "tuntap", "add", "tap9", "mode", "tap")
        try:
            alias = f"qbhelper lease=0123456789abcdef uid={ALICE} pid=7 since=1790000000 vhost=1"
            world.run("ip", "link", "set", "tap9", "master", "br0", "alias", alias)
            assert not found()
            write(POLICY, '[[allow]]\nbridge = "br0"\n[end]\n')
            assert found() == {"tap9": "/etc/qbhelper/policy.toml:1 does not allow that it has vhost"}
        finally:
            world.run("ip", "link", "delete", "tap9")

    def test_an_access_list_is_judged_as_its_callers_can_read_it(self, a_host: None) -> None:
        """An include that only one of them may read, until it is closed to them."""
        write(LIST, "include /etc/qemu/alice.conf\n")
        include = write(LIST.parent / "alice.conf", "allow br0\n", 0o640, "root:alice")
        with broker.by_hand(), broker.ask("br0", uid=ALICE) as answer:
            assert not found()
            include.chmod(0o600)
            assert found() == {answer.name: "nothing allows it"}
        assert broker.no_tap_is_left()


@pytest.mark.needs_root
class TestApply:
    """Ends what does not conform, and nothing else."""

    def test_it_ends_them(self, given: dict[str, broker.Answer]) -> None:
        """The others are ports as before, and a second look finds nothing."""
        write(POLICY, BEFORE.replace("queues = 2", 'queues = 2\nusers = "bob"'))
        said = ctl("reconcile", "--apply")
        assert (said.status, said.err) == (0, "")
        assert said.out.count("revoked ") == 2
        assert {name for name in world.ports("br0") if world.is_up(name)} == {given["bobs"].name}
        assert not found()

    def test_a_program_is_told_what_it_ends_and_nothing_else(self, given: dict[str, broker.Answer]) -> None:
        """With --json, standard output is one JSON text."""
        write(POLICY, BEFORE.replace("queues = 2", 'queues = 2\nusers = "bob"'))
        said = ctl("reconcile", "--apply", "--json")
        assert (said.status, said.err) == (0, "")
        names = {lease["name"] for lease in json.loads(said.out)["leases"]}
        assert names == {given["first"].name, given["second"].name}
        assert {name for name in world.ports("br0") if world.is_up(name)} == {given["bobs"].name}

    def test_a_policy_with_a_mistake_ends_nobody(self, given: dict[str, broker.Answer]) -> None:
        """It grants nothing either, and the mistake is told."""
        write(POLICY, BEFORE.replace("[end]", ""))
        said = ctl("reconcile", "--apply")
        assert (said.status, said.out) == (1, "")
        assert "is it whole? its last line has to be [end]" in said.err
        assert world.ports("br0") == {answer.name for answer in given.values()}

    def test_who_is_not_root_is_told_so(self, given: dict[str, broker.Answer]) -> None:
        """It takes reading what others can read."""
        said = ctl("reconcile", "--apply", user="alice")
        assert (said.status, said.out) == (2, "")
        assert "only root" in said.err
        assert len(world.ports("br0")) == len(given)
