# SPDX-License-Identifier: GPL-2.0-or-later
"""The differences from the original that are meant: docs/differences.md, for machines.

A difference excuses what a case shows if the case is one in which it may occur, and the two answers
look the way it says.  Anything else in which ours differs from the original is a fault.
"""

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.comparison import (
    ROOT,
    Answer,
    Aspect,
    Case,
    Fact,
    Peer,
    ask_at_once,
    ask_in_turn,
    differences_of_ports,
    differing,
    says,
)
from tests.conformance.model import Fault, Inspection, Reading, verdict_of_ours
from tests.conformance.trees import SECOND_TOP, TOP, plant
from tests.support.install import Privilege

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "differences.md"

EVERYTHING = frozenset(Aspect) - {Aspect.OWNER, Aspect.ADDRESSES, Aspect.PORT}
"""A grant turned into a refusal, or one refusal into another, changes all of these."""


@dataclass(frozen=True)
class Rule:
    """When a difference may occur, and what it then looks like."""

    may_occur: Callable[[Case], bool]
    ours: Callable[[Answer], bool]
    theirs: Callable[[Answer], bool] = lambda _: True
    touches: frozenset[Aspect] = EVERYTHING


def _granted(answer: Answer) -> bool:
    return answer.granted


def _any(_: Answer) -> bool:
    return True


def _list_has(fault: Fault) -> Callable[[Case], bool]:
    return lambda case: fault in Inspection(case.tree, case.caller).faults


def _list_means_another(fault: Fault) -> Callable[[Case], bool]:
    """Whether, because of the fault, the list gives another verdict to ours than to the original."""
    return lambda case: _list_has(fault)(case) and _verdicts_differ(case)


def reading(case: Case) -> Reading:
    """The access list of a case, as the model says the original reads it."""
    return Reading(case.tree, case.caller, cwd=case.cwd, depth_max=case.depth_max)


def _verdicts_differ(case: Case) -> bool:
    name = case.asked or b""
    return reading(case).verdict(name) != verdict_of_ours(case.tree, case.caller, name)


def _list_refused(why: bytes) -> Callable[[Answer], bool]:
    """Ours refuses the access list as a whole, for this reason."""
    return says(rb"failed to parse default acl file `/etc/qemu(-kvm)?/bridge\.conf': .*" + why)


_ABOUT_THE_SOCKET = says(rb"failed to write fd to unix socket: ")
_ABOUT_PRIVILEGE = says(rb"failed to create tun device: Operation not permitted: ")
_USAGE = says(rb"Usage: qbhelper ")


def _odd_fd(case: Case) -> bool:
    """Whether a word names a fd in another way than by its number."""
    numbers = [word[5:] for word in case.argv if word.startswith(b"--fd=")]
    return any(not re.fullmatch(rb"[0-9]+", number) or int(number) >= 2**31 for number in numbers)


def _no_stream_socket(case: Case) -> bool:
    """Whether what --fd names is no connected stream socket; the original may even find a file of its own there."""
    numbers = [word[5:] for word in case.argv if word.startswith(b"--fd=")]
    return case.peer not in (Peer.QEMU, Peer.GONE) or bool(numbers and numbers[-1].lstrip(b"0") != b"%d" % case.fd)


def _no_name_of_a_bridge(case: Case) -> bool:
    # Said again here, and not asked of ours: a fault there must not excuse itself.
    asked = case.asked
    return asked is not None and (asked in (b"", b".", b"..") or re.search(rb"[:/%\s\xa0]", asked) is not None)


def _words_are_wrong(case: Case) -> bool:
    """Whether the original, too, can make nothing of the words."""
    known = all(word == b"--use-vnet" or word.startswith((b"--br=", b"--fd=")) for word in case.argv)
    numbers = [word[5:] for word in case.argv if word.startswith(b"--fd=")]
    return not known or case.asked is None or not numbers or numbers[-1] == b"-1"


def _unprintable_words(case: Case) -> bool:
    """Whether a message would contain what is not text, or be very long."""
    asked = case.asked or b""
    return len(asked) > 1900 or any(not ord(" ") <= byte <= ord("~") for byte in asked)


def _only_the_second_place(case: Case) -> bool:
    return TOP not in case.tree.files and SECOND_TOP in case.tree.files


def _without_privilege(case: Case) -> bool:
    """Whether nothing gives CAP_NET_ADMIN to the helper."""
    if Fact.NO_NET_ADMIN in case.facts:
        return True
    if case.caller == ROOT or Fact.AMBIENT in case.facts:
        return False
    return case.privilege is Privilege.NONE or Fact.NO_NEW_PRIVS in case.facts


def _fact(fact: Fact) -> Callable[[Case], bool]:
    return lambda case: fact in case.facts


def _would_wait(case: Case) -> bool:
    return case.peer is Peer.FULL or any(file.fifo for file in case.tree.files.values())


