"""Mends offsets that other tools counted differently. It knows texts and numbers, not labels or file formats."""

from __future__ import annotations

import re
from typing import NamedTuple

_GAP = r"(?:\s|\\[rn])+"


class Place(NamedTuple):
    """Half-open code-point offsets and how they were found; `how` is empty where nothing was changed."""

    start: int
    end: int
    how: str = ""


def utf16_to_code_points(text: str, offset: int) -> int:
    """The code-point offset of a UTF-16 offset; one inside a surrogate pair or outside the text gives -1."""
    raw = text.encode("utf-16-le", "surrogatepass")
    if not 0 <= offset * 2 <= len(raw):
        return -1
    try:
        return len(raw[: offset * 2].decode("utf-16-le"))
    except UnicodeDecodeError:
        return -1


def code_points_to_utf16(text: str, offset: int) -> int:
    """The UTF-16 offset, as JavaScript counts, of a code-point offset."""
    return len(text[:offset].encode("utf-16-le", "surrogatepass")) // 2


def locate(text: str, start: int, end: int, quote: str | None) -> Place | None:
    """Where a marked stretch really is: as given, as UTF-16 units, or at the nearest exact match of its quote.

    The quote is a checksum: Label Studio shows newlines as the two characters `\\n` and may collapse white space, so
    both sides are compared with white space folded. White space at the edges is cut off. None where nothing fits.
    """
    if 0 <= start < end <= len(text) and _same(text[start:end], quote):
        return _trimmed(text, Place(start, end))
    if quote is None or not _fold(quote):
        return None
    left, right = utf16_to_code_points(text, start), utf16_to_code_points(text, end)
    if 0 <= left < right and _same(text[left:right], quote):
        return _trimmed(text, Place(left, right, "offsets counted UTF-16 units"))
    pattern = _GAP.join(re.escape(word) for word in _fold(quote).split(" "))
    # A look-ahead, because matches may overlap.
    matches = [match.span(1) for match in re.finditer(f"(?=({pattern}))", text)]
    if not matches:
        return None
    best = min(matches, key=lambda match: abs(match[0] - start))
    return Place(*best, "moved to the nearest exact match of its text")


def _same(piece: str, quote: str | None) -> bool:
    return quote is None or _fold(piece) == _fold(quote)


def _fold(piece: str) -> str:
    return " ".join(piece.replace("\\r", "\r").replace("\\n", "\n").split())


def _trimmed(text: str, place: Place) -> Place | None:
    piece = text[place.start : place.end]
    start = place.start + len(piece) - len(piece.lstrip())
    end = start + len(piece.strip())
    if start == end:
        return None
    if (start, end) == place[:2]:
        return place
    return Place(start, end, "; ".join(filter(None, [place.how, "white space at its edges cut off"])))
