# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies to test with: parsed from a text, and asked as callers with accounts that are made up."""

from dataclasses import dataclass, field

from qbhelper.policy.decision import Decision
from qbhelper.policy.port import PortSettings, Terms
from qbhelper.policy.rules import Policy
from qbhelper.policy.toml_file import parse
from qbhelper.request import Caller

PATH = "/etc/qbhelper/policy.toml"
TODAY = (2026, 11, 21)


@dataclass
class MadeUpAccounts:
    """Accounts that are on no host."""

    users: dict[str, int] = field(default_factory=lambda: {"alice": 1000, "bob": 1001, "ada": 1002})
    groups: dict[str, int] = field(default_factory=lambda: {"students": 2000, "staff": 2001})

    def uid_of(self, name: str) -> int | None:
        """Return the uid of a user."""
        return self.users.get(name)

    def gid_of(self, name: str) -> int | None:
        """Return the gid of a group."""
        return self.groups.get(name)


ACCOUNTS = MadeUpAccounts()
ALICE = Caller(1000, 1000, ())
BOB = Caller(1001, 1001, (2000,))
ADA = Caller(1002, 2001, (2000,))
STRANGER = Caller(65534, 65534, ())
ROOT = Caller(0, 0, (0,))
CALLERS = (ALICE, BOB, ADA, STRANGER, ROOT)


def problems_of(text: str | bytes) -> list[str]:
    """All that is wrong with a policy of one file, each as it is shown, without its path."""
    _, problems = parse((PATH, text if isinstance(text, bytes) else text.encode()))
    assert all(str(problem).startswith(PATH) for problem in problems)
    return [str(problem).removeprefix(PATH + ":").strip() for problem in problems]


def policy_of(text: str | bytes) -> Policy:
    """The policy of one file, in which nothing is wrong."""
    policy, problems = parse((PATH, text if isinstance(text, bytes) else text.encode()))
    assert not problems, [str(problem) for problem in problems]
    assert policy is not None
    return policy


def decide(policy: Policy, caller: Caller, bridge: bytes = b"br0", asked: bytes | None = None) -> Decision:
    """The verdict of a policy today."""
    return policy.decide(bridge, bridge if asked is None else asked, caller, ACCOUNTS, TODAY)


def given_by(terms: Terms) -> tuple[object, ...]:
    """All that terms give, to be compared."""
    port = tuple(getattr(terms.port, name) for name in PortSettings.__slots__)
    return (*(getattr(terms, name) for name in Terms.__slots__ if name != "port"), *port)
