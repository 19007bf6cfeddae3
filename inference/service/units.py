"""Code-point offsets of one text in other units: UTF-16 units, or bytes of UTF-8. It knows numbers, no labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inference.service.messages import Offsets

LONGER = {Offsets.UTF16: (0xFFFF,), Offsets.BYTES: (0x7F, 0x7FF, 0xFFFF)}
"""A code point takes one more unit for each of these that it exceeds (RFC 3629, RFC 2781)."""


def converter(text: str, unit: Offsets) -> Callable[[int], int]:
    """What turns a code-point offset (0 to `len(text)`) into an offset in `unit`. The text holds no lone surrogate."""
    if unit is Offsets.CODE_POINTS or text.isascii():
        return int
    letters = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    sizes = 1 + sum((letters > most).astype(np.int64) for most in LONGER[unit])
    before = np.concatenate([[0], np.cumsum(sizes)])
    return lambda offset: int(before[offset])
