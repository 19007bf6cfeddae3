"""What two results have in common: documents, layers and labels. Whatever only one of them has is told with its counts.

It knows predictions, gold and schemas. It knows no folders and no statistics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.schema import Kind, LabelSpec, Layer, Schema
from training.folds import used_labels
from training.reports.results import Result

NAMED = 3

Known = Mapping[str, Mapping[str, None]]
"""Layer to the names of the labels that a result can predict, in order."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Side:
    """One of the two."""

    name: str
    schema: Schema
    """What it was trained to predict."""
    known: Known
    rounds: Sequence[Mapping[str, Document]]
    """Predictions by document id, for each seed."""

    @classmethod
    def of(cls, name: str, result: Result, schema: Schema) -> Side:
        """A result under a short name; `schema` stands for one that it does not tell."""
        declared = result.schema or schema
        known = {layer: dict.fromkeys(spec.names) for layer, spec in declared.layers.items()}
        for documents in result.rounds.values():
            for document in documents:
                for layer, labels in used_labels(document).items():
                    known.setdefault(layer, {}).update(dict.fromkeys(labels))
        return cls(name, declared, known, [{one.id: one for one in documents} for documents in result.rounds.values()])

    @property
    def ids(self) -> set[str]:
        """The documents that every round predicts."""
        return set[str].intersection(*(set(documents) for documents in self.rounds))

    def predicts(self, layer: str) -> bool:
        """Whether it says anything about a layer, be it that there is nothing."""
        return any(layer in document.labels for documents in self.rounds for document in documents.values())

    def given(self, layer: str, label: str, ids: Iterable[str]) -> int:
        """How often it gives a label in these documents, over all rounds."""
        return sum(used_labels(found[one]).get(layer, []).count(label) for one in ids for found in self.rounds)


@dataclass(frozen=True)
class CommonLayer:
    """One layer of the documents that can be compared, with the labels that both sides know."""

    schema: Schema
    """Of this layer alone."""
    gold: Sequence[Document]
    rounds: tuple[list[list[Document]], list[list[Document]]]
    """Predictions of the first and the second side, for each of its seeds."""


def joint_schema(results: Iterable[Result], fallback: Schema | None) -> Schema:
    """All layers and labels that any result was trained on; the first that declares a layer says its kind.

    Raises:
        DocumentError: no result tells its schema, and there is no `fallback`.
    """
    told = [schema for result in results if (schema := result.schema)] or ([fallback] if fallback else [])
    layers: dict[str, Layer] = {}
    for schema in told:
        for name, layer in schema.layers.items():
            before = layers.get(name, layer)
            layers[name] = _restricted(before, {**before.labels, **layer.labels, **before.labels})
    if not layers:
        raise DocumentError("results", "none of them tells its schema; name it with --schema")
    return Schema(layers=layers)


def _restricted(layer: Layer, labels: Mapping[str, LabelSpec]) -> Layer:
    """The layer with these labels, without what only annotators need (two schemas may give one key to two labels)."""
    kept = {name: {"color": spec.color} for name, spec in labels.items()}
    values = {"kind": layer.kind, "targeted": layer.targeted, "labels": kept}
    return Layer.build(values, where="the results' schemas")


def common_documents(sides: tuple[Side, Side], gold: Sequence[Document], say: Say) -> list[Document]:
    """The gold of documents that both sides predict, with the same text."""
    known = {document.id: document for document in gold}
    for side, other in (sides, sides[::-1]):
        _tell(side.ids - other.ids, f"predicted by {side.name} alone", say)
    both = sides[0].ids & sides[1].ids
    _tell(both - set(known), "predicted by both and without gold", say)
    _tell(set(known) - sides[0].ids - sides[1].ids, "in gold and predicted by neither", say)
    kept = both & set(known)
    for side in sides:
        other_text = {one for one in kept if any(found[one].text != known[one].text for found in side.rounds)}
        _tell(other_text, f"another text in {side.name} than in gold", say)
        kept -= other_text
    return [document for document in gold if document.id in kept]


