"""Offsets from other tools: UTF-16 units, text that moved, white space that was folded; and what is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.offsets import Place, code_points_to_utf16, locate, utf16_to_code_points

UTF16, MOVED, TRIMMED = "offsets counted UTF-16 units", "moved to the nearest exact match", "white space at its edges"


@given(text=st.text(), data=st.data())
def test_utf16_offsets_go_there_and_back(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    assert utf16_to_code_points(text, code_points_to_utf16(text, place)) == place


@pytest.mark.parametrize(("offset", "expected"), [(0, 0), (1, 1), (2, -1), (3, 2), (4, 3), (5, -1), (-1, -1), (-9, -1)])
def test_utf16_offsets_inside_a_pair_or_outside_the_text(offset: int, expected: int) -> None:
    assert utf16_to_code_points("a😀b", offset) == expected


@pytest.mark.parametrize(
    ("text", "given_place", "quote", "found", "how"),
    [
        ("The Taliban met.", (4, 11), "Taliban", (4, 11), ""),
        ("The Taliban met.", (4, 11), None, (4, 11), ""),
        ("😀😀 Taliban", (5, 12), "Taliban", (3, 10), UTF16),
        ("😀 a 😀 b", (8, 9), "b", (6, 7), UTF16),
        ("The Taliban met.", (0, 3), "Taliban", (4, 11), MOVED),
        ("a b a b a", (5, 6), "a", (4, 5), MOVED),
        ("a b a b a", (900, 901), "a", (8, 9), MOVED),
        ("a b a b a", (-5, -4), "a", (0, 1), MOVED),
        ("aaaa", (1, 2), "aa", (1, 3), MOVED),
        ("x.y xzy x.y", (3, 6), "x.y", (0, 3), MOVED),
        # What Label Studio shows is not what the text holds.
        ("one\ntwo", (0, 7), "one\\ntwo", (0, 7), ""),
        ("one\r\ntwo", (0, 8), "one\\ntwo", (0, 8), ""),
        ("one\r\n\r\ntwo", (0, 10), "one\\r\\n\\r\\ntwo", (0, 10), ""),
        ("x one  \n two", (0, 4), "one\\ntwo", (2, 12), MOVED),
        ("one   two", (0, 9), "one two", (0, 9), ""),
        ("one\u00a0two", (0, 7), "one two", (0, 7), ""),
        ("x one   two", (0, 9), "one two", (2, 11), MOVED),
        ("in C:\\new here", (0, 6), "C:\\new", (3, 9), MOVED),
        # White space at the edges is nobody's.
        ("The Taliban met.", (3, 12), " Taliban ", (4, 11), TRIMMED),
        ("The Taliban met.", (3, 12), "Taliban", (4, 11), TRIMMED),
        ("😀 a ", (3, 5), "a ", (2, 3), f"{UTF16}; {TRIMMED}"),
        ("The Taliban met.", (0, 3), " Taliban\\n", (4, 11), MOVED),
    ],
)
def test_locate(text: str, given_place: tuple[int, int], quote: str | None, found: tuple[int, int], how: str) -> None:
    place = locate(text, *given_place, quote)
    assert place is not None
    assert place[:2] == found
    assert place.how.startswith(how) and bool(place.how) == bool(how)


@pytest.mark.parametrize(
    ("start", "end", "quote"),
    [
        (900, 7, None),
        (5, 5, None),
        (7, 4, None),
        (-3, -1, None),
        (0, 99, None),
        (0, 3, "Kabul"),
        (3, 4, " "),
        (3, 4, None),
        (0, 3, ""),
        (0, 3, "\\n"),
        (900, 7, "taliban"),
    ],
)
def test_what_fits_nowhere_is_nowhere(start: int, end: int, quote: str | None) -> None:
    assert locate("The Taliban met.", start, end, quote) is None


@given(text=st.text(alphabet="ab \n\r😀\\n", max_size=40), data=st.data())
def test_a_right_place_is_never_moved(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    piece = text[start:end]
    if piece.strip():
        left = start + len(piece) - len(piece.lstrip())
        place = locate(text, start, end, piece)
        assert place == Place(left, left + len(piece.strip()), place.how if place else "")
        assert place.how == "" or TRIMMED in place.how
