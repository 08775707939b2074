# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy file with mistakes in it: all of them are told, each on its line, and nothing of the file counts."""

from pathlib import Path

import pytest

from qbhelper.policy import toml_file
from qbhelper.policy.places import layout_of
from qbhelper.policy.toml_file import parse
from tests.support.policies import PATH, policy_of, problems_of

GOLDENS = (Path(__file__).parent / "goldens" / "policy-files.txt").read_text()
WHOLE = "is it whole? its last line has to be [end]; a file that was cut off could allow what its lost lines refuse"
FAR_TOO_LONG = "it is not TOML that can be read; look for a number or a nesting that is far too long"
QUOTES = "a text stands in quotes, a list in [ ]"


def goldens() -> dict[str, tuple[str, list[str]]]:
    """By the title of each case: a policy, and what is told of it."""
    found = {}
    for case in GOLDENS.split("==== ")[1:]:
        text, _, told = case.partition("---- is told\n")
        title, _, policy = text.partition("\n")
        found[title] = (policy, told.replace("PATH", PATH).split("\n"))
    return found


MISTAKES = {
    **goldens(),
    "empty": ("", [f"1: {WHOLE}"]),
    "cut in a text": ('[[allow]]\nbridge = "br', [f"2: not TOML: unterminated string, end of file; {QUOTES}"]),
    "byte order mark": (
        "\ufeff[end]\n",
        ["1: not TOML: invalid statement, column 1; save the file without a byte order mark"],
    ),
    "carriage returns alone": (
        '[[allow]]\rbridge = "br0"\r[end]\r',
        [f"1: not TOML: expected newline or end of document after a statement, column 10; {QUOTES}"],
    ),
    "a carriage return at the end": (
        '[[allow]]\r\nbridge = "br0"\r\n[end]\r',
        [f"3: not TOML: expected newline or end of document after a statement, column 6; {QUOTES}"],
    ),
    "a number without end": ("mtu = " + "9" * 5000, [FAR_TOO_LONG]),
    "brackets without end": ("mtu = " + "[" * 100000, [FAR_TOO_LONG]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_exactly_so(case: str) -> None:
    """Where, what, and what to write instead; all of them, in the order of the lines."""
    text, messages = MISTAKES[case]
    assert problems_of(text) == [message for message in messages if message]


def test_a_byte_that_is_no_utf8_is_told_with_its_line() -> None:
    """A file in another encoding says which byte is wrong."""
    assert problems_of(b'[[allow]]\n# Br\xfccke\nbridge = "br0"\n[end]\n') == [
        "2: byte 0xfc is not UTF-8; save the file as UTF-8"
    ]


RIGHT = [
    "[end]",
    "[end]\n",
    "# begin\n\n  [end]  # that was it\n# [[deny]]\n\n",
    "[end]\r\n",
    '[[allow]]\r\nbridge = "br0"\r\n[end]\r\n',
    "\t[[allow]]\t# why\n\tbridge\t=\t'br0'\n[end]",
    '[[allow]]\nbridge = [\n  "br0", # [end]\n  """br1""", \'\'\'br2\'\'\',\n\n]\nmtu=1400\n[end]',
    "qemu_acl = false\n[end]",
    '[[allow]]\nusers = ["a\\"]#",\n"mtu", """b"""", """c\\""""", \'\'\'d\'\'\'\'\'] # x\nbridge = "br0"\n[end]',
    '[[allow]]\nbridge = "br0"\nname = "vm"\nmax_ports_total = 1\n[end]',
    '[[allow]]\nbridge = "br0"\nname = "vm{uid}"\nmax_ports = 1\n[end]',
    '[[allow]]\nbridge = "br0"\nname = "vm{uid}-%d"\nusers = 123456789\n[end]',
    '[[allow]]\nbridge = "br0"\nlearning = false\nunicast_flood = false\nmacs = "02:00:00:00:00:01"\n[end]',
    '[[allow]]\nbridge = "br0"\nmax_ports = 4\nmax_ports_total = 4\n[[deny]]\nbridge = "br0"\n[end]',
]


@pytest.mark.parametrize("text", RIGHT)
def test_ordinary_ways_to_write_a_policy_are_taken(text: str) -> None:
    """Blanks, comments, both kinds of line end, lists over several lines, long strings: all fine."""
    policy_of(text)


def test_the_end_of_a_long_text_is_found() -> None:
    """A long string may hold quotes, hashes, brackets and whole rules: none of them is taken for one."""
    for quotes in ('"""', "'''"):
        name = f"{quotes}\n[[deny]]\n# x\n[end]\n{quotes[:2]}{quotes}"
        problems = problems_of(f"[[allow]]\nbridge = {quotes}br0{quotes}\nname = {name}\nmtu = 1\n[end]\n")
        assert [problem.partition(":")[0] for problem in problems] == ["3", "8"]


def test_what_was_read_otherwise_than_found_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should our own look at the file ever differ from tomllib's, no place can be trusted, and nothing counts."""
    other = layout_of('[[allow]]\nbridge = "br0"\nmtu = 1400\n[end]')
    monkeypatch.setattr(toml_file, "layout_of", lambda _: other)
    assert problems_of('[[allow]]\nbridge = "br0"\nvlan = 2\n[end]') == [
        "it is written in a way that is not understood; write it as docs/policy.md does"
    ]


def test_the_files_are_one_policy_in_their_order() -> None:
    """Rules come in the order of the files, and each knows its file and line."""
    policy, problems = parse(
        ("/p.toml", b"qemu_acl = true\n[[allow]]\nbridge='a'\n[end]"),
        [("/d/1.toml", b"\n[[deny]]\nbridge='b'\n[end]"), ("/d/2.toml", b"[end]")],
    )
    assert not problems
    assert policy is not None
    assert [str(rule.place) for rule in policy.rules] == ["/p.toml:2", "/d/1.toml:2"]
    assert (policy.path, policy.qemu_acl) == ("/p.toml", True)


def test_the_problems_of_all_files_are_told() -> None:
    """One file more with a mistake is one problem more; what counts for all files stands in the first."""
    policy, problems = parse(
        ("/p.toml", b"[[allow]]\nbridge='a'\n[end]"),
        [
            ("/d/1.toml", b"qemu_acl = true\n[end]"),
            ("/d/2.toml", b""),
            ("/d/3.toml", b"[[allow]]\nbridge=['a']\n[end]"),
        ],
    )
    assert policy is None
    assert [str(problem) for problem in problems] == [
        "/d/1.toml:1: `qemu_acl' counts for all files; write it at the top of policy.toml",
        f"/d/2.toml:1: {WHOLE}",
        "/d/3.toml:1: the same bridges, users and groups as at /p.toml:1; make one rule of the two",
    ]


def test_one_mistake_anywhere_leaves_no_policy() -> None:
    """A rule that is right does not count beside one that is wrong: the wrong one may have been a deny."""
    policy, problems = parse(("/p.toml", b"[[allow]]\nbridge='a'\n[[deny]]\nbridg='a'\n[end]"))
    assert policy is None
    assert problems
