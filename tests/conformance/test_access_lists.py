# SPDX-License-Identifier: GPL-2.0-or-later
"""Access lists mean to ours what they mean to the original: grammar, includes, and who may read them."""

import errno
import itertools
import os
from collections import Counter
from collections.abc import Iterable
from random import Random

import pytest

from qbhelper.errors import AccessListError
from qbhelper.policy import access_list
from tests.conformance.comparison import PLAIN, ROOT, Case
from tests.conformance.differences import Pair, agreeing, ask, compare, reading
from tests.conformance.model import Caller, verdict_of_ours
from tests.conformance.trees import BRIDGES, ELSEWHERE, GROUP, HOME, TOP, File, Grower, Tree, plant, shrink
from tests.support import world
from tests.support.install import Privilege

pytestmark = [pytest.mark.conformance, pytest.mark.needs_root]

SEED = 20261121
"""Of all random trees; the number of a tree is added to it."""
BATCHES, TREES_IN_A_BATCH = 12, 260
TREES_IN_PROCESS = 20_000
TREES_ON_A_BRIDGE = 60

SPARE_FILES = 6
"""A tree has five files at most, so this follows all of it; and a loop ends soon, where the usual
thousand would let two includes in one loop run for ever."""

IN_THE_GROUP = Caller(61235, 61235, (GROUP,))
CALLERS = (PLAIN, PLAIN, PLAIN, PLAIN, IN_THE_GROUP, IN_THE_GROUP, IN_THE_GROUP, ROOT)


def random_case(number: int) -> Case:
    """Return the case of this number: always the same one."""
    random = Random(SEED + number)
    tree = Grower(random).tree()
    return Case(tree, random.choice(BRIDGES), caller=random.choice(CALLERS), spare_files=SPARE_FILES)


def answered_by_original(pair: Pair) -> bool | None:
    """Return what the access list meant to the original, by its words: there is no such bridge."""
    words = pair.theirs.words
    if words.startswith(b"failed to parse default acl file"):
        return None
    assert words.startswith((b"failed to get mtu of bridge", b"access denied by acl file")), pair
    return words.startswith(b"failed to get mtu")


def together(cases: Iterable[Case]) -> list[Pair]:
    """Put cases of one tree to both, all at once; fail if they differ in anything that is not listed."""
    cases = list(cases)
    plant(cases[0].tree)
    return [agreeing(pair) for pair in ask(*cases)]


def with_tree(case: Case, tree: Tree) -> Case:
    """Return the same case with another tree."""
    return Case(tree, case.bridge, caller=case.caller, spare_files=case.spare_files)


def fail_with_the_smallest(case: Case, number: int) -> None:
    """Make the tree as small as it can be while the two still differ, and fail with that."""

    def differs(tree: Tree) -> bool:
        plant(tree)
        return bool(ask(with_tree(case, tree))[0].unexcused)

    smallest = with_tree(case, shrink(case.tree, differs))
    plant(smallest.tree)
    [pair] = ask(smallest)
    pytest.fail(f"tree {number} of seed {SEED}, made small, {pair}", pytrace=False)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_trees_mean_the_same_to_both(batch: int) -> None:
    """Of thousands of random trees, both programs answer every one alike, but for what is listed."""
    answers: Counter[bool | None] = Counter()
    for number in range(batch * TREES_IN_A_BATCH, (batch + 1) * TREES_IN_A_BATCH):
        case = random_case(number)
        plant(case.tree)
        [pair] = ask(case)
        if pair.unexcused:
            fail_with_the_smallest(case, number)
        answers[answered_by_original(pair)] += 1
        assert answered_by_original(pair) == reading(case).verdict(case.bridge), f"the model is wrong about {pair}"
    # A generator that has become dull would prove nothing.
    assert min(answers[True], answers[False], answers[None]) > TREES_IN_A_BATCH / 12, answers


def test_our_reader_means_what_the_original_means() -> None:
    """Of many more trees, our reader alone gives the verdict that follows from the original's and the list."""
    answers: Counter[bool | None] = Counter()
    for number in range(1_000_000, 1_000_000 + TREES_IN_PROCESS):
        case = random_case(number)
        ours = read_in_process(case)
        assert ours == verdict_of_ours(case.tree, case.caller, case.bridge), f"tree {number} of seed {SEED}: {case}"
        answers[ours] += 1
    assert min(answers.values()) > TREES_IN_PROCESS / 12, answers


