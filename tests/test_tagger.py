"""The tagger on whatever text comes: whole, in order, right offsets, bounded memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_windows import ODD, TEXTS

from annotations.document import Document, Span, claim
from annotations.errors import DocumentError
from annotations.lint.edges import mid_word
from annotations.sentences import _sentences, sentences
from inference.batches import batch_sizes, batches, padding
from inference.tagger import Tagger

LONG = ("The Taliban met al-Qaeda in Kabul on Friday. Officials denied it. " * 3100)[:200_000]
HARD = {
    "long": LONG,
    "one endless word": "a" * 50_000,
    "no full stop": "Kabul and " * 5_000,
    "empty": "",
    "white space": " \r\n\t\u00a0\u2003",
    "emoji": "😀👩‍👩‍👧🇦🇫" * 20,
    "crlf": "One.\r\nTwo.\r\n\r\nThree\rFour.\n",
    "right to left": "طالبان حمله را محکوم کرد. סיפור בכאבול. The end.",
    "zero width": "\u200bTal\u200biban\u200d met\u2060.\ufeff",
    "control": "a\x00b\x1bc\x7f\u2028d.",
    "combining": "e\u0301" * 300,
}


def check(tagged: Document, text: str, target: str | None) -> None:
    assert tagged.text == text
    assert tagged.target == target
    for span in tagged.spans("entity"):
        surface = text[span.start : span.end]
        assert surface.strip() == surface != ""
        assert 0 <= (span.score or 0) <= 1
    bounds = set(sentences(text))
    assert all((span.start, span.end) in bounds for span in tagged.spans("stance"))
    if target:
        assert len(tagged.spans("stance")) == len(bounds)


@pytest.mark.parametrize("name", HARD)
def test_hard_texts_come_back_whole(name: str, tagger: Tagger) -> None:
    check(tagger.tag(HARD[name], target="A claim."), HARD[name], "A claim.")


@settings(max_examples=40)
@given(text=TEXTS | st.sampled_from(ODD), target=st.none() | st.text(max_size=20))
def test_any_text_comes_back_whole(text: str, target: str | None, tagger: Tagger) -> None:
    tagged = tagger.tag(text, target=target)
    assert tagged.text == text
    assert ("stance" in tagged.labels) == (claim(target) is not None)
    assert all(text[span.start : span.end].strip() for span in tagged.spans("entity"))


@given(text=TEXTS | st.sampled_from(ODD))
def test_no_span_cuts_a_word_where_words_are_whole(text: str, tagger: Tagger) -> None:
    whole = Tagger(tagger.engine.model, tagger.tokenizer, tagger.config.model_copy(update={"whole_words": True}))
    for span in whole.tag(text).spans("entity"):
        assert not mid_word(text, span.start) and not mid_word(text, span.end)


def test_words_are_letters_their_marks_and_digits(tagger: Tagger) -> None:
    assert [place for place in range(9) if mid_word("Ab1 e\u0301a-b", place)] == [1, 2, 5, 6]
    text = "The Taliban met al-Qaida-linked commanders in Kandahar. " * 4
    assert any(mid_word(text, edge) for one in tagger.tag(text).spans("entity") for edge in (one.start, one.end))


def test_a_stream_keeps_its_order_and_ids(tagger: Tagger) -> None:
    texts = [f"Text {number}. " * (number % 7) for number in range(40)]
    tagged = list(tagger.tag(iter(texts)))
    assert [document.text for document in tagged] == texts
    assert [document.id for document in tagged] == [f"text-{number}" for number in range(40)]


def test_a_stream_is_read_no_further_than_it_must(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.tagger.LOOK_AHEAD", 4_000)
    taken = 0

    def source() -> Iterator[str]:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield f"Text {number}. " + "x " * 1_000

    stream = tagger.tag(source())
    first = next(stream)
    assert first.text.startswith("Text 0.")
    assert taken < 10


def test_a_stream_of_many_portions_is_what_each_text_is_alone(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.tagger.LOOK_AHEAD", 400)
    texts = [f"Report {number}: the Taliban met al-Qaeda in Kabul. " * (1 + number % 5) for number in range(40)]
    stream = list(tagger.tag(texts, target="They met."))
    assert [{*document.labels} for document in stream] == [{"entity", "stance", "document"}] * 40
    for found, text in zip(stream, texts, strict=True):
        assert found.without_scores() == tagger.tag(text, target="They met.").without_scores()


def test_an_error_in_a_stream_comes_after_the_documents_before_it(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.tagger.LOOK_AHEAD", 150)
    long = Document(id="long", text="Kabul.", target="word " * 500)
    texts = ["One.", "Two.", "Three.", "Four.", long, "Six."]
    stream = tagger.tag(iter(texts))
    assert [next(stream).text for _ in range(4)] == texts[:4]
    with pytest.raises(DocumentError, match="long"):
        next(stream)

    def source() -> Iterator[str]:
        yield from ["One.", "Two.", "Three."]
        raise OSError("the disk is gone")

    stream = tagger.tag(source())
    assert [next(stream).text for _ in range(2)] == ["One.", "Two."]
    with pytest.raises(OSError, match="the disk is gone"):
        list(stream)


def test_memory_does_not_grow_with_the_stream(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.tagger.LOOK_AHEAD", 3_000)
    # What is kept of the latest texts is bounded, but by more texts than are read here.
    monkeypatch.setattr("annotations.sentences._remembered", lru_cache(maxsize=8)(_sentences))

    def texts(count: int) -> Iterator[str]:
        for number in range(count):
            if number % 20 == 0:
                gc.collect()
            yield f"Report {number}: Taliban in Kabul. " * 10

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in tagger.tag(texts(count)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # What is there already is not looked through again each time.
    gc.freeze()
    # The first stream makes what all streams share; the second is long enough for all stages to be full.
    peak(80)
    several, some = peak(240), peak(80)
    gc.unfreeze()
    assert several < 1.3 * some


def test_own_labels_are_replaced_and_own_target_kept(tagger: Tagger) -> None:
    span = Span(start=0, end=4, label="PERSON")
    document = Document(id="x", text="Text one.", target="Mine.", labels={"entity": (span,)}, group="g")
    tagged = tagger.tag(document, target="Other.")
    assert tagged.target == "Mine."
    assert tagged.group == "g"
    assert tagged == tagger.tag(Document(id="x", text="Text one.", target="Mine.", group="g"))


def test_bad_text_is_named(tagger: Tagger) -> None:
    with pytest.raises(DocumentError, match="bad-one"):
        list(tagger.tag([Document(id="bad-one", text="a", target="word " * 400)]))


def test_what_is_no_text_is_refused_by_its_type(tagger: Tagger) -> None:
    for source in (7, None, b"Kabul."):
        with pytest.raises(DocumentError, match=f"is of type {type(source).__name__}; give a text"):
            tagger.tag(source)  # type: ignore[call-overload]
    with pytest.raises(DocumentError, match="item 1 of the stream: is of type int"):
        list(tagger.tag(["Kabul.", 3]))  # type: ignore[list-item]


def test_the_front_door_is_light() -> None:
    code = "import inference, sys; print('torch' in sys.modules, inference.__all__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False ['Tagger']"
    with pytest.raises(ImportError, match="Taggr"):
        from inference import Taggr  # noqa: F401


def test_a_checkpoint_does_not_tell_where_its_encoder_lay(model: Path, encoders: Callable[[str], Path]) -> None:
    known = str(encoders("modernbert"))
    assert not [path.name for path in model.iterdir() if known.encode() in path.read_bytes()]


@given(texts=st.lists(TEXTS, min_size=1, max_size=8), budget=st.integers(16, 600), step=st.sampled_from([1, 8]))
def test_padding_is_counted_as_batches_have_it(tagger: Tagger, texts: list[str], budget: int, step: int) -> None:
    windows = tagger.encode(
        [Document(id=str(number), text=text, target="A claim.") for number, text in enumerate(texts)]
    )
    sizes = partial(batch_sizes, budget=budget)
    made = list(batches(windows, sizes, 0, step))
    masks = [batch.attention_mask for batch in made]
    assert padding(windows, sizes, step) == sum(int((mask == 0).sum()) for mask in masks)
    assert sorted(place for batch in made for place in batch.windows) == list(range(len(windows)))
    for batch in made:
        assert batch.input_ids.shape[1] % step == batch.target_ids.shape[1] % step == 0
        assert batch.input_ids.numel() <= budget or len(batch.windows) == 1
