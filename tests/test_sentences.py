"""Sentences: every visible character in exactly one, in order, whatever the text; which span labels which."""

from __future__ import annotations

import time
from itertools import chain, pairwise

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from syntok import segmenter, tokenizer

from annotations.document import Document, Span
from annotations.seeds import documents
from annotations.sentences import (
    Bounds,
    _parted,
    _starts,
    _thinned,
    covering,
    covers,
    sentence_labels,
    sentences,
    unplaced,
)

PIECES = [
    ".",
    "?",
    "!",
    ";",
    "…",
    "'",
    "’",
    '"',
    "”",
    "(",
    ")",
    "-",
    "\u00ad",
    "\u200b",
    "\ufeff",
    "\x1c",
    "\x85",
    "\x0b",
]
WORDS = [
    "The Taliban",
    "U.S.",
    "don't",
    "isn’t",
    "al-Qaida",
    "e.g.",
    "3.5",
    "😀",
    "שלום",
    "لا.",
    "。",
    "Mr.",
    "1)",
    "e\u0301",
]
ENDS = [" ", "\n", "\r\n", "\r", "\t", "\u2028", "\u2029", "\xa0", "\u3000"]
TEXTS = st.text(max_size=80) | st.lists(st.sampled_from(PIECES + WORDS + ENDS), max_size=50).map("".join)

PLAIN = ["the", "of", "said", "Minister", "in", "and's", "co-op", "Kabul", "12", "However", "It"]
MARKED = [
    "A",
    "No",
    "Jan",
    "Inc.",
    "x.",
    "B.",
    "..",
    "...",
    ".”",
    '".',
    "[",
    "]",
    "(A",
    ").",
    ".)",
    "€.",
    "👍!",
    ",",
    ":",
]
LINES = st.lists(
    st.tuples(
        st.sampled_from(PLAIN) | st.sampled_from(PLAIN) | st.sampled_from(PIECES + WORDS + MARKED),
        st.sampled_from([" ", " ", " ", "", "  ", "\xa0"]),
    ),
    max_size=100,
).map(lambda parts: "".join(chain.from_iterable(parts)))


@given(text=TEXTS)
def test_every_visible_character_is_in_exactly_one_sentence(text: str) -> None:
    found = sentences(text)
    held = [place for start, end in found for place in range(start, end)]
    assert held == sorted(set(held))
    assert set(held) >= {place for place, letter in enumerate(text) if not letter.isspace()}
    for start, end in found:
        piece = text[start:end]
        assert piece == piece.strip() != ""
        assert not set(piece) & set("\r\n\u2028\u2029")


@pytest.mark.parametrize("text", ["", " ", "\r\n\n \u2028"])
def test_no_text_has_no_sentence(text: str) -> None:
    assert sentences(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One here. Two there.", ["One here.", "Two there."]),
        ("A headline\r\n\r\nIt began. It ended.\r\n", ["A headline", "It began.", "It ended."]),
        ("No stop\rNor here\u2028nor there", ["No stop", "Nor here", "nor there"]),
        ("The U.S. left. Gen. Miller stayed.", ["The U.S. left.", "Gen. Miller stayed."]),
        ("They fled; others fought.", ["They fled; others fought."]),
        ("He said so. ”\nYes.", ["He said so. ”", "Yes."]),
        (
            "They lost it 😡. It cost 99 €. It rose 5 %! Go 👨‍👩‍👧. End.",
            ["They lost it 😡.", "It cost 99 €.", "It rose 5 %!", "Go 👨‍👩‍👧.", "End."],
        ),
        ("It rose 5 %, he said.", ["It rose 5 %, he said."]),
        ("  😀 One.  Two 😀.  ", ["😀 One.", "Two 😀."]),
    ],
)
def test_known_splits(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text)] == expected


def untouched(line: str) -> list[int]:
    """Where syntok, given the whole line, starts a sentence, but the first."""
    tokens = chain.from_iterable(map(_parted, tokenizer.Tokenizer(replace_not_contraction=False).tokenize(line)))
    return [sentence[0].offset for sentence in segmenter.segment(tokens) if sentence][1:]


@given(line=LINES)
def test_words_that_syntok_is_not_shown_move_no_boundary(line: str) -> None:
    assert _starts(line, 0) == untouched(line)


