"""Scores against the amount of annotation as a drawing (SVG). It knows points and lines, not where they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

COLOURS = ("#777777", "#c2571a", "#1a6fc2", "#2e8b57", "#8e44ad", "#b8860b")
WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 640, 380, 56, 24, 44, 16
STEPS = 20
"""Grid lines for a score from 0 to 1."""

Place = Callable[[float], float]


class Point(NamedTuple):
    """A score and the bar around it."""

    x: float
    mean: float
    low: float
    high: float


class Line(NamedTuple):
    """Points in order of x; what is predicted goes on from them, dashed."""

    name: str
    points: Sequence[Point]
    predicted: Sequence[Point] = ()


def svg(lines: Sequence[Line], x_label: str) -> str:
    """All lines over one axis, with a legend. Scores lie between 0 and 1."""
    points = [point for line in lines for point in [*line.points, *line.predicted]]
    ticks = sorted({point.x for point in points})
    low = int(min(point.low for point in points) * STEPS) / STEPS
    high = max(low + 1 / STEPS, (int(max(point.high for point in points) * STEPS) + 1) / STEPS)

    def x(value: float) -> float:
        return LEFT + (value - ticks[0]) / max(1, ticks[-1] - ticks[0]) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for step in range(round((high - low) * STEPS) + 1):
        value = low + step / STEPS
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    for tick in ticks:
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    for number, line in enumerate(lines):
        # Bars of several lines stand beside each other.
        shift = (number - (len(lines) - 1) / 2) * 3
        colour = COLOURS[number % len(COLOURS)]
        parts += _line(line, colour, lambda value, shift=shift: x(value) + shift, y)  # type: ignore[misc]
        parts += _legend(line.name, colour, HEIGHT - BOTTOM - 6 - 18 * (len(lines) - number))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(line: Line, colour: str, x: Place, y: Place) -> Iterator[str]:
    for at, _, low, high in [*line.points, *line.predicted]:
        yield f'<path d="M{x(at):.1f} {y(low):.1f}V{y(high):.1f}" stroke="{colour}" opacity="0.5"/>'
    yield f'<polyline points="{_path(line.points, x, y)}" fill="none" stroke="{colour}" stroke-width="2"/>'
    if line.predicted:
        ahead = _path([*line.points[-1:], *line.predicted], x, y)
        yield f'<polyline points="{ahead}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="4 3"/>'


def _path(points: Sequence[Point], x: Place, y: Place) -> str:
    return " ".join(f"{x(point.x):.1f},{y(point.mean):.1f}" for point in points)


def _legend(name: str, colour: str, low: int) -> list[str]:
    return [
        f'<path d="M{WIDTH - 210} {low}h24" stroke="{colour}" stroke-width="2"/>',
        f'<text x="{WIDTH - 180}" y="{low + 4}">{escape(name)}</text>',
    ]
