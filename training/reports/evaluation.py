"""Scores a tagger on annotated documents by tagging their bare texts and comparing. It knows no training."""

from __future__ import annotations

from collections.abc import Sequence

from annotations.document import Document, FrozenDict
from inference.tagger import Tagger
from training.data import unreachable
from training.reports.report import Report, build_report


def evaluate(tagger: Tagger, documents: Sequence[Document]) -> tuple[Report, list[Document]]:
    """The report, and the predicted documents in the order of the gold ones."""
    predicted = list(tagger.tag(bare(documents)))
    lost = unreachable(documents, tagger.tokenizer, tagger.config)
    return build_report(documents, predicted, tagger.schema, lost), predicted


def bare(documents: Sequence[Document]) -> list[Document]:
    """The same documents without their labels."""
    return [document.model_copy(update={"labels": FrozenDict()}) for document in documents]
