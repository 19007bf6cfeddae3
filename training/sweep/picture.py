"""The score of every trial against each setting as a picture (SVG). It knows numbers and names, not trials' folders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from training.sweep.config import Parameter, Value
from training.sweep.trials import State, Trial

WIDTH, HEIGHT, ROW = 300, 220, 3
LEFT, RIGHT, TOP, BOTTOM = 48, 14, 26, 34
COLOURS = {State.COMPLETE: "#1a6fc2", State.PRUNED: "none"}


def svg(space: Mapping[str, Parameter], trials: Sequence[Trial], measure: str) -> str:
    """One panel a setting: filled dots for complete trials, rings for those that ended early (a mean of fewer folds)."""
    shown = [trial for trial in trials if trial.state in COLOURS and trial.mean is not None]
    low, high = _span([trial.mean or 0.0 for trial in shown])
    across, down = min(ROW, len(space)) * WIDTH, math.ceil(len(space) / ROW) * HEIGHT + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" font-family="sans-serif" font-size="11">',
        f'<rect width="{across}" height="{down}" fill="#fff"/>',
        f'<text x="8" y="15">{escape(measure)}; ● complete, ○ ended early</text>',
    ]
    for place, (name, parameter) in enumerate(space.items()):
        x, y = place % ROW * WIDTH, 24 + place // ROW * HEIGHT
        dots = [_dot(trial, _share(parameter, trial.parameters[name]), low, high) for trial in shown]
        parts += [f'<g transform="translate({x} {y})">', *_axes(name, parameter, low, high), *dots, "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest score, to two digits."""
    if not values:
        return 0.0, 1.0
    low, high = math.floor(min(values) * 50) / 50, math.ceil(max(values) * 50) / 50
    return low, max(high, low + 0.02)


def _share(parameter: Parameter, value: Value) -> float:
    """Where a value lies, from 0 to 1."""
    if parameter.choices:
        return (parameter.choices.index(value) + 0.5) / len(parameter.choices)
    assert isinstance(value, int | float) and parameter.low is not None and parameter.high is not None
    low, high, at = float(parameter.low), float(parameter.high), float(value)
    if parameter.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)


def _dot(trial: Trial, share: float, low: float, high: float) -> str:
    mean = trial.mean or 0.0
    x = LEFT + share * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - (mean - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
    colour = COLOURS[trial.state]
    title = f"<title>trial {trial.number}: {mean:.4f}</title>"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}" stroke="#1a6fc2">{title}</circle>'


def _axes(name: str, parameter: Parameter, low: float, high: float) -> list[str]:
    """The frame, its numbers, and the setting's name."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(name)}</text>']
    for step in range(5):
        y = bottom - step / 4 * (bottom - TOP)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        number = f"{low + step / 4 * (high - low):.3f}"
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number}</text>')
    ends = (parameter.low, parameter.high)
    values = parameter.choices or (ends if not parameter.log else (ends[0], _middle(parameter), ends[1]))
    for value in values:
        assert value is not None or parameter.choices
        x = LEFT + _share(parameter, value) * (right - LEFT)
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{escape(text)}</text>')
    return parts


def _middle(parameter: Parameter) -> float:
    """The middle of a logarithmic range."""
    assert parameter.low is not None and parameter.high is not None
    return math.sqrt(parameter.low * parameter.high)
