# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines in a plane, as SVG, by hand: no library that draws is worth its weight for one picture."""

import math
import statistics
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 50, 50
COLOURS = ("#0b6e4f", "#b23a48", "#33658a")
POINTS = 50
"""Medians that each line is drawn through."""


def draw(title: str, across: str, up: str, series: Mapping[str, Sequence[float]], last: int) -> str:
    """Return the SVG of `series`, each spread evenly from 1 to `last`, with their names and both axes."""
    lines = {name: _medians(values) for name, values in series.items()}
    top = _round_up(max(max(points) for points in lines.values()))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 24, title, "middle", "font-size='16'"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, "middle"),
        _text(16, 40, up, "start"),
    ]
    for step in range(6):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * step / 5
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{top * step / 5:g}", "end"))
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / 5
        parts.append(_text(x, HEIGHT - BOTTOM + 18, str(max(1, round(last * step / 5))), "middle"))
    for (name, points), colour in zip(lines.items(), COLOURS, strict=False):
        path = " ".join(f"{_across(at, len(points)):.1f},{_up(value, top):.1f}" for at, value in enumerate(points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(_text(LEFT + 12, _up(points[0], top) - 10, name, "start", f"fill='{colour}'"))
    return "\n".join([*parts, "</svg>", ""])


def _medians(values: Sequence[float]) -> list[float]:
    size = max(1, len(values) // POINTS)
    return [statistics.median(values[start : start + size]) for start in range(0, len(values) - size + 1, size)]


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... that is not less."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value)


def _across(at: int, count: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at / max(1, count - 1)


def _up(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
