# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads what `iptables-save` writes (iptables-save(8), iptables-extensions(8))."""

import shlex
from collections.abc import Iterator

from qbhelper.ctl.doctor.filtering import Act, Chain, Fits, Frame, Rule, all_of, fits_if, inverted

FORWARD = "FORWARD"
"""The chain for what is routed or bridged; the tables filter, mangle and security have one."""

_ACTS = {"ACCEPT": Act.ACCEPT, "DROP": Act.DROP, "REJECT": Act.DROP, "RETURN": Act.RETURN}
_UNKNOWN = {"QUEUE", "NFQUEUE"}
"""Targets by which another program decides."""
_FLAGS = {"--physdev-is-bridged", "--physdev-is-in", "--physdev-is-out"}
"""True of each frame that is bridged."""


def parse(text: str, frame: Frame) -> dict[str, dict[str, Chain]]:
    """Return the chains of each table, as they are for `frame`."""
    tables: dict[str, dict[str, Chain]] = {}
    chains: dict[str, Chain] = {}
    added = []
    for line in text.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            chains[name] = Chain(_ACTS.get(policy))
        elif line.startswith("-A"):
            added.append((chains, shlex.split(line)[1:]))
    # Only now it is known which targets are chains.
    for chains, (name, *words) in added:
        rule = _rule(words, chains, frame)
        if rule is not None and name in chains:
            chains[name].rules.append(rule)
    return tables


def _rule(words: list[str], chains: dict[str, Chain], frame: Frame) -> Rule | None:
    """Return a rule; None for one that decides nothing."""
    fits: list[Fits] = []
    negated = False
    left = iter(words)
    for word in left:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            # What follows belongs to the target.
            return _act(next(left), chains, all_of(fits), goes=word == "-g")
        found = _match(word, left, frame)
        fits.append(inverted(found) if negated else found)
        negated = False
    return None


def _match(word: str, left: Iterator[str], frame: Frame) -> Fits:
    """Return whether an option with its values, the next ones in `left`, is about the frame."""
    if word in _FLAGS:
        return Fits.YES
    if not word.startswith("-"):  # a value of an option that is not known
        return Fits.MAYBE
    if word in ("-m", "--comment", "--match"):
        next(left)
        return Fits.YES
    if word in ("-i", "-o"):
        name = next(left)
        return fits_if(frame.bridge.startswith(name[:-1]) if name.endswith("+") else frame.bridge == name)
    if word == "-p":
        return fits_if(next(left) in ("tcp", "6", "all", "0"))
    if word in ("--ctstate", "--state"):
        return fits_if("NEW" in next(left).split(","))
    return Fits.MAYBE


def _act(target: str, chains: dict[str, Chain], fits: Fits, *, goes: bool) -> Rule | None:
    if target in chains:
        return Rule(fits, Act.GOTO if goes else Act.JUMP, target)
    if target in _ACTS:
        return Rule(fits, _ACTS[target])
    return Rule(fits, Act.UNKNOWN) if target in _UNKNOWN else None