def read_in_process(case: Case) -> bool | None:
    """Judge a tree with our reader, from memory; None where it refuses the whole list."""

    def read(path: bytes) -> bytes:
        if any(len(part) > 255 for part in path.split(b"/")):
            raise OSError(errno.ENAMETOOLONG, "File name too long")
        name = os.path.normpath(os.fsdecode(path))
        file = case.tree.files.get(name)
        if file is None:
            raise FileNotFoundError
        if not case.caller.may_read(file):
            raise PermissionError
        if file.content is None:
            raise OSError(errno.EINVAL, "not a regular file")
        return file.content

    try:
        return access_list.load(os.fsencode(TOP), read).decide(case.bridge).allowed
    except (AccessListError, OSError):
        return None


def test_random_trees_open_a_real_bridge_to_the_same_callers(br0: str) -> None:
    """What a random tree allows is not only said but done: the port is made, or is not, by both alike."""
    granted = 0
    for number in range(2_000_000, 2_000_000 + TREES_ON_A_BRIDGE):
        case = random_case(number)
        files = {
            path: File(
                file.content.replace(b"qa", br0.encode()) if file.content else file.content, file.mode, 0, file.gid
            )
            for path, file in case.tree.files.items()
        }
        granted += compare(Case(Tree(files), b"br0", caller=case.caller, spare_files=SPARE_FILES)).ours.granted
    assert granted >= TREES_ON_A_BRIDGE / 8


# --- The grammar, case by case ----------------------------------------------------------------

NAME_15, NAME_16, NAME_17 = b"n" * 15, b"n" * 16, b"n" * 17

LISTS = {
    "nothing at all": b"",
    "one allow": b"allow qa\n",
    "one deny": b"deny qa\n",
    "another bridge": b"allow qb\n",
    "allow all": b"allow all\n",
    "deny all": b"deny all\n",
    "deny after allow": b"allow qa\ndeny qa\n",
    "deny before allow": b"deny qa\nallow qa\n",
    "allow all, deny one": b"allow all\ndeny qa\n",
    "allow one, deny all": b"allow qa\ndeny all\n",
    "allow all, deny another": b"allow all\ndeny qb\n",
    "the same twice": b"allow qa\nallow qa\n",
    "no final newline": b"allow qa",
    "CRLF": b"allow qa\r\ndeny qb\r\n",
    "lone CR": b"allow qb\rallow qa\n",
    "leading blanks": b" \t\f\r allow qa\n",
    "leading vertical tab": b"\vallow qa\n",
    "trailing blanks": b"allow qa \t\f\r\n",
    "trailing vertical tab": b"allow qa\v\n",
    "many blanks between": b"allow    qa\n",
    "a tab between": b"allow\tqa\n",
    "tab, then blank": b"allow\t qa\n",
    "blank, then tab": b"allow \tqa\n",
    "a tab between and a comment": b"allow\tqa # comment\n",
    "form feed between": b"allow\fqa\n",
    "blank lines": b"\n  \n\t\n\f\r\nallow qa\n",
    "vertical tab alone": b"\v\n",
    "comments": b"# one\n  # two\n#allow qb\nallow qa\n",
    "comment that denies": b"allow qa\n#deny qa\n",
    "trailing comment": b"allow qa # yes\n",
    "short trailing comment": b"deny qa #\nallow qa\n",
    "two names": b"allow qa qb\n",
    "keyword in capitals": b"ALLOW qa\n",
    "all in capitals": b"allow ALL\n",
    "keyword alone": b"allow\n",
    "keyword and blank": b"allow \n",
    "include alone": b"include\n",
    "unknown keyword": b"permit qa\n",
    "unknown keyword after what counts": b"allow qa\npermit qa\n",
    "no keyword": b"qa\n",
    "name of 15 bytes": b"allow " + NAME_15 + b"\n",
    "name of 16 bytes": b"allow " + NAME_16 + b"\n",
    "name of 17 bytes": b"deny " + NAME_17 + b"\nallow all\n",
    "name of 16 bytes after what counts": b"allow qa\nallow " + NAME_16 + b"\n",
    "quotes": b'allow "qa"\n',
    "pattern": b"allow q*\n",
    "NBSP after the keyword": b"allow\xc2\xa0qa\n",
    "NBSP after the name": b"allow qa\xc2\xa0\n",
    "byte order mark": b"\xef\xbb\xbfallow qa\n",
    "no UTF-8 in a comment": b"# \xff\xfe\nallow qa\n",
    "no UTF-8 in a name": b"allow q\xff\n",
    "UTF-8 name": "allow qü\n".encode(),
    "NUL in a comment": b"# \0\nallow qa\n",
    "NUL in a name": b"allow qa\0b\n",
    "NUL line": b"\0\nallow qa\n",
    "NUL before deny": b"allow qa\n\0deny qa\n",
    **{
        f"comment of {size} bytes": b"#" + b"x" * (size - 1) + b"\nallow qa\n"
        for size in (4094, 4095, 4096, 4097, 9000)
    },
    **{f"allow behind byte {size}": b"#" + b"x" * (size - 1) + b"allow qa\n" for size in (4094, 4095, 4096)},
    **{f"deny behind byte {size}": b"allow qa\n#" + b"x" * (size - 1) + b"deny qa\n" for size in (4094, 4095, 4096)},
    **{f"rule padded to {size} bytes": b"allow qa".ljust(size) + b"\n" for size in (4094, 4095, 4096, 4097)},
    **{f"rule padded to {size} bytes at the end": b"allow qa".ljust(size) for size in (4094, 4095, 4096, 4097)},
}
ASKED = (b"qa", b"q\xff", "qü".encode(), NAME_15, b"all", b"ALL")


