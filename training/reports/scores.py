"""The one door to seqeval and scikit-learn's reports: plain numbers and texts come out, never nan and never a warning.

It knows tag sequences and label pairs. It knows no documents but to cut their texts into tags.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotations.comparison import LabelPair
from annotations.document import Document, Span

DIGITS = 4
AVERAGES = ("micro avg", "macro avg", "weighted avg")
COLUMNS = ("precision", "recall", "f1-score", "support")
NO_ENTITIES = "no entities in gold or prediction"
NO_LABELS = "no labels in gold"

Row = dict[str, float | int]
Tags = list[list[str]]


@dataclass(frozen=True)
class Table:
    """One report of seqeval or scikit-learn."""

    text: str
    """As the library prints it."""
    rows: Mapping[str, Row]
    """Label or average to `precision`, `recall`, `f1-score` and `support`; empty where there is nothing to score."""


def tag_sequences(documents: Iterable[tuple[Document, Document]], layer: str) -> tuple[Tags, Tags]:
    """IOB2 tags of gold and predicted spans, one sequence a document.

    Each text is cut wherever a span of either side begins or ends, and each piece is one token. Every span is thus a
    whole number of tokens, and exact spans and exact tag chunks are the same thing, whatever a model's tokens are.
    """
    gold_tags: Tags = []
    predicted_tags: Tags = []
    for gold, predicted in documents:
        sides = gold.spans(layer), predicted.spans(layer)
        cuts = {offset for spans in sides for span in spans for offset in (span.start, span.end)}
        starts = sorted(cuts | {0, len(gold.text)})[:-1]
        gold_tags.append(_tags(starts, sides[0]))
        predicted_tags.append(_tags(starts, sides[1]))
    return gold_tags, predicted_tags


def _tags(starts: Sequence[int], spans: Iterable[Span]) -> list[str]:
    tags = ["O"] * len(starts)
    for span in spans:
        first, end = bisect_left(starts, span.start), bisect_left(starts, span.end)
        tags[first:end] = [f"B-{_safe(span.label)}", *[f"I-{_safe(span.label)}"] * (end - first - 1)]
    return tags


def _safe(label: str) -> str:
    """The label, quoted where seqeval would strip its hyphens or take it for one of the averages."""
    return f"“{label}”" if label.strip("-") != label or label in (*AVERAGES, "_", "accuracy") else label


def seqeval_table(gold: Tags, predicted: Tags, *, strict: bool) -> Table:
    """seqeval's report (https://github.com/chakki-works/seqeval): strict IOB2, or its default mode, that of conlleval.

    The two agree on tags made from spans, which never hold an I- without its B-. seqeval cannot print a report without
    any entity; a plain line stands in its place.
    """
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    # A sequence without any entity adds nothing, and seqeval looks at each tag a dozen times.
    told = [pair for pair in zip(gold, predicted, strict=True) if any(tag != "O" for tags in pair for tag in tags)]
    if not told:
        return Table(NO_ENTITIES, {})
    gold, predicted = [own for own, _ in told], [found for _, found in told]
    mode = {"mode": "strict", "scheme": IOB2} if strict else {}
    rows = classification_report(gold, predicted, output_dict=True, zero_division=0, **mode)
    return Table(_printed(rows), _plain(rows))


def _printed(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """What `classification_report` prints for these rows, by seqeval's own reporter: to ask for both counts all tags twice."""
    from seqeval.reporters import StringReporter

    reporter = StringReporter(width=max(map(len, [*rows, AVERAGES[-1]])), digits=DIGITS)
    for name, row in rows.items():
        if name == AVERAGES[0]:
            reporter.write_blank()
        reporter.write(name, *(row[column] for column in COLUMNS))
    reporter.write_blank()
    return str(reporter.report())


def sklearn_table(pairs: Sequence[LabelPair], names: Iterable[str]) -> Table:
    """scikit-learn's report on the labels that occur, in the order of `names`; a missing prediction is always wrong."""
    from sklearn.metrics import classification_report

    if not pairs:
        return Table(NO_LABELS, {})
    # No label is the empty text, so it can stand for a missing prediction.
    gold, predicted = [one for one, _ in pairs], [other or "" for _, other in pairs]
    labels = [name for name in names if name in {*gold, *predicted}]
    shown = {"labels": labels, "target_names": list(map(_safe, labels)), "zero_division": 0}
    text = classification_report(gold, predicted, digits=DIGITS, **shown)
    rows = classification_report(gold, predicted, output_dict=True, **shown)
    return Table(text, _plain({name: row for name, row in rows.items() if name != "accuracy"}))


def _plain(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Row]:
    """numpy's scalars as Python's, which JSON can hold."""
    return {
        str(name): {key: int(value) if key == "support" else float(value) for key, value in row.items()}
        for name, row in rows.items()
    }
