"""What is wrong, or worth knowing, with annotated documents before any tokenizer sees them: counts, groups, conflicts.

It knows documents and the schema, not tokens and not the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from annotations.document import Document, Label
from annotations.errors import ConfigError, DocumentError
from annotations.labelstudio.exports import ImportReport
from annotations.near_duplicates import near_duplicates
from annotations.reading import annotated_documents
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import sentence_labels
from training.config import DataConfig
from training.folds import apart, held_apart
from training.preflight.config import Finding, findings

EXAMPLES = 3
SIMILAR = 0.5
"""Share of word 5-grams from which on two texts count as near-duplicates, as in `standpoint labels lint`."""


@dataclass
class Data:
    """The documents of a run, as far as they can be read."""

    learned: list[Document] = field(default_factory=list)
    scored: list[Document] = field(default_factory=list)
    """Held out or tested on."""
    whole: bool = True
    """Whether every file was read, so that what is missing is missing indeed."""
    problems: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    @property
    def documents(self) -> list[Document]:
        """All of them."""
        return [*self.learned, *self.scored]


def read_data(config: DataConfig, schema: Schema) -> Data:
    """Read every file that can be read; the others become problems, as does whatever `standpoint train` refuses."""
    data = Data()
    own = _files(config.train, schema, data)
    for name, count in Counter(document.id for document in own).items():
        if count > 1:
            data.problems.append(Finding("data.train", f"document id {name!r} is used {count} times; make ids unique"))
    unseen = _files(config.test, schema, data)
    known = {document.fold for document in own}
    try:
        held_apart(own, config.held_out if data.whole else [])
    except ConfigError as error:
        data.problems += findings(error)
    data.learned, held_out = held_apart(own, [group for group in config.held_out if group in known])
    data.scored = [*held_out, *unseen]
    try:
        apart(data.learned, data.scored)
    except DocumentError as error:
        remedy = "; a text is either learned or scored: remove it from one of the two"
        data.problems += [
            Finding(error.where, f"{problem}{remedy if 'text' in problem else ''}") for problem in error.problems
        ]
    return data


def _files(paths: Iterable[Path], schema: Schema, data: Data) -> list[Document]:
    """The documents of each file that can be read. Adds to the problems and warnings of `data`."""
    found: list[Document] = []
    for path in paths:
        try:
            documents, imported = annotated_documents([path], schema)
        except DocumentError as error:
            data.whole = False
            data.problems += [Finding(str(path), problem.removeprefix(f"{path}: ")) for problem in error.problems]
            continue
        if not documents:
            data.problems.append(
                Finding(str(path), "holds no annotated document; annotate some, or take it out of data")
            )
        data.warnings += _import_warnings(path, imported)
        found += documents
    return found


def _import_warnings(path: Path, imported: ImportReport) -> Iterator[Finding]:
    kinds = {
        "labels cover no sentence by more than half and are left out; mark whole sentences": imported.unplaced,
        "annotations were repaired on reading; look at them": imported.repairs,
        "annotations could not be decided between annotators; adjudicate them": imported.remarks,
        "tasks are left out; finish or review them if they should be learned": imported.left_out,
    }
    for what, cases in kinds.items():
        if cases:
            yield Finding(str(path), f"{len(cases)} {what}: {shown(cases)}")


def shown(cases: Sequence[str]) -> str:
    """The first few of many, and how many more there are."""
    more = len(cases) - EXAMPLES
    return "; ".join(cases[:EXAMPLES]) + (f"; and {more} more" if more > 0 else "")


# Counts


def examples(documents: Iterable[Document], name: str, layer: Layer) -> Iterator[tuple[str, str]]:
    """(label, group) of all that a layer can be learned from; documents of one text count a span once."""
    seen: set[tuple[str, int, int, str]] = set()
    for document in documents:
        value = document.labels.get(name)
        if isinstance(value, Label):
            yield value.label, document.fold
        elif layer.kind is Kind.SENTENCES and value is not None:
            yield from ((label, document.fold) for label in sentence_labels(document, name) if label is not None)
        else:
            spans = {(document.text, span.start, span.end, span.label) for span in value or ()}
            yield from ((label, document.fold) for *_, label in spans - seen)
            seen |= spans


class Tally(NamedTuple):
    """How often a label of one layer occurs in a group, by (label, group)."""

    learned: Counter[tuple[str, str]]
    scored: Counter[tuple[str, str]]

    def learned_of(self, label: str) -> int:
        """Examples to learn from."""
        return sum(count for (own, _), count in self.learned.items() if own == label)

    def groups(self, label: str) -> set[str]:
        """Where the label occurs, learned or scored."""
        return {group for part in self for own, group in part if own == label}


def tally(data: Data, schema: Schema) -> dict[str, Tally]:
    """What every layer can be learned from and scored on; counted once, as finding sentences takes time."""
    return {
        name: Tally(Counter(examples(data.learned, name, layer)), Counter(examples(data.scored, name, layer)))
        for name, layer in schema.layers.items()
    }


def layer_facts(data: Data, schema: Schema, tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """For each layer its kind, how many documents annotate it, and for each label how often it is learned and scored."""
    return {
        name: {
            "kind": str(layer.kind),
            "documents": {
                "learned": sum(name in document.labels for document in data.learned),
                "scored": sum(name in document.labels for document in data.scored),
            },
            "labels": {label: _label_facts(tallies[name], label) for label in layer.names},
        }
        for name, layer in schema.layers.items()
    }


def _label_facts(counted: Tally, label: str) -> dict[str, int]:
    scored = sum(count for (own, _), count in counted.scored.items() if own == label)
    return {"learned": counted.learned_of(label), "scored": scored, "groups": len(counted.groups(label))}


def data_facts(data: Data) -> dict[str, Any]:
    """Documents, distinct texts and groups of what is learned and what is scored."""
    return {
        side: {
            "documents": len(part),
            "texts": len({document.text for document in part}),
            "groups": len({document.fold for document in part}),
        }
        for side, part in (("learned", data.learned), ("scored", data.scored))
    }


# What is missing


def missing_problems(data: Data, schema: Schema) -> Iterator[Finding]:
    """Nothing to learn from at all, or in one layer. Only sound where every file was read."""
    if not data.learned:
        held_out = "; data.held_out leaves none" if data.scored else "; name annotated files in data.train"
        yield Finding("data.train", f"there is no document to learn from{held_out}")
        return
    if not any(document.text.strip() for document in data.learned):
        yield Finding("data.train", "every text is empty; export the texts with their annotations")
    lacking = [name for name in schema.layers if not any(name in document.labels for document in data.learned)]
    if len(lacking) == len(schema.layers):
        yield Finding(
            "data.train",
            f"annotates no layer of the schema ({', '.join(lacking)}) in any text; check data.train and the schema",
        )
        return
    for name in lacking:
        yield Finding(
            f"layer {name!r}",
            "no document to learn from annotates it; annotate it, or take it out of the schema for this run",
        )


def missing_warnings(data: Data, schema: Schema, tallies: Mapping[str, Tally]) -> Iterator[Finding]:
    """Labels with hardly an example, or in one group; too few groups; documents that a layer cannot use."""
    if not data.learned:
        return
    groups = {document.fold for document in data.documents}
    if len(groups) < 2:
        yield Finding(
            "data", "there is 1 group, so nothing unseen to score on; set `group`, and add articles for a crossval"
        )
    for name, layer in schema.layers.items():
        if any(name in document.labels for document in data.learned):
            yield from rare(name, layer, tallies[name], many=len(groups) > 1)
    yield from _unused(data.learned, schema)


def rare(name: str, layer: Layer, counted: Tally, *, many: bool) -> Iterator[Finding]:
    """Labels of a layer without an example, with one, and, where there are `many` groups, in one group only."""
    counts = {label: counted.learned_of(label) for label in layer.names}
    where = f"layer {name!r}"
    if none := [label for label, count in counts.items() if not count]:
        yield Finding(
            where, f"no example of {', '.join(none)}; never predicted: annotate some, or take it out of the schema"
        )
    if single := [label for label, count in counts.items() if count == 1]:
        yield Finding(
            where,
            f"a single example of {', '.join(single)}; hardly learned: annotate more, or merge it with another label",
        )
    lonely = [f"{label} (in {min(own)})" for label in layer.names if len(own := counted.groups(label)) == 1]
    if lonely and many:
        yield Finding(
            where,
            f"in one group only: {', '.join(lonely)}; crossval, which leaves each group out once, trains without the label "
            "where it scores it: annotate it in other groups",
        )


def _unused(learned: Sequence[Document], schema: Schema) -> Iterator[Finding]:
    targeted = [name for name, layer in schema.layers.items() if layer.targeted]
    cases = {
        f"have no target, so they teach nothing of {', '.join(targeted)}; set `target` if they should": [
            document for document in learned if targeted and document.target is None
        ],
        "annotate no layer of the schema and teach nothing; annotate them, or take them out": [
            document for document in learned if not document.labels
        ],
        "have no text; export them again": [document for document in learned if not document.text.strip()],
    }
    for what, documents in cases.items():
        if documents:
            names = shown([document.id for document in documents])
            yield Finding("data.train", f"{len(documents)} of {len(learned)} documents {what}: {names}")


# What contradicts itself, or is on both sides


def conflict_problems(documents: Sequence[Document], schema: Schema) -> Iterator[Finding]:
    """Texts whose documents annotate a layer of spans differently: training refuses them."""
    for name in schema.of_kind(Kind.SPANS):
        for same in _together(documents, name, lambda document: document.text):
            for other in same[1:]:
                if differing := _differing(same[0], other, name):
                    yield Finding(
                        f"documents {same[0].id!r} and {other.id!r}",
                        f"have the same text and different spans in layer {name!r}; keep the annotation of one of them: "
                        f"{shown(differing)}",
                    )


def _differing(one: Document, other: Document, name: str) -> list[str]:
    """The spans of one document alone, quoted, in text order."""
    sides = [(document, document.spans(name)) for document in (one, other)]
    alone = [
        (
            span.start,
            f"{document.text[span.start : span.end]!r} {span.start}–{span.end} {span.label} in {document.id!r} only",
        )
        for (document, spans), (_, others) in zip(sides, reversed(sides), strict=True)
        for span in spans
        if (span.start, span.end, span.label) not in {(s.start, s.end, s.label) for s in others}
    ]
    return [text for _, text in sorted(alone)]


def conflict_warnings(documents: Sequence[Document], schema: Schema) -> Iterator[Finding]:
    """The same text, read against the same target, with different labels: training takes both and learns a compromise."""
    for name, layer in schema.layers.items():
        if layer.kind is Kind.SPANS:
            continue
        for same in _together(documents, name, lambda d, layer=layer: (d.text, d.target if layer.targeted else None)):
            labels = [_choices(document, name) for document in same]
            for other, chosen in zip(same[1:], labels[1:], strict=True):
                pairs = [(a, b) for a, b in zip(labels[0], chosen, strict=True) if a and b and a != b]
                if pairs:
                    yield Finding(
                        f"documents {same[0].id!r} and {other.id!r}",
                        f"have the same text and target, and {len(pairs)} different labels in layer {name!r}; adjudicate, or "
                        f"keep one of them: {shown([f'{a} against {b}' for a, b in pairs])}",
                    )


def _choices(document: Document, name: str) -> Sequence[str | None]:
    value = document.labels[name]
    return [value.label] if isinstance(value, Label) else sentence_labels(document, name)


def _together(documents: Iterable[Document], name: str, key: Callable[..., Any]) -> Iterator[list[Document]]:
    """The documents that annotate a layer, those with the same key together, where there are several."""
    by_key: dict[Any, list[Document]] = {}
    for document in documents:
        if name in document.labels:
            by_key.setdefault(key(document), []).append(document)
    return (found for found in by_key.values() if len(found) > 1)


def leakage_warnings(data: Data) -> Iterator[Finding]:
    """Groups on both sides, and texts in several groups."""
    shared = {document.fold for document in data.learned} & {document.fold for document in data.scored}
    if shared:
        yield Finding(
            "data.test",
            f"{len(shared)} groups are both learned and scored, so scores will be too good; score on other groups: "
            f"{shown(sorted(shared))}",
        )
    texts: dict[str, list[Document]] = {}
    for document in data.documents:
        texts.setdefault(document.text, []).append(document)
    for same in texts.values():
        if len({document.fold for document in same}) > 1:
            names = " and ".join(f"{document.id!r} ({document.fold})" for document in same)
            yield Finding("data", f"one text is in several groups, as documents {names}; give them one `group`")


def near_duplicate_warnings(data: Data) -> Iterator[Finding]:
    """Texts that share most of their wording across groups; to find them takes time."""
    first: dict[str, Document] = {}
    for document in data.documents:
        first.setdefault(document.text, document)
    distinct = [*first.values()]
    learned = {document.id for document in data.learned}
    for later, earlier, share in near_duplicates([d.text for d in distinct], [d.fold for d in distinct], SIMILAR):
        one, other = distinct[later], distinct[earlier]
        across = (one.id in learned) != (other.id in learned)
        remedy = (
            "scores will be too good: drop one of the two"
            if across
            else "give both one `group`, or drop one of the two"
        )
        sides = ["learned" if document.id in learned else "scored" for document in (one, other)]
        yield Finding(
            f"documents {one.id!r} and {other.id!r}",
            f"({sides[0]}, {sides[1]}) share {share:.0%} of their word 5-grams and are in different groups; {remedy}",
        )
