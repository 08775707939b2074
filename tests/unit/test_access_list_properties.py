# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds for every access list: random ones, damaged ones, and ones cut off anywhere."""

import contextlib
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbhelper.errors import AccessListError
from qbhelper.policy.access_list import AccessList, Rule, load, parse
from qbhelper.policy.decision import Decision, Place

NAMES = [b"br0", b"br1", b"br01", b"b", b"all0", b"virbr0"]
ASKED = [*NAMES, b"al", b"br", b"all", b"other", b""]
"""What is asked for: also names that a cut may leave of one in the file."""

rule_lines = st.builds(
    lambda keyword, name: keyword + b" " + name, st.sampled_from([b"allow", b"deny"]), st.sampled_from([*NAMES, b"all"])
)
quiet_lines = st.sampled_from([b"", b"  ", b"# allow all", b"#deny all"])
lists_of_lines = st.lists(rule_lines | quiet_lines, max_size=12)
allow_lines = st.lists(st.sampled_from([b"allow " + name for name in [*NAMES, b"all"]]) | quiet_lines, max_size=12)


def loaded(text: bytes) -> AccessList:
    """The access list of one file with this text."""
    return load(b"/list", lambda _: text)


def granted(lines: Sequence[bytes]) -> set[bytes]:
    """Which of the names that are asked for these lines allow."""
    policy = loaded(b"\n".join(lines))
    return {name for name in ASKED if policy.decide(name).allowed}


def meant(lines: Sequence[bytes]) -> set[bytes]:
    """The same, told as the contract tells it: no deny matches, and some allow does."""
    said = [tuple(line.split()) for line in lines if line.strip() and not line.startswith(b"#")]
    return {
        name
        for name in ASKED
        if not {(b"deny", name), (b"deny", b"all")} & set(said) and {(b"allow", name), (b"allow", b"all")} & set(said)
    }


@given(lists_of_lines)
def test_the_verdict_is_the_contracts(lines: list[bytes]) -> None:
    """Default is deny, any matching deny wins, else any matching allow counts."""
    assert granted(lines) == meant(lines)


@given(lists_of_lines, st.randoms(use_true_random=False))
def test_the_order_of_lines_never_changes_the_verdict(lines: list[bytes], random: Random) -> None:
    """The same lines in any order allow the same bridges."""
    shuffled = list(lines)
    random.shuffle(shuffled)
    assert granted(shuffled) == granted(lines)


@given(lists_of_lines, st.sampled_from(NAMES), st.integers(0, 12))
def test_deny_wins_wherever_it_stands(lines: list[bytes], name: bytes, position: int) -> None:
    """A deny put anywhere takes exactly its bridge away."""
    assert granted([*lines[:position], b"deny " + name, *lines[position:]]) == granted(lines) - {name}


@given(lists_of_lines, rule_lines)
def test_a_line_more_does_only_what_it_says(lines: list[bytes], line: bytes) -> None:
    """One allow more never takes a bridge away, and one deny more never gives one."""
    before, after = granted(lines), granted([*lines, line])
    assert before <= after if line.startswith(b"allow") else after <= before


@given(lists_of_lines, st.data())
def test_a_cut_loses_no_complete_line(lines: list[bytes], data: st.DataObject) -> None:
    """Of a file cut at any byte, each whole line still counts: a deny above the cut can't be lost."""
    text = b"\n".join(lines)
    cut = data.draw(st.integers(0, len(text)))
    kept = text[:cut].split(b"\n")
    with contextlib.suppress(AccessListError):
        assert granted(kept) <= granted(kept[:-1]) | _spelled_by(kept[-1])


@given(allow_lines, st.data())
def test_a_cut_of_allows_grants_no_more_than_was_written(lines: list[bytes], data: st.DataObject) -> None:
    """A file of allows that is cut grants what the whole file does, or the name that the last line then spells."""
    text = b"\n".join(lines)
    kept = text[: data.draw(st.integers(0, len(text)))]
    with contextlib.suppress(AccessListError):
        assert granted(kept.split(b"\n")) <= granted(lines) | _spelled_by(kept.rpartition(b"\n")[2])


def _spelled_by(line: bytes) -> set[bytes]:
    """The names that one line, read alone, allows."""
    return granted([line])


@given(st.binary(max_size=300) | st.text(alphabet="alowdenyicu \t\r\n\f\0#br01./", max_size=300).map(str.encode))
def test_no_bytes_lead_to_anything_but_rules_or_an_access_list_error(text: bytes) -> None:
    """Whatever is in the file, it is read completely or refused with its place on one printable line."""
    places = []
    try:
        places += [str(statement.place) for statement in parse(text, "/list")]
    except AccessListError as error:
        places.append(str(error))
    assert all(place.startswith("/list:") and place.isprintable() for place in places)


@given(lists_of_lines, st.integers(0, 12), st.sampled_from([b"x", b"allow\0", b"include ", b"alow br0", b"." * 4096]))
def test_one_bad_line_anywhere_grants_nothing(lines: list[bytes], position: int, bad: bytes) -> None:
    """An error on any line refuses the whole file, whatever the lines around it say."""
    with pytest.raises(AccessListError):
        granted([*lines[:position], bad, *lines[position:]])


@given(lists_of_lines, st.sampled_from(ASKED))
def test_the_line_that_decided_is_named(lines: list[bytes], name: bytes) -> None:
    """A verdict names a line that speaks of the bridge and says so; no place means that no line does."""
    decision = loaded(b"\n".join(lines)).decide(name)
    if decision.place is None:
        assert not decision.allowed
        assert not {b"allow " + name, b"deny " + name, b"allow all", b"deny all"} & set(lines)
    else:
        keyword = b"allow" if decision.allowed else b"deny"
        assert lines[decision.place.line - 1] in (keyword + b" " + name, keyword + b" all")


def test_a_decision_has_no_truth_value() -> None:
    """Code that takes a decision for a yes fails instead of granting."""
    with pytest.raises(TypeError):
        bool(Decision(allowed=False, place=None))


def test_a_wildcard_is_not_a_name() -> None:
    """`all` matches every bridge and a name matches itself alone, byte by byte."""
    place = Place("/list", 1)
    assert Rule(True, None, place).matches(b"anything")
    assert not Rule(True, b"br0", place).matches(b"br01")
    assert not Rule(True, b"br0", place).matches(b"BR0")
