# SPDX-License-Identifier: GPL-2.0-or-later
"""What a chain of rules does to the first frame of a TCP connection that is bridged from one port to another.

Not each match is understood, and none of addresses and ports is: which ones a guest will use, nobody knows here.  So a
rule fits, does not fit, or may fit, and a chain has one end for what only such rules could have stopped on the way.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

IPV4, IPV6 = "ip", "ip6"
"""The protocols, as nftables calls them."""


class Fits(enum.IntEnum):
    """Whether a match or a rule is about the frame; the lesser one counts where there are several."""

    NO = 0
    MAYBE = 1
    YES = 2


class Act(enum.Enum):
    """What a rule has done with a frame that it fits."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Rule:
    """fits: whether it is about the frame; act: what it does then, to: with which chain."""

    fits: Fits
    act: Act
    to: str = ""


@dataclass
class Chain:
    """policy: what is done with what no rule stops; None for a chain that others jump to."""

    policy: Act | None = None
    rules: list[Rule] = field(default_factory=list)


@dataclass(frozen=True)
class End:
    """act: ACCEPT, DROP, or RETURN to the chain before; other: the acts of rules on the way that may fit."""

    act: Act
    other: frozenset[Act] = frozenset()


@dataclass(frozen=True)
class Frame:
    """What is bridged.  bridge: the name of the bridge; protocol: IPV4 or IPV6."""

    bridge: str
    protocol: str


def end_of(chains: Mapping[str, Chain], name: str) -> End:
    """Return how a chain ends.  Without end: the kernel takes no chain that leads back to itself."""
    end = _end(chains, chains[name].rules)
    policy = chains[name].policy
    if policy is None:
        return end
    return End(
        policy if end.act is Act.RETURN else end.act,
        frozenset(policy if act is Act.RETURN else act for act in end.other),
    )


def _end(chains: Mapping[str, Chain], rules: Sequence[Rule]) -> End:
    other: set[Act] = set()
    for rule in rules:
        if rule.fits is Fits.NO:
            continue
        end = End(rule.act)
        if rule.act in (Act.JUMP, Act.GOTO):
            end = end_of(chains, rule.to) if rule.to in chains else End(Act.UNKNOWN)
        goes_on = rule.act is Act.JUMP and end.act is Act.RETURN
        # What may come back from a chain that ends all else goes on here: too much to follow.
        comes_back = rule.act is Act.JUMP and not goes_on
        other |= {Act.UNKNOWN if comes_back and act is Act.RETURN else act for act in end.other}
        if goes_on:
            other -= {Act.RETURN}
        elif rule.fits is Fits.YES and end.act is not Act.UNKNOWN:
            return End(end.act, frozenset(other))
        else:
            other.add(end.act)
    return End(Act.RETURN, frozenset(other))


def all_of(fits: Sequence[Fits]) -> Fits:
    """Return whether a rule with these matches fits."""
    return min(fits, default=Fits.YES)


def inverted(fits: Fits) -> Fits:
    """Return whether the opposite of a match fits."""
    return Fits(2 - fits)


def fits_if(is_so: bool) -> Fits:
    """Return YES or NO."""
    return Fits.YES if is_so else Fits.NO
