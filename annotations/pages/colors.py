"""Colours made readable on a given ground: mixing, and contrast as WCAG 2 measures it. It knows no labels."""

from __future__ import annotations

from typing import NamedTuple

STEPS = 20


class Rgb(NamedTuple):
    """A colour; each channel is 0–255."""

    red: int
    green: int
    blue: int

    @property
    def hex(self) -> str:
        """As CSS writes it, `#rrggbb`."""
        return f"#{self.red:02x}{self.green:02x}{self.blue:02x}"

    @property
    def luminance(self) -> float:
        """Relative luminance, 0 (black) to 1 (white)."""
        red, green, blue = map(_linear, self)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue


BLACK, WHITE = Rgb(0, 0, 0), Rgb(255, 255, 255)


def rgb(color: str) -> Rgb:
    """Parse `#rrggbb`."""
    return Rgb(*bytes.fromhex(color.removeprefix("#")))


def mix(color: Rgb, ground: Rgb, share: float) -> Rgb:
    """`share` (0 to 1) of a colour on a ground."""
    return Rgb(*(round(share * top + (1 - share) * below) for top, below in zip(color, ground, strict=True)))


def contrast(one: Rgb, other: Rgb) -> float:
    """Contrast ratio, 1 to 21; 4.5 is the least that small text needs."""
    low, high = sorted((one.luminance, other.luminance))
    return (high + 0.05) / (low + 0.05)


def ink(ground: Rgb) -> Rgb:
    """Black or white, whichever stands out more."""
    return max(BLACK, WHITE, key=lambda color: contrast(color, ground))


def readable(color: Rgb, ground: Rgb, least: float) -> Rgb:
    """The colour, moved towards black or white only as far as a contrast of `least` on the ground demands.

    Black or white itself where even that is not enough (never for `least` up to 4.5).
    """
    end = ink(ground)
    steps = (mix(end, color, step / STEPS) for step in range(STEPS + 1))
    return next((shade for shade in steps if contrast(shade, ground) >= least), end)


def _linear(channel: int) -> float:
    value = channel / 255
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
