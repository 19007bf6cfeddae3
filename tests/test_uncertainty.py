"""Uncertainty from logits: its scale, what it averages over, and that batches and windows do not change it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from annotations.document import Document
from annotations.schema import Schema
from annotations.sentences import sentences
from inference.checkpoint import from_encoder
from inference.config import TaggerConfig
from inference.decoding import decode
from inference.tagger import Tagger
from inference.uncertainty import Measure, Uncertainty, uncertainties, uncertainty

ROWS = st.integers(2, 9).flatmap(
    lambda width: st.lists(
        st.lists(st.floats(-80, 80, allow_nan=False), min_size=width, max_size=width), min_size=1, max_size=5
    )
)
BOTH = pytest.mark.parametrize("measure", list(Measure))
TEXT = "The Taliban met in Kabul on Friday. Officials of the NDS denied it. Nobody else spoke to VOA that day. " * 4


def measured(tagger: Tagger, documents: Sequence[Document], measure: Measure = Measure.ENTROPY) -> list[Uncertainty]:
    windows, answers = tagger.read(documents)
    tagged = decode(documents, windows, answers, tagger.config)
    return uncertainties(tagged, windows, answers, measure)


def document(text: str, target: str | None = None, name: str = "x") -> Document:
    return Document(id=name, text=text, target=target)


def constant(tagger: Tagger, config: TaggerConfig, logit: float) -> Tagger:
    """A copy of the tagger whose every head gives its first label this logit and the others 0, whatever it reads."""
    model = type(tagger.engine.model)(tagger.engine.model.config)
    with torch.no_grad():
        for group in (model.span_heads, model.sentence_heads, model.vote_heads):
            for head in group.values():
                head.weight.zero_()
                head.bias.zero_()
                head.bias[0] = logit
    return Tagger(model, tagger.tokenizer, config)


@BOTH
def test_the_scale_runs_from_certain_to_anything_goes(measure: Measure) -> None:
    for classes in (2, 3, 19):
        assert uncertainty(np.zeros((1, classes)), measure)[0] == pytest.approx(1.0)
        peaked = np.zeros((1, classes))
        peaked[0, -1] = 60.0
        assert uncertainty(peaked, measure)[0] == pytest.approx(0.0, abs=1e-9)


def test_values_by_hand() -> None:
    likely = np.array([[0.7, 0.2, 0.1]])
    by_hand = -(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)) / math.log(3)
    assert uncertainty(np.log(likely), Measure.ENTROPY)[0] == pytest.approx(by_hand)
    assert uncertainty(np.log(likely), Measure.MARGIN)[0] == pytest.approx(1 - (0.7 - 0.2))


@BOTH
@given(rows=ROWS, shift=st.floats(-50, 50))
def test_it_is_bounded_and_does_not_mind_shifts_or_order(
    measure: Measure, rows: list[list[float]], shift: float
) -> None:
    logits = np.array(rows)
    found = uncertainty(logits, measure)
    assert ((found >= 0) & (found <= 1)).all()
    assert uncertainty(logits + shift, measure) == pytest.approx(found, abs=1e-6)
    assert uncertainty(logits[:, ::-1], measure) == pytest.approx(found, abs=1e-9)


@BOTH
def test_a_model_that_knows_nothing_and_one_that_is_sure(measure: Measure, tagger: Tagger) -> None:
    (nothing,) = measured(constant(tagger, tagger.config, 0.0), [document(TEXT, "A claim.")], measure)
    assert nothing.layers == pytest.approx({"entity": 1.0, "stance": 1.0, "document": 1.0})
    assert nothing.mean == pytest.approx(1.0)
    (sure,) = measured(constant(tagger, tagger.config, 60.0), [document(TEXT, "A claim.")], measure)
    assert sure.layers == pytest.approx({"entity": 0.0, "stance": 0.0, "document": 0.0}, abs=1e-9)


def test_targeted_layers_count_only_with_a_target(tagger: Tagger) -> None:
    without, with_one = measured(tagger, [document(TEXT), document(TEXT, "A claim.", "y")])
    assert set(without.layers) == {"entity"}
    assert set(with_one.layers) == {"entity", "stance", "document"}
    assert with_one.mean == pytest.approx(np.mean(list(with_one.layers.values())))


def test_a_text_without_a_word_has_no_uncertainty(tagger: Tagger) -> None:
    for found in measured(tagger, [document(""), document(" \n", "A claim.", "y")]):
        assert found.layers == {}
        assert math.isnan(found.mean)
    assert measured(tagger, []) == []


@BOTH
def test_batches_and_company_do_not_change_it(measure: Measure, tagger: Tagger) -> None:
    documents = [document(TEXT[: 60 * size], "A claim.", f"d{size}") for size in (1, 3, 6, 2)]
    together = measured(tagger, documents, measure)
    small = tagger.config.model_copy(update={"batch_tokens": 48})
    alone = [measured(Tagger(tagger.engine.model, tagger.tokenizer, small), [one], measure)[0] for one in documents]
    for one, other in zip(together, alone, strict=True):
        assert one.layers == pytest.approx(other.layers, abs=1e-5)
        # Which of two almost equal doubts comes first may differ in the last digit.
        shown = [doubt.uncertainty for doubt in one.doubts["stance"]]
        assert shown == pytest.approx([doubt.uncertainty for doubt in other.doubts["stance"]], abs=1e-5)


def test_every_token_counts_once_whatever_the_windows(encoders: Callable[[str], Path], tagger: Tagger) -> None:
    """With heads that see only the token itself, overlapping windows must give what one window gives."""
    whole = TaggerConfig.build(
        {**tagger.config.model_dump(mode="json"), "window": {"tokens": 300, "context": 0}}, where="test"
    )
    torch.manual_seed(3)
    model, tokenizer = from_encoder(str(encoders("bert")), whole, 0.1)
    model.eval()
    tokens = torch.nn.Embedding(len(tokenizer), model.config.encoder["hidden_size"])
    model.encoder = ByToken(tokens)
    found = []
    for window in ({"tokens": 300, "context": 0}, {"tokens": 40, "context": 12}, {"tokens": 28, "context": 8}):
        config = TaggerConfig.build({**whole.model_dump(mode="json"), "window": window}, where="test")
        found.append(measured(Tagger(model, tokenizer, config), [document(TEXT)])[0])
    assert len(Tagger(model, tokenizer, config).read([document(TEXT)])[0]) > 5
    assert found[0].layers["entity"] == pytest.approx(found[1].layers["entity"], abs=1e-6)
    assert found[0].layers["entity"] == pytest.approx(found[2].layers["entity"], abs=1e-6)
    assert found[0].doubts["entity"][0].uncertainty == pytest.approx(found[2].doubts["entity"][0].uncertainty, abs=1e-6)


class ByToken(torch.nn.Module):
    """An encoder whose states depend on nothing but the token."""

    def __init__(self, tokens: torch.nn.Embedding) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=self.tokens(input_ids))


def test_long_texts_are_not_favoured(tagger: Tagger) -> None:
    short, long = measured(
        constant(tagger, tagger.config, 1.0), [document(TEXT[:105], "A."), document(TEXT * 5, "A.", "y")]
    )
    assert short.layers == pytest.approx(long.layers, abs=1e-5)


def test_doubts_point_at_sentences_names_and_words(tagger: Tagger, schema: Schema) -> None:
    (found,) = measured(tagger, [document(TEXT, "A claim.")])
    bounds = {tuple(one) for one in sentences(TEXT)}
    assert [(one.start, one.end) in bounds for one in found.doubts["stance"]] == [True] * 3
    assert all(one.label in schema.layers["stance"].names for one in found.doubts["stance"])
    (tagged,) = tagger.tag_all([document(TEXT, "A claim.")])
    spans = {(span.start, span.end): span.label for span in tagged.spans("entity")}
    for one in found.doubts["entity"]:
        assert spans.get((one.start, one.end)) == one.label
        surface = TEXT[one.start : one.end]
        assert surface.strip() == surface != ""
    for own in found.doubts.values():
        values = [one.uncertainty for one in own]
        assert values == sorted(values, reverse=True)
        assert len(values) <= 3


def test_a_name_in_doubt_is_the_most_uncertain_one(tagger: Tagger) -> None:
    (found,) = measured(constant(tagger, tagger.config, 2.0), [document("Kabul fell. Nobody spoke.")])
    assert [one.label for one in found.doubts["entity"]] == [None] * 3
    words = [("Kabul fell. Nobody spoke.")[one.start : one.end] for one in found.doubts["entity"]]
    assert words == ["Kabul", "fell", "."]


def test_uncertainty_uses_the_logits_that_decode_uses(tagger: Tagger) -> None:
    """Scores in the decoded document and uncertainties come from the same numbers."""
    one = document(TEXT, "A claim.")
    windows, answers = tagger.read([one])
    (tagged,) = decode([one], windows, answers, tagger.config)
    (found,) = uncertainties([tagged], windows, answers, Measure.MARGIN)
    for doubt in found.doubts["stance"]:
        (span,) = [span for span in tagged.spans("stance") if span.start == doubt.start]
        assert span.label == doubt.label
        # The margin's first term is the score: 1 - (score - second), and second <= 1 - score.
        assert 1 - (span.score or 0) - 1e-6 <= doubt.uncertainty <= 2 - 2 * (span.score or 0) + 1e-6