@pytest.mark.parametrize("name", LISTS)
def test_each_turn_of_the_grammar_means_the_same(name: str) -> None:
    """Every form a line can have gives both the same verdict on every name, in the list and in an include."""
    for tree in (Tree.of(LISTS[name]), Tree.of(f"include {HOME}/inner.conf\n", inner=LISTS[name])):
        together(Case(tree, bridge) for bridge in ASKED)


INCLUDES = {
    "of a list that allows": Tree.of(f"include {HOME}/a.conf\n", a="allow qa\n"),
    "of a list that denies": Tree.of(f"allow all\ninclude {HOME}/a.conf\n", a="deny qa\n"),
    "nested": Tree.of(
        f"include {HOME}/a.conf\n", a=f"include {HOME}/b.conf\n", b=f"include {HOME}/c.conf\n", c="allow qa\n"
    ),
    "twice the same": Tree.of(f"include {HOME}/a.conf\ninclude {HOME}/a.conf\n", a="allow qa\n"),
    "of itself": Tree.of(f"include {TOP}\nallow qa\n"),
    "in a loop": Tree.of(
        f"include {HOME}/a.conf\n", a=f"include {HOME}/b.conf\nallow qa\n", b=f"include {HOME}/a.conf\ndeny qb\n"
    ),
    "of what is missing": Tree.of(f"include {HOME}/a.conf\nallow qa\n"),
    "of what lies under a file": Tree.of(f"include {TOP}/a.conf\nallow qa\n"),
    "of a directory": Tree.of(f"include {HOME}/a\nallow qa\n").plus(f"{HOME}/a", File(None, 0o755)),
    "of a directory that may not be read": Tree.of(f"include {HOME}/a\nallow qa\n").plus(
        f"{HOME}/a", File(None, 0o700)
    ),
    "of nothing": Tree.of("include \nallow qa\n"),
    "of an empty file": Tree.of(f"include {HOME}/a.conf\nallow qa\n", a=""),
    "with blanks in the path": Tree.of(f"include {HOME}/a b.conf\n", **{"a b": "allow qa\n"}),
    "with blanks about the path": Tree.of(f"include \t{HOME}/a.conf \r\n", a="allow qa\n"),
    "with a comment behind": Tree.of(f"include {HOME}/a.conf # mine\nallow qb\n", a="allow qa\n"),
    "in quotes": Tree.of(f'include "{HOME}/a.conf"\nallow qb\n', a="allow qa\n"),
    "by a pattern": Tree.of(f"include {HOME}/*.conf\nallow qb\n", a="allow qa\n"),
    "by a crooked path": Tree.of(f"include {HOME}//./../qemu/a.conf\n", a="allow qa\n"),
    "with an error inside": Tree.of(f"include {HOME}/a.conf\nallow qa\n", a="allow qb\npermit qa\ndeny qa\n"),
    "that is relative, and only beside": Tree.of("include a.conf\n", a="allow qa\n"),
    "that is relative, and only elsewhere": Tree.of("include a.conf\n").plus(
        f"{ELSEWHERE}/a.conf", File(b"allow qa\n")
    ),
    "that is too long a name": Tree.of(f"include {HOME}/{'x' * 256}\nallow qa\n"),
    "that is too long a path": Tree.of(f"include /{'x/' * 2040}\nallow qa\n"),
}


@pytest.mark.parametrize("name", INCLUDES)
def test_each_kind_of_include_means_the_same(name: str) -> None:
    """Whatever is included, both give the same verdict, but for what is listed."""
    together(
        Case(INCLUDES[name], bridge, caller=caller, spare_files=20)
        for caller, bridge in itertools.product((PLAIN, ROOT), (b"qa", b"qb"))
    )


