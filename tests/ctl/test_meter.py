# SPDX-License-Identifier: GPL-2.0-or-later
"""The rates that `qbhelperctl status --watch` shows: of counts that are made up."""

from types import SimpleNamespace
from typing import Any, cast

from qbhelper.ctl.watch import INTERVAL, Meter


class TestMeter:
    """What makes rates of counts."""

    def test_a_rate_is_of_the_time_that_has_passed(self) -> None:
        """In bit/s, both ways; of a port that has just come there is none."""
        meter = Meter()
        assert meter.read(_counted({7: (100, 1000)}), 50.0) == {}
        rates = meter.read(_counted({7: (100 + 500, 1000), 8: (9, 9)}), 52.0)
        assert rates == {7: (2000, 0)}

    def test_a_look_at_once_keeps_the_rate(self) -> None:
        """What goes through in a moment says little."""
        meter = Meter()
        meter.read(_counted({7: (0, 0)}), 0.0)
        first = dict(meter.read(_counted({7: (1000, 0)}), INTERVAL))
        assert meter.read(_counted({7: (1_000_000, 0)}), INTERVAL + 0.01) == first
        assert meter.read(_counted({7: (2000, 0)}), 2 * INTERVAL) == first

    def test_a_count_that_begins_anew_is_no_negative_rate(self) -> None:
        """An index may be given to another interface."""
        meter = Meter()
        meter.read(_counted({7: (5000, 5000)}), 0.0)
        assert meter.read(_counted({7: (0, 0)}), 2.0) == {7: (0, 0)}


def _counted(counts: dict[int, tuple[int, int]]) -> Any:
    """A picture of ports with these counts."""
    ports = [
        SimpleNamespace(
            seen=SimpleNamespace(
                link=SimpleNamespace(index=index),
                from_port=SimpleNamespace(bytes=sent),
                to_port=SimpleNamespace(bytes=got),
            )
        )
        for index, (sent, got) in counts.items()
    ]
    return cast(Any, SimpleNamespace(ports=lambda: ports))
