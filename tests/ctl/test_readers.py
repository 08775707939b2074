# SPDX-License-Identifier: GPL-2.0-or-later
"""Who gets through gates, worked out for all callers at once, is who gets through them one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from qbhelper.broker.permission import READ, SEARCH, Entry, Gate
from qbhelper.ctl.readers import EVERYONE, MET, UNMET, Condition, Readers, all_but, condition_of, one_of
from qbhelper.policy.who import ID_MAX, Ids, Who
from qbhelper.request import Caller
from tests.support.policies import ACCOUNTS

UIDS = (0, 1, 2, 3)
"""Of these, 3 is never named."""
GIDS = (0, 10, 11, 12)
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
BITS = st.integers(0, 7)

callers = st.builds(
    Caller,
    st.sampled_from(UIDS),
    st.sampled_from(GIDS),
    st.lists(st.sampled_from(GIDS), unique=True, max_size=3).map(tuple),
)


@st.composite
def acls(draw: st.DrawFn) -> tuple[Entry, ...]:
    """An ACL as the kernel takes it, or none."""
    if draw(st.booleans()):
        return ()
    users = sorted(draw(st.sets(st.sampled_from(UIDS[:3]), max_size=2)))
    groups = sorted(draw(st.sets(st.sampled_from(GIDS), max_size=2)))
    entries = [Entry(USER_OBJ, draw(BITS), 0), *(Entry(USER, draw(BITS), uid) for uid in users)]
    entries += [Entry(GROUP_OBJ, draw(BITS), 0), *(Entry(GROUP, draw(BITS), gid) for gid in groups)]
    if users or groups or draw(st.booleans()):
        entries.append(Entry(MASK, draw(BITS), 0))
    return (*entries, Entry(OTHER, draw(BITS), 0))


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    """Any gate: mostly those of ordinary files."""
    want = draw(st.sampled_from((READ, SEARCH)))
    mode = draw(st.sampled_from((0o755, 0o750, 0o700, 0o711)) | st.integers(0, 0o777))
    return Gate(want, mode, draw(st.sampled_from(UIDS[:3])), draw(st.sampled_from(GIDS)), draw(acls()))


ways = st.lists(gates(), max_size=4)


def get_through(way: list[Gate], caller: Caller) -> bool:
    """Whether a caller passes every gate: what the broker says of them."""
    return all(gate.lets_pass(caller) for gate in way)


def meets(caller: Caller, condition: Condition) -> bool:
    """Whether a caller fulfils every clause."""
    groups = {caller.gid, *caller.groups}
    return all(wanted & groups or unwanted - groups for wanted, unwanted in condition)


def means(who: Who, caller: Caller) -> bool:
    """Whether a rule for `who` is for a caller."""
    return bool(who.includes(caller, ACCOUNTS))


@given(gates(), callers)
def test_the_condition_of_a_gate_is_what_it_asks(gate: Gate, caller: Caller) -> None:
    """As permission.py decides for one caller, in the words of groups."""
    named = {gate.uid, *(entry.number for entry in gate.acl if entry.tag == USER)}
    uid = caller.uid if caller.uid in named else None
    assert meets(caller, condition_of(gate, uid)) == gate.lets_pass(caller)


@given(ways, callers)
def test_the_condition_of_a_way_is_that_of_all_its_gates(way: list[Gate], caller: Caller) -> None:
    """What is left out of it follows from the rest."""
    readers = Readers(way)
    condition = readers.condition(caller.uid if caller.uid in readers.named else None)
    assert meets(caller, condition) == get_through(way, caller)
    assert condition in (MET, UNMET) or all(not (wanted & unwanted) for wanted, unwanted in condition)


@settings(max_examples=500)
@given(ways, st.lists(callers, min_size=1, max_size=12))
def test_what_a_rule_says_is_who_gets_through(way: list[Gate], several: list[Caller]) -> None:
    """Either no rule can say it, or the rule is for exactly those."""
    who = Readers(way).who()
    for caller in several:
        assert who is None or means(who, caller) == get_through(way, caller)


@given(ways, ways, st.lists(callers, min_size=1, max_size=12))
def test_those_who_are_among_others_get_through_where_those_do(
    way: list[Gate], other: list[Gate], several: list[Caller]
) -> None:
    """So a way that leads nobody anywhere new may be left out."""
    if Readers(way).are_among(Readers(other)):
        assert all(get_through(other, caller) for caller in several if get_through(way, caller))
    assert Readers([*way, *other]).are_among(Readers(other))


def test_other_users_make_other_readers() -> None:
    """Two files for one group, each of another owner."""
    ours, theirs = (Readers([Gate(READ, 0o640, uid, 10, ())]) for uid in (1000, 1001))
    nobodys = Readers([Gate(READ, 0o040, 1000, 10, ())])
    assert not ours.are_among(theirs)
    assert not theirs.are_among(ours)
    assert nobodys.are_among(ours)
    assert not ours.are_among(nobodys)


@given(st.lists(ways, max_size=3), callers)
def test_one_of_several_is_whom_any_of_them_means(several: list[list[Gate]], caller: Caller) -> None:
    """The rule for a file that is included from more than one place."""
    whos = [who for who in (Readers(way).who() for way in several) if who is not None]
    assert means(one_of(whos), caller) == any(means(who, caller) for who in whos)


@given(st.sets(st.sampled_from((0, 1, 2, ID_MAX - 1, ID_MAX))), st.sampled_from((0, 1, 2, 3, ID_MAX - 1, ID_MAX)))
def test_all_but_some_are_all_others(some: set[int], uid: int) -> None:
    """At both ends of the numbers, too."""
    assert means(all_but(some), Caller(uid, 0, ())) == (uid not in some)


def test_common_modes_are_said_as_people_would() -> None:
    """What administrators do has an answer, and the one that they expect."""

    def who(mode: int, uid: int = 0, gid: int = 10, acl: tuple[Entry, ...] = ()) -> str:
        return str(Readers([Gate(SEARCH, 0o755, 0, 0, ()), Gate(READ, mode, uid, gid, acl)]).who())

    assert who(0o644) == "everyone"
    assert who(0o640) == "users 0 or groups 10"
    assert who(0o600, uid=1000) == "users 1000"
    assert who(0o640, uid=1000) == "users 1000 or groups 10"
    assert who(0o044, uid=1000) == f"users 0-999, 1001-{ID_MAX}"
    acl = (Entry(USER_OBJ, 6, 0), Entry(USER, 4, 1000), Entry(GROUP_OBJ, 0, 0), Entry(GROUP, 4, 11))
    assert who(0o640, acl=(*acl, Entry(MASK, 4, 0), Entry(OTHER, 0, 0))) == "users 0, 1000 or groups 11"
    assert who(0o604) == "None"


def test_the_same_group_on_the_whole_way_is_one_condition() -> None:
    """A directory and a file for one group: no conjunction."""
    way = [Gate(SEARCH, 0o750, 0, 10, ()), Gate(READ, 0o640, 0, 10, ())]
    assert str(Readers(way).who()) == "users 0 or groups 10"
    assert Readers([*way, Gate(READ, 0o640, 0, 11, ())]).who() is None


def test_a_group_that_is_wanted_and_shut_out_leaves_only_the_owner() -> None:
    """What can't be fulfilled is nobody, and not a riddle."""
    way = [Gate(SEARCH, 0o705, 0, 10, ()), Gate(READ, 0o640, 0, 10, ())]
    assert str(Readers(way).who()) == "users 0"


def test_everyone_is_without_users_and_groups() -> None:
    """The rule that has neither is for all (policy/who.py)."""
    assert str(Readers().who()) == str(EVERYONE) == str(one_of([Who(Ids((), ((1, 1),))), EVERYONE])) == "everyone"