def test_a_symbolic_link_is_followed_by_both() -> None:
    """An access list, or an include, may be a link to a file; a dangling one is missing."""
    tree = Tree.of("allow qb\n", a="allow qa\n")
    plant(tree)
    os.symlink("a.conf", f"{HOME}/link.conf")
    os.symlink("nowhere", f"{HOME}/dangling.conf")
    for name in ("link", "dangling"):
        world.write_access_list(f"allow qb\ninclude {HOME}/{name}.conf\n")
        for pair in ask(Case(tree, b"qa"), Case(tree, b"qb")):
            agreeing(pair)
    for target in ("a.conf", "nowhere"):
        os.unlink(TOP)
        os.symlink(target, TOP)
        agreeing(*ask(Case(tree, b"qa")))


# --- Who may read what ------------------------------------------------------------------------

OWNERS = ((0, 0), (0, GROUP), (0, 61235), (PLAIN.uid, PLAIN.gid), (PLAIN.uid, GROUP), (61235, 0))
MODES = (0o000, 0o004, 0o040, 0o200, 0o400, 0o440, 0o600, 0o604, 0o640, 0o644)
READERS = (
    PLAIN,
    Caller(PLAIN.uid, GROUP),
    Caller(PLAIN.uid, PLAIN.gid, (GROUP, 61235)),
    IN_THE_GROUP,
    Caller(61236, 61235),
    Caller(61236, 0),
    Caller(61236, 61236, (0,)),
    ROOT,
)


@pytest.mark.parametrize("privilege", [Privilege.SETUID, Privilege.FILE_CAPABILITY], ids=lambda way: way.value)
@pytest.mark.parametrize("place", ["access list", "include"])
def test_a_file_counts_for_exactly_those_who_may_read_it(place: str, privilege: Privilege) -> None:
    """For every owner, group and mode of a list, and every caller, both read it or both do not."""
    answers: Counter[bytes] = Counter()
    for (uid, gid), mode in itertools.product(OWNERS, MODES):
        file = File(b"deny qa\n", mode, uid, gid)
        if place == "include":
            tree = Tree.of(f"allow all\ninclude {HOME}/a.conf\n").plus(f"{HOME}/a.conf", file)
        else:
            tree = Tree({TOP: file})
        pairs = together(Case(tree, b"qa", caller=reader, privilege=privilege) for reader in READERS)
        answers.update(pair.ours.words[:20] for pair in pairs)
    assert len(answers) == 2
    assert min(answers.values()) > answers.total() / 4


ACLS = {
    "user:61234:r": 0o600,
    "user:61235:r": 0o600,
    "user:61234:---": 0o644,
    "group:61300:r": 0o600,
    "group:61300:---": 0o644,
    "group:61300:---,group:61235:r": 0o644,
    "user:61234:r,mask::---": 0o640,
    "user:61235:---,group:61300:r": 0o644,
    "group:61300:r,mask::---": 0o644,
    "user:0:---": 0o644,
}


@pytest.mark.parametrize("entries", ACLS)
def test_a_posix_acl_counts_alike_for_both(entries: str) -> None:
    """An include with a POSIX ACL is read, or passed over, by both for the same callers."""
    tree = Tree.of(f"allow all\ninclude {HOME}/a.conf\n").plus(f"{HOME}/a.conf", File(b"deny qa\n", ACLS[entries]))
    plant(tree)
    world.run("setfacl", "-m", entries, f"{HOME}/a.conf")
    for pair in ask(*(Case(tree, b"qa", caller=caller) for caller in READERS)):
        agreeing(pair)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o444, 0o111, 0o711, 0o750, 0o705, 0o755], ids=oct)
@pytest.mark.parametrize("owner", [(0, 0), (0, GROUP), (PLAIN.uid, 0)], ids=str)
def test_a_directory_must_let_the_caller_through(owner: tuple[int, int], mode: int) -> None:
    """An include in a directory counts for exactly those whom the directory lets through."""
    tree = Tree.of(f"allow all\ninclude {HOME}/private/a.conf\n").plus(f"{HOME}/private", File(None, mode, *owner))
    tree = tree.plus(f"{HOME}/private/a.conf", File(b"deny qa\n"))
    plant(tree)
    for pair in ask(*(Case(tree, b"qa", caller=caller) for caller in (PLAIN, IN_THE_GROUP, Caller(61236, 0)))):
        agreeing(pair)
