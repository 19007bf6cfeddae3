"""The loss curve as a picture (SVG), over tokens seen. It knows the numbers of a log, not the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from annotations.storage import replacing

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 56, 28, 40, 44
POINTS = 400

Points = list[tuple[float, float]]


def draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Loss on masked tokens while training, held-out loss, and the learning rate's share below them."""
    training = [(line["tokens"], line["loss"]) for line in lines]
    held_out = [(line["tokens"], line["held_out"]) for line in lines if "held_out" in line]
    rates = [(line["tokens"], line["rate"]) for line in lines]
    with replacing(path) as out:
        out.write(svg(_thin(training), _thin(held_out), _thin(rates)))


def svg(training: Points, held_out: Points, rates: Points) -> str:
    """The picture. Points are (tokens, value)."""
    most = max((x for x, _ in training), default=1.0) or 1.0
    values = [y for _, y in training + held_out] or [0.0, 1.0]
    low = math.floor(min(values))
    high = max(math.ceil(max(values)), low + 1)

    def at(x: float, share: float) -> str:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / most
        return f"{across:.1f},{TOP + (HEIGHT - TOP - BOTTOM) * (1 - share):.1f}"

    def line(points: Points, colour: str, bottom: float, top: float, extra: str = "") -> str:
        drawn = " ".join(at(x, (y - bottom) / (top - bottom)) for x, y in points)
        return f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2" {extra}/>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *_grid(low, high, most),
        line(rates, "#cccccc", 0.0, 1.0, 'stroke-dasharray="4 3"'),
        line(training, "#1a6fc2", low, high),
        line(held_out, "#c2571a", low, high),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid(low: int, high: int, most: float) -> list[str]:
    """Lines and numbers: the loss upwards, tokens to the right."""
    parts = []
    down, across = HEIGHT - TOP - BOTTOM, WIDTH - LEFT - RIGHT
    step = 0.5 if high - low <= 4 else 1.0
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        y = TOP + down * (1 - (value - low) / (high - low))
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    apart = _round(most / 5)
    for number in range(int(most / apart) + 1):
        x = LEFT + across * number * apart / most
        amount = _amount(number * apart)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{amount}</text>')
    parts.append(f'<text x="{LEFT + across / 2:.1f}" y="{HEIGHT - 8}" text-anchor="middle">tokens seen</text>')
    return parts


def _round(value: float) -> float:
    """The next larger of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value)


def _legend() -> list[str]:
    entries = [
        ("#1a6fc2", "loss on masked tokens (nats), training"),
        ("#c2571a", "held out, 15% masked"),
        ("#aaaaaa", "rate"),
    ]
    places = [LEFT, LEFT + 270, LEFT + 430]
    return [
        f'<text x="{x}" y="22" fill="{colour}">● {text}</text>'
        for x, (colour, text) in zip(places, entries, strict=True)
    ]


def _amount(tokens: float) -> str:
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if tokens >= size:
            return f"{tokens / size:.3g} {unit}"
    return f"{tokens:.0f}"


def _thin(points: Points) -> Points:
    """At most POINTS of them, each the mean of its neighbourhood."""
    size = max(1, math.ceil(len(points) / POINTS))
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]
