"""Scores on documents that a tagger never saw, with intervals where they can be had, as plain values for a model card.

It knows gold and predicted documents, and not how the tagger was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from annotations.document import Document
from annotations.schema import Schema
from training.reports.intervals import layer_scores
from training.reports.report import LayerReport, Report


def unseen_scores(
    report: Report, gold: Sequence[Document], predicted: Sequence[Document], schema: Schema
) -> list[dict[str, Any]]:
    """Of every layer that gold annotates: micro F1 of spans, macro F1 of the others, and those of every label that occurs.

    `interval` is that of the bootstrap by group of documents (95%, 2000 resamples), None where there is one group.
    """
    return [
        _values(name, report.layers[name], gold, predicted, schema)
        for name in schema.layers
        if report.layers[name].compared.documents
    ]


def _values(
    name: str, layer: LayerReport, gold: Sequence[Document], predicted: Sequence[Document], schema: Schema
) -> dict[str, Any]:
    groups = len({document.fold for document in gold if name in document.labels})
    # A layer that is predicted in no document has no draws.
    drawn = layer_scores({"tagger": [[*predicted]]}, gold, name, schema)
    interval = drawn[0].interval if drawn else None
    compared = layer.compared
    return {
        "layer": name,
        "kind": compared.kind.value,
        "measure": "micro F1" if layer.spans else "macro F1",
        "value": compared.micro.f1 if layer.spans else compared.macro_f1,
        "interval": interval,
        "documents": compared.documents,
        "groups": groups,
        "majority": layer.majority.macro_f1 if layer.majority else None,
        "labels": {
            label: {"precision": each.precision, "recall": each.recall, "f1": each.f1, "support": each.support}
            for label, each in compared.counts.items()
            if each.total
        },
    }
