# SPDX-License-Identifier: GPL-2.0-or-later
"""`qbhelperctl revoke`: which leases are ended, by whom, and what is said of it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from qbhelper.lease import Lease, parse_alias
from tests.ctl.host import LIST, ctl, write
from tests.support import broker, world

ALICE, BOB = 1000, 1001


def lease_of(name: str) -> Lease:
    """What the interface of this name says of itself."""
    lease = parse_alias(Path("/sys/class/net", name, "ifalias").read_bytes().rstrip(b"\n"))
    assert lease is not None
    return lease


@pytest.fixture
def given(a_host: None) -> Iterator[dict[str, str]]:
    """Ports of Alice on br0 and br1 and of Bob on br0: by `alice0' and the like, the names of their interfaces."""
    write(LIST, "allow all\n")
    with world.bridge("br1"), broker.by_hand(), ExitStack() as stack:
        answers = {
            "alice0": stack.enter_context(broker.ask("br0", uid=ALICE)),
            "alice1": stack.enter_context(broker.ask("br1", uid=ALICE)),
            "bob0": stack.enter_context(broker.ask("br0", uid=BOB)),
        }
        yield {who: answer.name for who, answer in answers.items()}
        stack.close()
        assert broker.no_tap_is_left()


def revoked(given: dict[str, str]) -> set[str]:
    """Whose leases have ended."""
    return {who for who, name in given.items() if lease_of(name).revoked}


@pytest.mark.needs_root
class TestWhichOnes:
    """Root's, unless it says otherwise."""

    def test_one_lease(self, given: dict[str, str]) -> None:
        """By its digits; the line says what it was."""
        lease = lease_of(given["bob0"])
        said = ctl("revoke", lease.identity)
        assert (said.status, said.err) == (0, "")
        assert said.out == f"revoked {given['bob0']} of bob on br0 (lease {lease.identity})\n"
        assert revoked(given) == {"bob0"}

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (["--user", "alice"], {"alice0", "alice1"}),
            (["--user", "1001"], {"bob0"}),
            (["--bridge", "br0"], {"alice0", "bob0"}),
            (["--bridge", "br0", "--user", "alice"], {"alice0"}),
        ],
    )
    def test_those_of_a_user_or_on_a_bridge(self, given: dict[str, str], words: list[str], expected: set[str]) -> None:
        """Both words together are both conditions."""
        said = ctl("revoke", *words)
        assert (said.status, said.err) == (0, "")
        assert said.out.count("\n") == len(expected)
        assert revoked(given) == expected

    def test_a_user_ends_their_own(self, given: dict[str, str]) -> None:
        """All on a bridge are all of theirs."""
        said = ctl("revoke", "--bridge", "br0", user="alice")
        assert (said.status, said.err) == (0, "")
        assert revoked(given) == {"alice0"}

    @pytest.mark.parametrize("words", [["--user", "bob"], ["LEASE"]])
    def test_a_user_ends_nobody_elses(self, given: dict[str, str], words: list[str]) -> None:
        """The broker refuses, and the exit status says so."""
        identity = lease_of(given["bob0"]).identity
        said = ctl("revoke", *(identity if word == "LEASE" else word for word in words), user="alice")
        assert (said.status, said.out) == (1, "")
        assert f"lease {identity} is not yours; root can end the leases of others" in said.err
        assert not revoked(given)

    def test_detached_ports_keep_their_lease(self, given: dict[str, str]) -> None:
        """They are on no bridge; `status' shows them."""
        said = ctl("revoke", "--bridge", "br1", "--detach")
        assert said.out.startswith(f"detached {given['alice1']} of alice on br1")
        assert not revoked(given)
        assert not world.ports("br1")
        assert given["alice1"] in ctl("status", variables={"LC_ALL": "C"}).out

    def test_what_is_revoked_is_shown_so(self, given: dict[str, str]) -> None:
        """In `status', for people and for programs; and there is nothing to revoke a second time."""
        ctl("revoke", "--user", "bob")
        assert "revoked" in ctl("status").out
        assert '"revoked": true' in ctl("status", "--json").out
        said = ctl("revoke", "--user", "bob")
        assert (said.status, said.out) == (1, "")
        assert said.err == "qbhelperctl: there is no such lease; `qbhelperctl status' shows those that there are\n"
        assert revoked(given) == {"bob0"}


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "say which: one LEASE, or --user, --bridge or both"),
        (["0123456789abcdef", "--user", "alice"], "say which"),
        (["0123456789ABCDEF"], "is no lease"),
        (["--user", "mallory"], "there is no user `mallory'"),
    ],
)
@pytest.mark.usefixtures("given")
def test_words_that_make_no_sense(words: list[str], expected: str) -> None:
    """Exit status 2, and nothing has ended."""
    said = ctl("revoke", *words)
    assert (said.status, said.out) == (2, "")
    assert expected in said.err


@pytest.mark.needs_root
def test_a_name_is_answered_with_its_lease(given: dict[str, str]) -> None:
    """It ends nothing: by the time the broker hears of it, it may be another's."""
    said = ctl("revoke", given["bob0"])
    assert (said.status, said.out) == (2, "")
    assert said.err.endswith(f"; that of {given['bob0']} is {lease_of(given['bob0']).identity}\n")
    assert not revoked(given)
