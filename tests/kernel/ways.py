# SPDX-License-Identifier: GPL-2.0-or-later
"""The three ways in which a helper comes to privilege, and what every answer must be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import caller, world
from tests.support.caller import Outcome


@dataclass(frozen=True)
class Way:
    """A copy of our helper, and who calls it; uid None: we ourselves, that is root."""

    helper: Path
    uid: int | None

    def call(
        self,
        *,
        bridge: str | bytes = "br0",
        vnet: bool = True,
        argv: Callable[[int], Sequence[str | bytes]] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        prepare: Callable[[], None] | None = None,
    ) -> Outcome:
        """Call the helper as QEMU does; the words are those of `caller.call`."""
        return caller.call(
            self.helper, bridge=bridge, vnet=vnet, argv=argv, uid=self.uid, env=env, cwd=cwd, prepare=prepare
        )


def refused(outcome: Outcome, start: str = "") -> str:
    """Insist on a clean refusal, and return its one line, which begins with `start`.

    Status 1, one printable line on stderr, nothing sent, and no TAP in this network.
    """
    assert outcome.status == 1, outcome
    assert (outcome.data, outcome.fds) == (b"", []), outcome
    line, end, rest = outcome.stderr.partition("\n")
    assert (end, rest) == ("\n", ""), outcome.stderr
    assert line.isprintable(), line
    assert "Traceback" not in line
    assert line.startswith(start), line
    assert taps() == frozenset()
    return line


def granted(outcome: Outcome) -> str:
    """Insist on a complete hand-over, and return the name of the TAP, which is here and attached."""
    assert outcome.granted, outcome
    assert outcome.stderr == ""
    name = outcome.tap().name
    assert name in taps()
    return name


def granted_or_refused(outcome: Outcome, start: str = "") -> None:
    """Insist that the answer is the one or the other, whole, and that closing the TAP leaves nothing."""
    if outcome.granted:
        granted(outcome)
        outcome.close()
        assert taps() == frozenset()
    else:
        refused(outcome, start)


def taps() -> frozenset[str]:
    """The TAPs of this network namespace."""
    return frozenset(name for name in world.interfaces() if Path("/sys/class/net", name, "tun_flags").exists())