def _root_may_not_open(case: Case) -> bool:
    """Whether modes forbid to root what the original's root does all the same: a list, or /dev/net/tun."""
    return case.caller == ROOT and (
        Fact.TUN_FORBIDDEN in case.facts or _list_means_another(Fault.ROOT_MAY_NOT_READ)(case)
    )


def _runs_out_of_files(case: Case) -> bool:
    """Whether the original has too few fds: for socket and TAP, or to follow a nested list to its end."""
    if case.spare_files is None:
        return False
    # Two fds for socket and TAP, and a third for a moment, to look up the TAP's index.
    return case.spare_files < 3 or (not Inspection(case.tree, case.caller).faults and _verdicts_differ(case))


class Difference(enum.Enum):
    """Each meant difference, by its name in docs/differences.md."""

    # What the access list means
    INCLUDE_ERROR_REFUSES = "D1 include-error-refuses"
    INCLUDE_MUST_BE_A_FILE = "D2 include-must-be-a-file"
    INCLUDES_ARE_BOUNDED = "D3 includes-are-bounded"
    INCLUDE_BESIDE_ITS_FILE = "D4 include-beside-its-file"
    NUL_BYTE_REFUSES = "D5 nul-byte-refuses"
    LONG_LINE_REFUSES = "D6 long-line-refuses"
    ACCESS_LIST_MUST_BE_A_FILE = "D7 access-list-must-be-a-file"
    SECOND_PLACE = "D8 second-place"
    FIXED_PLACE = "D9 fixed-place"
    LIMITS_DO_NOT_COUNT = "D10 limits-do-not-count"
    # What a bridge is called
    NAME_OF_A_BRIDGE = "D11 name-of-a-bridge"
    ALTNAME = "D12 altname"
    # How a helper is called
    FD_IS_A_NUMBER = "D13 fd-is-a-number"
    STREAM_SOCKET = "D14 stream-socket"
    SIGPIPE = "D15 sigpipe"
    NEVER_WAITS = "D16 never-waits"
    # Privilege
    PRIVILEGE_FIRST = "D17 privilege-first"
    ROOT_IS_NOT_ALMIGHTY = "D18 root-is-not-almighty"
    BOUNDING_SET = "D19 bounding-set"
    PERMITTED_IS_ENOUGH = "D20 permitted-is-enough"
    CORE_MUST_BE_ROOTS = "D21 core-must-be-roots"
    # The port
    OWNER = "D22 owner-and-label"
    # What is said
    USAGE_TEXT = "D23 usage-text"
    ONE_LINE = "D24 one-line"
    PRINTABLE = "D25 printable"
    BRIDGE_BEFORE_TUN = "D26 bridge-before-tun"
    SOCKET_IS_NO_STDERR = "D27 socket-is-no-stderr"
    # Also about the access list
    DENY_OF_NOTHING_REFUSES = "D28 deny-of-nothing-refuses"
    # Also about the port
    NO_IPV6_ADDRESS = "D29 no-ipv6-address"

    @property
    def id(self) -> str:
        """The stable part: D and a number."""
        return self.value.partition(" ")[0]

    @property
    def rule(self) -> Rule:
        """When it may occur, and what it looks like."""
        return _RULES[self]

    def excuses(self, case: Case, theirs: Answer, ours: Answer) -> frozenset[Aspect]:
        """The aspects that may differ, for this reason, between these two answers."""
        rule = self.rule
        applies = rule.may_occur(case) and rule.theirs(theirs) and rule.ours(ours)
        return rule.touches if applies else frozenset()