def _tell(ids: Collection[str], what: str, say: Say) -> None:
    if ids:
        shown = ", ".join(sorted(ids)[:NAMED]) + (", …" if len(ids) > NAMED else "")
        say(f"{len(ids)} {'document' if len(ids) == 1 else 'documents'} left out, {what}: {shown}")


def common_layer(
    sides: tuple[Side, Side], gold: Sequence[Document], name: str, joint: Schema, say: Say
) -> CommonLayer | None:
    """What both sides and gold have of a layer; None where that is nothing, and `say` is told why."""
    if reason := _incomparable(sides, gold, name, joint):
        say(f"layer {name!r} is not compared: {reason}")
        return None
    layer = joint.layers[name]
    kept = [document for document in gold if name in document.labels]
    if layer.targeted:
        kept = _same_target(sides, kept, name, say)
    labels = [label for label in layer.names if all(label in side.known[name] for side in sides)]
    _tell_unknown(sides, kept, name, say)
    if len(labels) < (1 if layer.kind is Kind.SPANS else 2):
        say(f"layer {name!r} is not compared: both know only {len(labels)} of its labels")
        return None
    own = Schema(layers={name: _restricted(layer, {label: layer.labels[label] for label in labels})})
    narrowed = [document.within({name: labels}) for document in kept]
    first, second = (
        [[found[one.id].within({name: labels}) for one in kept] for found in side.rounds] for side in sides
    )
    common = CommonLayer(own, [one for one in narrowed if name in one.labels], (first, second))
    if reason := _nothing_left(common, sides, name):
        say(f"layer {name!r} is not compared: {reason}")
        return None
    return common


def _incomparable(sides: tuple[Side, Side], gold: Sequence[Document], name: str, joint: Schema) -> str | None:
    if name not in joint.layers:
        return "no schema declares it"
    for side, other in (sides, sides[::-1]):
        if name not in side.known:
            count = sum(name in document.labels for document in other.rounds[0].values())
            return f"{side.name} does not know it, {other.name} predicts it in {count} documents"
        if not side.predicts(name):
            return f"{side.name} predicts it in no document"
    declared = [side.schema.layers[name] for side in sides if name in side.schema.layers]
    if len({(layer.kind, layer.targeted) for layer in declared}) > 1:
        shown = " and ".join(f"{layer.kind}{', targeted' if layer.targeted else ''}" for layer in declared)
        return f"the two declare it differently ({shown})"
    if not any(name in document.labels for document in gold):
        return f"gold annotates it in none of {len(gold)} common documents"
    return None


def _same_target(sides: tuple[Side, Side], gold: Sequence[Document], name: str, say: Say) -> list[Document]:
    other = {
        document.id
        for document in gold
        for side in sides
        for found in side.rounds
        if found[document.id].target != document.target
    }
    _tell(other, f"another target than in gold (layer {name!r})", say)
    return [document for document in gold if document.id not in other]


def _tell_unknown(sides: tuple[Side, Side], gold: Sequence[Document], name: str, say: Say) -> None:
    """Names the labels that one side alone can predict."""
    counts = Counter(label for document in gold for label in used_labels(document)[name])
    for side, other in (sides, sides[::-1]):
        for label in [label for label in other.known[name] if label not in side.known[name]]:
            given = other.given(name, label, [document.id for document in gold])
            say(
                f"label {label!r} of layer {name!r} is left out, {side.name} does not know it: "
                f"{counts[label]} in gold, {given} predicted by {other.name}"
            )


def _nothing_left(common: CommonLayer, sides: tuple[Side, Side], name: str) -> str | None:
    if not common.gold:
        return "no common document is left that gold annotates"
    for side, rounds in zip(sides, common.rounds, strict=True):
        documents = [document for found in rounds for document in found]
        if not any(name in document.labels for document in documents):
            return f"nothing is left of what {side.name} predicts"
        if problems := [problem for document in documents for problem in common.schema.problems(document)]:
            return f"{len(problems)} predictions of {side.name} do not fit it ({problems[0]})"
    return None
