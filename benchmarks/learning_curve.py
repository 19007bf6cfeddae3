"""Learning curves of several strategies and seeds as Markdown and as a drawing. It knows rows of results, not experiments."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

Row = dict[str, Any]
COLOURS = ("#777777", "#c2571a", "#1a6fc2")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 380, 56, 44, 16


def values(rows: Sequence[Row], strategy: str, number: int, key: str) -> list[float]:
    """One value a seed."""
    return [row[key] for row in rows if row["strategy"] == strategy and row["round"] == number]


def markdown(rows: Sequence[Row], strategies: Sequence[str], *, heading: str, picture: str) -> str:
    """Curves, what was annotated for them, and what that shows."""
    rounds = sorted({row["round"] for row in rows})
    lines = ["# Choosing what to annotate next", "", heading, ""]
    lines += [f"![Learning curves]({picture})", ""] if picture else []
    lines += ["Micro F1 of names on the test articles, mean (range over seeds):", ""]
    lines += ["| articles annotated | " + " | ".join(strategies) + " |", "|---" * (len(strategies) + 1) + "|"]
    for number in rounds:
        cells = [spread(values(rows, strategy, number, "f1"), 3) for strategy in strategies]
        lines.append(f"| {values(rows, strategies[0], number, 'articles')[0]} | {' | '.join(cells)} |")
    lines += ["", "After the last round, mean (range over seeds):", ""]
    lines += ["| | " + " | ".join(strategies) + " |", "|---" * (len(strategies) + 1) + "|"]
    for key, name in (
        ("wasted", "copies of a story annotated already"),
        ("words", "words read"),
        ("names", "names marked"),
    ):
        cells = [spread(values(rows, strategy, rounds[-1], key), 0) for strategy in strategies]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *verdict(rows, strategies)]
    return "\n".join(lines) + "\n"


def spread(found: Sequence[float], digits: int) -> str:
    """Mean and range."""
    return f"{mean(found):.{digits}f} ({min(found):.{digits}f}–{max(found):.{digits}f})"


def area(rows: Sequence[Row], strategy: str, seed: int) -> float:
    """Mean F1 over the rounds after the common start."""
    return mean(row["f1"] for row in rows if row["strategy"] == strategy and row["seed"] == seed and row["round"] > 0)


def verdict(rows: Sequence[Row], strategies: Sequence[str]) -> list[str]:
    """Paired differences by seed; a difference counts as shown only where all seeds, at least three, agree on its sign."""
    seeds = sorted({row["seed"] for row in rows})
    lines = []
    pairs = [(one, other) for place, other in enumerate(strategies) for one in strategies[place + 1 :]]
    for one, other in pairs:
        differences = [area(rows, one, seed) - area(rows, other, seed) for seed in seeds]
        agree = len(seeds) >= 3 and (min(differences) > 0 or max(differences) < 0)
        shown = "in all seeds" if agree else "no difference is shown"
        by_seed = " ".join(f"{value:+.3f}" for value in differences)
        lines.append(
            f"- {one} against {other}, F1 averaged over the rounds: {mean(differences):+.3f} ({by_seed}); {shown}"
        )
    return lines


def svg(rows: Sequence[Row], strategies: Sequence[str]) -> str:
    """Mean F1 by articles annotated; bars are the range over seeds."""
    counts = sorted({row["articles"] for row in rows})
    low = int(min(row["f1"] for row in rows) * 20) / 20
    high = max(low + 0.05, (int(max(row["f1"] for row in rows) * 20) + 1) / 20)

    def x(count: float) -> float:
        return LEFT + (count - counts[0]) / max(1, counts[-1] - counts[0]) * (WIDTH - LEFT - 24)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for step in range(round((high - low) * 20) + 1):
        value = low + step / 20
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - 24}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    for count in counts:
        parts.append(f'<text x="{x(count):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{count}</text>')
    parts.append(
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">articles annotated (micro F1 of names)</text>'
    )
    for place, (strategy, colour) in enumerate(zip(strategies, COLOURS, strict=False)):
        parts += _line(rows, strategy, colour, place, x, y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _line(rows: Sequence[Row], strategy: str, colour: str, place: int, x: Any, y: Any) -> list[str]:
    points, bars = [], []
    for number in sorted({row["round"] for row in rows}):
        found, at = values(rows, strategy, number, "f1"), x(mean(values(rows, strategy, number, "articles")))
        at += (place - 1) * 3
        points.append(f"{at:.1f},{y(mean(found)):.1f}")
        bars.append(f'<path d="M{at:.1f} {y(min(found)):.1f}V{y(max(found)):.1f}" stroke="{colour}" opacity="0.5"/>')
    low = HEIGHT - BOTTOM - 60 + 18 * place
    return [
        *bars,
        f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>',
        f'<path d="M{WIDTH - 210} {low}h24" stroke="{colour}" stroke-width="2"/>',
        f'<text x="{WIDTH - 180}" y="{low + 4}">{strategy}</text>',
    ]