_RULES = {
    Difference.INCLUDE_ERROR_REFUSES: Rule(
        _list_has(Fault.BAD_LINE_IN_INCLUDE),
        _list_refused(rb"(Unknown command|Invalid config line|name `.*' too long)"),
    ),
    Difference.INCLUDE_MUST_BE_A_FILE: Rule(
        lambda case: case.includes_no_file or _list_has(Fault.UNUSABLE_INCLUDE)(case),
        _list_refused(
            rb"include (without a path|`.*': (not a regular file|larger than|File name too long|Too many levels))"
        ),
    ),
    Difference.INCLUDES_ARE_BOUNDED: Rule(_list_has(Fault.TOO_MANY_INCLUDES), _list_refused(rb"too many includes")),
    Difference.INCLUDE_BESIDE_ITS_FILE: Rule(_list_means_another(Fault.RELATIVE_INCLUDE), _any),
    Difference.NUL_BYTE_REFUSES: Rule(_list_has(Fault.NUL_BYTE), _list_refused(rb"NUL byte")),
    Difference.LONG_LINE_REFUSES: Rule(_list_has(Fault.LONG_LINE), _list_refused(rb"line too long")),
    Difference.ACCESS_LIST_MUST_BE_A_FILE: Rule(
        _list_has(Fault.UNUSABLE_ACCESS_LIST), _list_refused(rb"(not a regular file|larger than)")
    ),
    Difference.SECOND_PLACE: Rule(_only_the_second_place, _any, says(rb"failed to parse default acl file")),
    Difference.FIXED_PLACE: Rule(_fact(Fact.BUNDLE), _any),
    Difference.LIMITS_DO_NOT_COUNT: Rule(_runs_out_of_files, _any),
    Difference.NAME_OF_A_BRIDGE: Rule(_no_name_of_a_bridge, _USAGE),
    Difference.ALTNAME: Rule(lambda case: case.asked in case.altnames, _any),
    Difference.FD_IS_A_NUMBER: Rule(_odd_fd, _USAGE),
    Difference.STREAM_SOCKET: Rule(_no_stream_socket, _ABOUT_THE_SOCKET),
    Difference.SIGPIPE: Rule(
        lambda case: case.peer is Peer.GONE and not case.sigpipe_ignored,
        says(rb"failed to write fd to unix socket: Broken pipe"),
        lambda theirs: theirs.status == -13,
    ),
    Difference.PRIVILEGE_FIRST: Rule(_without_privilege, _ABOUT_PRIVILEGE),
    Difference.ROOT_IS_NOT_ALMIGHTY: Rule(_root_may_not_open, _any),
    Difference.NEVER_WAITS: Rule(_would_wait, says(rb"."), lambda theirs: theirs.status == -9),
    Difference.BOUNDING_SET: Rule(
        lambda case: bool(case.facts & {Fact.NO_NET_ADMIN, Fact.NO_SETPCAP}), _any, says(rb"failed to drop privileges")
    ),
    Difference.PERMITTED_IS_ENOUGH: Rule(
        _fact(Fact.PERMITTED_ONLY), _any, says(rb"failed to create tun device: Operation not permitted")
    ),
    Difference.CORE_MUST_BE_ROOTS: Rule(_fact(Fact.CORE_OF_A_USER), says(rb"failed to start .* is not root's")),
    Difference.BRIDGE_BEFORE_TUN: Rule(
        _fact(Fact.NO_TUN),
        says(rb"failed to get mtu of bridge "),
        says(rb"failed to (open /dev/net/tun|create tun device): "),
    ),
    Difference.SOCKET_IS_NO_STDERR: Rule(
        lambda case: case.fd == 2, lambda ours: ours.status == 1 and not ours.data and not ours.stderr
    ),
    Difference.DENY_OF_NOTHING_REFUSES: Rule(_list_has(Fault.DENY_OF_NOTHING), _list_refused(rb"deny of `")),
    Difference.OWNER: Rule(lambda _: True, _granted, _granted, frozenset({Aspect.OWNER})),
    Difference.NO_IPV6_ADDRESS: Rule(lambda _: True, _granted, _granted, frozenset({Aspect.ADDRESSES})),
    Difference.USAGE_TEXT: Rule(
        _words_are_wrong, _USAGE, says(rb"Usage: qemu-bridge-helper "), frozenset({Aspect.WORDS})
    ),
    Difference.ONE_LINE: Rule(
        lambda case: reading(case).complained, lambda ours: len(ours.lines) <= 1, touches=frozenset({Aspect.DETAIL})
    ),
    Difference.PRINTABLE: Rule(_unprintable_words, says(rb"."), says(rb"."), frozenset({Aspect.WORDS, Aspect.DETAIL})),
}


@dataclass(frozen=True)
class Pair:
    """The two answers to a case."""

    case: Case
    theirs: Answer
    ours: Answer

    @property
    def unexcused(self) -> set[Aspect]:
        """The aspects that differ and for which no listed difference is the reason."""
        aspects = differing(self.theirs, self.ours)
        for difference in Difference:
            aspects -= difference.excuses(self.case, self.theirs, self.ours)
        return aspects

    @property
    def excuses(self) -> set[Difference]:
        """Every listed difference that the answers show."""
        aspects = differing(self.theirs, self.ours)
        return {known for known in Difference if known.excuses(self.case, self.theirs, self.ours) & aspects}

    def __str__(self) -> str:
        ports = differences_of_ports(self.theirs, self.ours)
        what = ", ".join(aspect.value for aspect in self.unexcused) or "nothing unexpected"
        return (
            f"differs in: {what}\n{self.case}\n  original: {self.theirs}\n  ours:     {self.ours}\n  ports:    {ports}"
        )


def ask(*cases: Case) -> list[Pair]:
    """Put cases to both, all at once, their access list being on disk already."""
    return [Pair(case, *answers) for case, answers in zip(cases, ask_at_once(cases), strict=True)]


def compare(case: Case) -> Pair:
    """Put a case to both; fail if they differ in anything that docs/differences.md does not list."""
    plant(case.tree)
    return agreeing(Pair(case, *ask_in_turn(case)))


def agreeing(pair: Pair) -> Pair:
    """Fail if the answers differ in anything that docs/differences.md does not list."""
    if pair.unexcused:
        pytest.fail(str(pair), pytrace=False)
    return pair
