"""Pictures of scores as inline SVG: bars in a table's rows, curves, a reliability diagram. It knows numbers from 0 to 1.

Colours and line styles are the page's (`report.css`); every picture says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotations.pages.render import safe
from training.reports.pages.elements import NOTHING, estimate

WIDTH, HEIGHT = 340, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 10, 42
TICKS = (0, 0.25, 0.5, 0.75, 1)
LARGEST, SMALLEST = 10.0, 3.0
"""Radius of the dot of the fullest bin, and the least of any."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One line of a curve; both coordinates are shares from 0 to 1."""

    name: str
    points: Sequence[Point]
    style: str
    """CSS class: `first`, `second` or `third`."""


def bar(value: float, low: float | None, high: float | None, *, bounds: Point = (0, 1)) -> str:
    """A dot with its interval on a rail, for a table cell that also says the numbers; 100 wide, stretched to fit."""
    start, end = bounds
    width = (end - start) or 1.0

    def at(number: float) -> str:
        return f"{100 * min(1.0, max(0.0, (number - start) / width)):.2f}"

    zero = f'<path class="zero" d="M{at(0)} 0V14"/>' if start < 0 else ""
    ends = "" if low is None or high is None else f'<path class="range" d="M{at(low)} 7H{at(high)}"/>'
    ticks = "".join(f"M{tick} 4V10" for tick in (0, 25, 50, 75, 100))
    # A line without length and with round ends is a dot that stays round however the picture is stretched.
    return (
        '<svg class="bar" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="rail" d="M0 7H100{ticks}"/>{zero}{ends}<path class="dot" d="M{at(value)} 7h.001"/></svg>'
    )


def pictured(found: Mapping[str, Any] | None) -> str:
    """A score with its interval, in numbers and as a bar."""
    return NOTHING if found is None else estimate(found) + bar(found["value"], found["low"], found["high"])


def parts(numbers: Mapping[str, int]) -> str:
    """Counts as adjoining pieces of one bar, for a table row that also says the numbers."""
    total = sum(numbers.values())
    if not total:
        return ""
    pieces, place = [], 0.0
    for number, (name, each) in enumerate(numbers.items()):
        width = 100 * each / total
        title = f"<title>{safe(name)}: {each:,}</title>"
        pieces.append(f'<rect class="part{number}" x="{place:.2f}" width="{width:.2f}" height="14">{title}</rect>')
        place += width
    return (
        f'<svg class="bar" viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">{"".join(pieces)}</svg>'
    )


def curve(lines: Sequence[Line], *, says: str, across: str, up: str, name: str) -> str:
    """Lines over one another. `says` is the text alternative, `across` and `up` name the axes."""
    drawn = "".join(_line(line) for line in lines)
    key = "".join(f"<li>{_sample(line.style)}{safe(line.name)}</li>" for line in lines)
    legend = f'<ul class="key">{key}</ul>' if len(lines) > 1 else ""
    return _figure(_axes(across, up) + drawn, says=says, name=name, legend=legend)


def reliability(series: Mapping[str, Sequence[Mapping[str, Any]]], *, says: str, name: str) -> str:
    """Accuracy against confidence, a dot a bin, as large as the bin is full; the diagonal is perfect calibration.

    After Guo et al. (2017), https://arxiv.org/abs/1706.04599.
    """
    most = max((each["count"] for bins in series.values() for each in bins), default=1)
    drawn = [f'<path class="diagonal" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>']
    for number, bins in enumerate(series.values()):
        drawn += [_bin(each, most, "first" if number == 0 else "second") for each in bins]
    key = "".join(
        f'<li><svg class="sample" viewBox="0 0 24 10" aria-hidden="true"><circle class="{style}" cx="12" cy="5" r="4"/></svg>'
        f"{safe(title)}</li>"
        for title, style in zip(series, ("first", "second"), strict=False)
    )
    legend = f'<ul class="key">{key}</ul>' if len(series) > 1 else ""
    axes = _axes("confidence", "accuracy")
    return _figure(axes + "".join(drawn), says=says, name=name, legend=legend)


def _bin(each: Mapping[str, Any], most: int, style: str) -> str:
    x, y = _x(each["confidence"]), _y(each["accuracy"])
    radius = max(SMALLEST, LARGEST * math.sqrt(each["count"] / most))
    said = f"{each['count']:,} with confidence {each['low']:.2f} to {each['high']:.2f}: {each['accuracy']:.3f} right"
    gap = f'<path class="gap" d="M{x} {y}V{_y(each["confidence"])}"/>' if style == "first" else ""
    return f'{gap}<circle class="{style}" cx="{x}" cy="{y}" r="{radius:.1f}"><title>{said}</title></circle>'


def _figure(drawn: str, *, says: str, name: str, legend: str) -> str:
    return (
        f'<figure><figcaption>{safe(name)}</figcaption>{legend}<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{safe(says)}">{drawn}</svg></figure>\n'
    )


def _axes(across: str, up: str) -> str:
    lines = "".join(f"M{_x(tick)} {_y(0)}V{_y(1)}M{_x(0)} {_y(tick)}H{_x(1)}" for tick in TICKS)
    below = "".join(f'<text x="{_x(tick)}" y="{_y(0) + 16:.1f}" class="middle">{tick:g}</text>' for tick in TICKS)
    beside = "".join(f'<text x="{_x(0) - 6:.1f}" y="{_y(tick) + 4:.1f}" class="end">{tick:g}</text>' for tick in TICKS)
    middle = _y(0.5)
    names = (
        f'<text x="{_x(0.5)}" y="{HEIGHT - 8}" class="middle">{safe(across)}</text>'
        f'<text x="12" y="{middle}" class="middle" transform="rotate(-90 12 {middle})">{safe(up)}</text>'
    )
    return f'<path class="grid" d="{lines}"/>{below}{beside}{names}'


def _line(line: Line) -> str:
    path = "L".join(f"{_x(x)} {_y(y)}" for x, y in line.points)
    dots = "".join(f"M{_x(x)} {_y(y)}h.001" for x, y in line.points) if len(line.points) <= 12 else ""
    return f'<path class="line {line.style}" d="M{path}"/><path class="points {line.style}" d="{dots}"/>'


def _sample(style: str) -> str:
    return f'<svg class="sample" viewBox="0 0 24 10" aria-hidden="true"><path class="line {style}" d="M1 5H23"/></svg>'


def _x(value: float) -> float:
    return round(LEFT + value * (WIDTH - LEFT - RIGHT), 1)


def _y(value: float) -> float:
    return round(HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM), 1)


def widest(values: Iterable[float | None]) -> float:
    """The largest distance from 0, so that differences are drawn on one scale; never 0."""
    return max((abs(value) for value in values if value is not None), default=0.0) or 1.0