@pytest.mark.parametrize("inside", [46, 47, 48, 49, 50])
@pytest.mark.parametrize("after", ["went", "The", "Kabul", "1999"])
def test_a_bracket_is_shown_as_far_as_syntok_looks(inside: int, after: str) -> None:
    line = f"He said so (as one who knew of it {'all ' * (inside - 7)}would) {after} and all of it went on and on. So it was."
    assert _starts(line, 0) == untouched(line)


@pytest.mark.parametrize("mark", [")", "]", "\t", "\xa0", "\u200b"])
def test_what_stands_between_a_dot_and_a_word_hides_no_word(mark: str) -> None:
    line = f"It was so. {mark} The dog of that man barked."
    assert _starts(line, 0) == untouched(line) != []


def test_no_boundary_of_the_seed_articles_moves() -> None:
    texts = [next(documents(path)).text for path in (ROOT / "seeds").glob("*.yaml")]
    lines = [line for text in texts for line in text.splitlines()]
    thinned = [_thinned(line) for line in lines]
    assert sum(len(line.split()) for line in thinned) < 0.4 * sum(len(line.split()) for line in lines)
    assert [_starts(line, 0) for line in lines] == [untouched(line) for line in lines]


def test_the_seed_articles_have_168_sentences() -> None:
    texts = [next(documents(path)).text for path in sorted((ROOT / "seeds").glob("*.yaml"))]
    assert [len(sentences(text)) for text in texts] == [14, 62, 40, 29, 23]


@pytest.mark.parametrize("piece", ["a", "😀", ".", "’", "(", "a-", "1,", "\u0301"])
def test_200_000_characters_without_white_space_take_bounded_time(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.process_time()
    found = sentences(text)
    assert time.process_time() - started < 10
    assert found == (Bounds(0, len(text)),)


SENTENCES = [Bounds(0, 10), Bounds(11, 21), Bounds(30, 33)]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], "---"),
        ([(0, 10), (11, 21), (30, 33)], "ABC"),
        ([(0, 5)], "---"),
        ([(0, 6)], "A--"),
        ([(0, 33)], "AAA"),
        ([(0, 4), (4, 10)], "B--"),
        ([(0, 5), (5, 10)], "---"),
        ([(4, 17)], "AA-"),
        ([(5, 17)], "-A-"),
        ([(22, 29)], "---"),
        ([(9, 12), (12, 31), (31, 40)], "-BC"),
    ],
)
def test_covering_needs_more_than_half(spans: list[tuple[int, int]], expected: str) -> None:
    made = [Span(start=start, end=end, label="ABC"[number]) for number, (start, end) in enumerate(spans)]
    assert "".join(span.label if span else "-" for span in covering(SENTENCES, made)) == expected


@given(cuts=st.sets(st.integers(0, 60), max_size=12), breaks=st.sets(st.integers(0, 60), max_size=12), data=st.data())
def test_covering_agrees_with_covers(cuts: set[int], breaks: set[int], data: st.DataObject) -> None:
    def pieces(places: set[int]) -> list[Bounds]:
        ordered = sorted(places)
        return [Bounds(*pair) for pair in pairwise(ordered) if data.draw(st.booleans())]

    spans = [Span(start=start, end=end, label="A") for start, end in pieces(cuts)]
    bounds = pieces(breaks)
    for sentence, chosen in zip(bounds, covering(bounds, spans), strict=True):
        assert [span for span in spans if covers(span, sentence)] == ([chosen] if chosen else [])


def test_sentence_labels_of_a_document() -> None:
    text = "One here. Two there. Three."
    document = Document(id="x", text=text, labels={"stance": (Span(start=0, end=21, label="denies"),)})
    assert sentence_labels(document, "stance") == ["denies", "denies", None]
    assert sentence_labels(document, "unannotated") == [None, None, None]


def test_covering_is_linear() -> None:
    bounds = [Bounds(place, place + 1) for place in range(0, 100_000, 2)]
    spans = [Span.model_construct(start=place, end=place + 1, label="A") for place in range(1, 100_000, 2)]
    started = time.process_time()
    assert covering(bounds, spans) == [None] * len(bounds)
    assert time.process_time() - started < 5


def test_a_text_without_labels_of_sentences_is_not_split_to_place_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every document of every file is asked; splitting takes a thousand times longer."""
    monkeypatch.setattr("annotations.sentences.sentences", None)
    assert not [*unplaced(Document(id="a", text="One. Two.", labels={"stance": ()}), "stance")]
    with pytest.raises(TypeError):
        list(unplaced(Document(id="a", text="One.", labels={"stance": (Span(start=0, end=4, label="x"),)}), "stance"))
