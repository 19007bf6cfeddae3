"""Gold beside predictions, whatever fits together; what does not is left out and told with its counts.

It knows documents and schemas on both sides. It counts no right and wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.schema import Schema
from training.folds import used_labels
from training.reports.items import Pair

NAMED = 3
Say = Callable[[str], None]


def aligned(
    gold: Sequence[Document], rounds: Mapping[str, Sequence[Document]], schema: Schema, say: Say
) -> list[list[Pair]]:
    """For each round, every gold document that all rounds predict with the same text, beside the prediction.

    `schema` is what the predictions can say; labels and layers outside it are taken out of both sides.

    Raises:
        DocumentError: no document is left.
    """
    predicted = [{document.id: document for document in documents} for documents in rounds.values()]
    told: list[str] = []
    common = _common(gold, predicted, told.append)
    if not common:
        raise DocumentError(
            "report", [*told, "no gold document has a prediction of the same text; nothing can be scored"]
        )
    for remark in told:
        say(remark)
    kept = [document for document in gold if document.id in common]
    kept = narrowed(_same_target(kept, predicted, schema, say), schema, "gold", say)
    return [
        [
            *zip(
                kept,
                narrowed([_towards(own, found[own.id], schema) for own in kept], schema, "predicted", say),
                strict=True,
            )
        ]
        for found in predicted
    ]


def _common(gold: Sequence[Document], predicted: Sequence[Mapping[str, Document]], say: Say) -> set[str]:
    known = {document.id: document for document in gold}
    both = set[str].intersection(*(set(found) for found in predicted))
    for which, what in (
        (set(known) - both, "in gold and without a prediction"),
        (both - set(known), "predicted and not in gold"),
    ):
        _tell(which, what, say)
    kept = both & set(known)
    other = {one for one in kept if any(found[one].text != known[one].text for found in predicted)}
    _tell(other, "another text in the prediction than in gold", say)
    return kept - other


def _tell(ids: Collection[str], what: str, say: Say) -> None:
    if ids:
        shown = ", ".join(sorted(ids)[:NAMED]) + (", …" if len(ids) > NAMED else "")
        say(f"{len(ids)} {'document' if len(ids) == 1 else 'documents'} left out, {what}: {shown}")


def _same_target(
    gold: Sequence[Document], predicted: Sequence[Mapping[str, Document]], schema: Schema, say: Say
) -> list[Document]:
    """The gold without targeted layers where the prediction was made towards another target."""
    targeted = {name for name, layer in schema.layers.items() if layer.targeted}
    other = {one.id for one in gold if any(found[one.id].target != one.target for found in predicted)}
    hit = {one.id for one in gold if one.id in other and targeted & set(one.labels)}
    if hit:
        _tell(hit, f"another target than in gold (in {', '.join(sorted(targeted))} only)", say)
    free = [name for name in schema.layers if name not in targeted]
    return [one.only(free) if one.id in hit else one for one in gold]


def _towards(gold: Document, predicted: Document, schema: Schema) -> Document:
    """The prediction, without targeted layers where it was made towards another target."""
    if gold.target == predicted.target:
        return predicted
    free = predicted.only([name for name, layer in schema.layers.items() if not layer.targeted])
    return free.model_copy(update={"target": gold.target})


def narrowed(documents: Sequence[Document], schema: Schema, side: str, say: Say) -> list[Document]:
    """The documents without labels and layers that a schema does not declare, each told with its count."""
    allowed = {name: set(layer.names) for name, layer in schema.layers.items()}
    layers: Counter[str] = Counter()
    labels: Counter[tuple[str, str]] = Counter()
    found: list[Document] = []
    for document in documents:
        foreign = [name for name in document.labels if name not in allowed]
        layers.update(foreign)
        used = {name: names for name, names in used_labels(document).items() if name in allowed}
        strange = [(name, label) for name, given in used.items() for label in given if label not in allowed[name]]
        labels.update(strange)
        found.append(document.within(allowed) if foreign or strange else document)
    for name, count in layers.items():
        say(f"layer {name!r} is unknown to the tagger and not scored: it is in {count} {side} documents")
    for (name, label), count in labels.items():
        say(f"label {label!r} of layer {name!r} is unknown to the tagger and left out: {count} times {side}")
    return found
