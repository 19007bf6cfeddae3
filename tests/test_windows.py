"""Windows: every token predicted once, whatever the text; whole sentences; nothing truncated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import FAMILIES, PUBLISHED, make_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.sentences import sentences
from inference.config import TaggerConfig
from inference.windows import Unit, cores, encode, special_tokens, tokenize

TOKENIZERS = {family: make_tokenizer(family) for family in [*sorted(set(FAMILIES.values())), *PUBLISHED]}
ODD = [
    "",
    " ",
    "\n\n",
    "😀",
    "😀😀 a",
    "a\r\nb",
    "שלום עולם.",
    "a\u200bb\u200d.",
    "\ufeffx",
    "\x00",
    "e\u0301",
    "A. B. C.",
]
TEXTS = st.text(max_size=200) | st.lists(
    st.sampled_from(["The Taliban", " ", ". ", "\r\n", "al-Qaida-linked", "😀", "\u200b", "שלום", "\t"]), max_size=60
).map("".join)


@pytest.mark.parametrize("family", TOKENIZERS)
@given(text=TEXTS | st.sampled_from(ODD))
def test_offsets_are_disjoint_and_show_no_white_space(family: str, text: str) -> None:
    ids, offsets = tokenize(text, TOKENIZERS[family], "text")
    assert len(ids) == len(offsets)
    reached = 0
    for start, end in offsets:
        assert reached <= start <= end <= len(text) or start == end
        if start < end:
            assert not text[start].isspace() and not text[end - 1].isspace()
            reached = end


WORDS = st.lists(
    st.builds(
        str.__add__,
        st.characters(categories=["Lu", "Ll", "Lo"]),
        st.text(st.characters(categories=["Lu", "Ll", "Lo", "Mn", "Mc"]), max_size=6),
    ),
    max_size=8,
)


@pytest.mark.parametrize("family", TOKENIZERS)
@given(words=WORDS | st.just(["Jose\u0301", "नमस्ते", "שָׁלוֹם", "l’État"]))
def test_a_word_begins_and_ends_with_tokens_whatever_its_marks(family: str, words: list[str]) -> None:
    _, offsets = tokenize(" ".join(words), TOKENIZERS[family], "text")
    starts, ends = {start for start, end in offsets if start < end}, {end for start, end in offsets if start < end}
    place = 0
    for word in words:
        assert place in starts and place + len(word) in ends, (word, offsets)
        place += len(word) + 1


@given(text=TEXTS | st.sampled_from(ODD))
def test_byte_level_offsets_cover_every_visible_character(text: str) -> None:
    _, offsets = tokenize(text, TOKENIZERS["byte-bpe"], "text")
    covered = {place for start, end in offsets for place in range(start, end)}
    assert covered >= {place for place, letter in enumerate(text) if not letter.isspace()}


@pytest.mark.parametrize("family", TOKENIZERS)
@given(text=TEXTS | st.sampled_from(ODD))
def test_every_token_of_a_sentence_is_predicted_once(family: str, text: str, config: TaggerConfig) -> None:
    tokenizer = TOKENIZERS[family]
    windows = encode([Document(id="x", text=text)], tokenizer, config)
    tokens = tokenize(text, tokenizer, "text")
    predicted = [token for w in windows for token in w.ids[w.first : w.first + len(w.offsets)]]
    offsets = [offset for window in windows for offset in window.offsets]
    if not text.strip():
        assert not windows
        return
    assert predicted == tokens.ids
    assert offsets == tokens.offsets
    for window in windows:
        assert len(window.ids) <= config.window.tokens
        places = [place for unit in window.units for place in range(unit.start, unit.end)]
        assert places == list(range(window.first, window.first + len(window.offsets)))


def test_windows_read_context_on_both_sides(config: TaggerConfig) -> None:
    text = " ".join(f"Sentence number {n} speaks of the Taliban." for n in range(20))
    windows = encode([Document(id="x", text=text)], TOKENIZERS["byte-bpe"], config)
    prefix, suffix = special_tokens(TOKENIZERS["byte-bpe"])
    assert len(windows) > 3
    middle = windows[1]
    assert middle.first - len(prefix) == config.window.context
    assert len(middle.ids) - middle.first - len(middle.offsets) - len(suffix) == config.window.context


def test_windows_hold_whole_sentences_when_they_fit(config: TaggerConfig) -> None:
    text = " ".join(f"Number {n} is here." for n in range(20))
    windows = encode([Document(id="x", text=text)], TOKENIZERS["byte-bpe"], config)
    seen = [unit.sentence for window in windows for unit in window.units]
    assert seen == list(range(len(sentences(text))))


def test_a_sentence_longer_than_a_window_is_cut_and_kept() -> None:
    runs = list(cores([Unit(0, 0, 3), Unit(1, 3, 30), Unit(2, 30, 32)], 10))
    assert runs[0][0] == Unit(0, 0, 3)
    assert sorted(place for run in runs for u in run for place in range(u.start, u.end)) == list(range(32))
    assert all(run[-1].end - run[0].start <= 10 for run in runs)


def test_neighbours_with_one_text_share_windows(config: TaggerConfig) -> None:
    text = "The Taliban fights. It denies it."
    documents = [Document(id=str(n), text=text, target=f"Claim {n}.") for n in range(10)]
    windows = encode(documents, TOKENIZERS["byte-bpe"], config)
    assert len(windows) == len(encode(documents[:1], TOKENIZERS["byte-bpe"], config))
    assert windows[0].documents == list(range(10))


def test_a_long_target_is_refused_not_cut(config: TaggerConfig) -> None:
    with pytest.raises(DocumentError, match="shorten it to one sentence"):
        encode([Document(id="x", text="a", target="word " * 500)], TOKENIZERS["byte-bpe"], config)


def test_a_lone_surrogate_is_named(config: TaggerConfig, encoders: Callable[[str], Path]) -> None:
    document = Document.model_construct(id="x", text="a\ud800b", target=None, group=None, labels={}, source={})
    with pytest.raises(DocumentError, match="surrogate"):
        encode([document], TOKENIZERS["byte-bpe"], config)


@pytest.mark.parametrize("family", TOKENIZERS)
def test_special_tokens_are_found(family: str) -> None:
    tokenizer: PreTrainedTokenizerBase = TOKENIZERS[family]
    assert special_tokens(tokenizer) == ((tokenizer.cls_token_id,), (tokenizer.sep_token_id,))
