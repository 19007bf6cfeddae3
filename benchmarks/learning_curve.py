"""Learning curves of several strategies and seeds as Markdown and as a drawing. It knows rows of results, not experiments."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from training.learning_curve import plot as score_plot

Row = dict[str, Any]


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
    return score_plot.svg([_line(rows, strategy) for strategy in strategies], "articles annotated (micro F1 of names)")


def _line(rows: Sequence[Row], strategy: str) -> score_plot.Line:
    points = []
    for number in sorted({row["round"] for row in rows}):
        found = values(rows, strategy, number, "f1")
        at = mean(values(rows, strategy, number, "articles"))
        points.append(score_plot.Point(at, mean(found), min(found), max(found)))
    return score_plot.Line(strategy, points)
