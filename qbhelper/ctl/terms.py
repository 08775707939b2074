# SPDX-License-Identifier: GPL-2.0-or-later
"""The terms of a rule in the words of the policy's language, from its one table of settings."""

from collections.abc import Sequence

from qbhelper.policy.port import PLAIN_TERMS, Terms
from qbhelper.policy.settings import ALLOW, DENY, SETTINGS

Value = bool | int | str | None | list[str] | list[int]
"""As JSON can have it."""

WORDS = tuple(
    setting.name
    for setting in SETTINGS
    if ALLOW in setting.scopes and DENY not in setting.scopes and setting.name != "expires"
)
"""The settings of an allow that are about the port, and not about whom and what the rule speaks of."""

_WITHOUT_MARKS = str.maketrans("", "", '"[],')
_RATES = {setting.name for setting in SETTINGS if setting.unit == "bit/s"}


def values_of(terms: Terms) -> dict[str, Value]:
    """Return all that a rule gives, for a program: each setting by its word; a rate in bit/s, None for no limit."""
    return {word: _plain(_value(terms, word)) for word in WORDS}


def changes_of(terms: Terms) -> dict[str, str]:
    """Return what a rule gives unlike an access list: by word, each value as it is written in a policy."""
    return {word: written(word, _plain(_value(terms, word))) for word in _changed(terms)}


def in_words(terms: Terms) -> list[str]:
    """Return what a rule gives unlike an access list, each setting as briefly as it can be understood."""
    found = []
    for word in _changed(terms):
        value = _plain(_value(terms, word))
        if isinstance(value, bool):
            found.append(word if value else f"no {word}")
        else:
            found.append(f"{word} {written(word, value).translate(_WITHOUT_MARKS)}")
    return found


def written(word: str, value: Value) -> str:
    """Return a value as it is written in a policy."""
    if isinstance(value, list):
        if word == "trunk":
            entries = [f'"{run}"' if "-" in run else run for run in ranges(value)]
        else:
            entries = [written(word, entry) for entry in value]
        return f"[{', '.join(entries)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'  # none of these has a quote in it
    return f'"{rate(value)}"' if word in _RATES and value is not None else str(value)


def rate(bits: int) -> str:
    """Return a rate (bit/s) as a policy has it: in the largest unit that leaves it whole."""
    for factor, unit in ((10**12, "tbit"), (10**9, "gbit"), (10**6, "mbit"), (10**3, "kbit")):
        if bits % factor == 0:
            return f"{bits // factor}{unit}"
    return f"{bits}bit"


def mac(address: bytes) -> str:
    """Return a MAC address (six bytes) as it is written."""
    return address.hex(":")


def _changed(terms: Terms) -> list[str]:
    return [word for word in WORDS if _value(terms, word) != _value(PLAIN_TERMS, word)]


def _value(terms: Terms, word: str) -> object:
    return getattr(terms, word) if hasattr(terms, word) else getattr(terms.port, word)


def _plain(value: object) -> Value:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, frozenset):
        return sorted(str(word) for word in value)
    if isinstance(value, tuple):
        if all(isinstance(entry, int) for entry in value):
            return [*value]
        return [mac(entry) if isinstance(entry, bytes) else str(entry) for entry in value]
    raise TypeError(f"a setting of a kind that is not known: {value!r}")


def ranges(numbers: Sequence[str] | Sequence[int]) -> list[str]:
    """Return numbers in ascending order, put together where they follow each other."""
    found: list[list[int]] = []
    for number in map(int, numbers):
        if found and number == found[-1][-1] + 1:
            found[-1][1:] = [number]
        else:
            found.append([number])
    return [str(bounds[0]) if len(bounds) == 1 else f"{bounds[0]}-{bounds[1]}" for bounds in found]
