# SPDX-License-Identifier: GPL-2.0-or-later
"""The parser of policies, fed with any bytes: a policy, or problems, each with its place on one printable line."""

import tomllib
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from qbhelper.policy.places import layout_of
from qbhelper.policy.settings import SETTINGS
from qbhelper.policy.toml_file import parse
from tests.fuzz.test_parsers import mutations
from tests.support.policies import CALLERS, decide

POLICY = b"""qemu_acl = false # [end]
[[allow]]
bridge = ["br0", 'br1']
users = ["alice", 1000, "2000-2999",
]
vlan = 20
rate_to_guest = "12.5mbit"
expires = 2027-01-31
[[deny]]
bridge = '''br-mgmt'''
[end]
"""
EXAMPLES = [f"{setting.name} = {setting.example}" for setting in SETTINGS]
HEADERS = [
    *(
        "[[allow]]",
        "[[deny]]",
        "[end]",
        "[allow]",
        "[[end]]",
        "[ end ]",
        "['end']",
        "[end.x]",
        "[[allow.x]]",
        "end = {}",
    ),
    *("allow = []", "allow = [{}]", "deny = {}", "a.b = 1", "'bridge' = 1", '"" = 1', "bridge = '''", 'users = """'),
]
SCRAPS = ["'''", '"""', "#", "# [end]", "\\", "{", "}", "[", "]", "\r", "\0", "\ufeff", "=", "1e5", "inf", "0x10", "é"]
PIECES = st.sampled_from([*HEADERS, *SCRAPS, *EXAMPLES])
TEXTS = st.one_of(
    mutations(POLICY),
    st.lists(PIECES, max_size=12).map(lambda pieces: "\n".join(pieces).encode()),
    st.lists(PIECES, max_size=12).map(lambda pieces: " ".join(pieces).encode()),
    st.tuples(st.lists(PIECES, max_size=8), st.sampled_from(["[end]", "[end]\n#", " [end]"])).map(
        lambda both: "\n".join([*both[0], both[1]]).encode()
    ),
)


@settings(max_examples=3000, deadline=None)
@given(TEXTS)
@example(POLICY)
@example(b"")
@example(b'x = "' + b"\\" * 999)
@example(b"[end]\n" * 2)
@example(b"[[allow]]\n[allow.x]\ny = 1\n[end]")
@example(b"[[allow]]\n[[allow.bridge]]\n[end]")
@example(b'[[allow]]\nbridge = "br0"\n[[allow.users]]\n[end]')
@example(b'[[allow]]\nbridge = "br0"\nusers.x = 1\n[end]')
@example(b"allow = [{bridge = 'br0'}]\n[[deny]]\nbridge = 'br0'\n[end]")
@example(b"[[\"allow\"]]\nbridge = 'br0'\n[[allow]]\nbridge = 'br1'\n[end]")
def test_a_policy_is_understood_or_its_problems_are_told(text: bytes) -> None:
    """Whatever the bytes are: rules that can decide, or problems; nothing else is raised, and nothing is both."""
    policy, problems = parse(("/p", text))
    assert (policy is None) == bool(problems)
    for problem in problems:
        assert str(problem).startswith("/p")
        assert str(problem).isprintable()
        assert str(problem).isascii()
        assert 0 <= problem.line <= text.count(b"\n") + 1
    if policy is not None:
        for caller in CALLERS:
            decide(policy, caller)


@settings(max_examples=2000, deadline=None)
@given(TEXTS)
@example(b"a = ''''''\nb = \"\"\"\"\"\"\nc = '''''\n'''''")
@example(b"a = [ # ]\n{ b = ']' }\n]\nc = 1")
def test_what_is_toml_is_laid_out_as_tomllib_reads_it(text: bytes) -> None:
    """Where all keys are bare, the scanner finds those of the top exactly, each on a line on which it stands."""
    with suppress(ValueError, RecursionError):
        source = text.decode().replace("\r\n", "\n")
        data = tomllib.loads(source)
        layout = layout_of(source)
        lines = source.split("\n")
        for table in layout.tables:
            assert lines[table.line - 1].lstrip(" \t").startswith(table.header)
            for key, line in table.keys.items():
                assert lines[line - 1].lstrip(" \t").startswith(key)
        if not layout.strays:
            heads = {table.header.strip("[]") for table in layout.tables[1:]}
            assert {*layout.tables[0].keys} | heads == {*data}
