"""Lints a data set as a whole: ids, consistency of labels, forgotten names, copies across folds, rare labels.

Where a task has a ground truth, only that stands for the document; otherwise every annotation does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from annotations.lint.edges import TOKEN, mid_word
from annotations.lint.findings import Finding, Range, Where, context, shown
from annotations.lint.reading import Annotation, Item
from annotations.lint.regions import Mark, Marks, sentence_marks
from annotations.near_duplicates import near_duplicates
from annotations.schema import Kind, Schema
from annotations.sentences import sentences

SELDOM = 0.25
"""Two labels that a surface both has more often than this are taken for two meanings, as in `New York` and its club."""

Reading = tuple[Annotation, Marks]


@dataclass(frozen=True)
class Limits:
    """From where on the rules about a whole data set speak."""

    marked: int = 3
    """A surface left unmarked is told where it is marked in so many places at least, and in half of its documents."""
    examples: int = 10
    """A label with fewer examples, or with all of them in one of several folds, is told; 0 for none."""
    similarity: float = 0.5
    """Texts in two folds are told where they share this part of their word 5-grams (Jaccard)."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Entry:
    """What has to be remembered of a document until all are read."""

    item: Item
    readings: Sequence[Reading]
    """The annotations that stand for the document, with their usable regions."""
    examples: Mapping[str, Counter[str]]
    """Annotated layer to label to the number of spans, sentences or documents."""


def entry(item: Item, marks: Sequence[Marks], schema: Schema) -> Entry:
    """`marks` are the usable regions of each annotation of the item."""
    truths = any(annotation.truth for annotation in item.annotations)
    both = zip(item.annotations, marks, strict=True)
    readings = [(annotation, found) for annotation, found in both if annotation.truth or not truths]
    examples = {}
    for name, layer in schema.layers.items():
        annotated = any(_is_annotated(reading, name, layer.kind) for reading in readings)
        if annotated:
            examples[name] = Counter(_examples(item.text or "", name, layer.kind, [found for _, found in readings]))
    return Entry(item, readings, examples)


def _is_annotated(reading: Reading, name: str, kind: Kind) -> bool:
    annotation, marks = reading
    return (
        name in annotation.annotated if kind is Kind.SPANS else bool(marks.places.get(name) or marks.choices.get(name))
    )


def _examples(text: str, name: str, kind: Kind, marks: Sequence[Marks]) -> Iterator[str]:
    """The label of each example, once for all annotations that agree on it."""
    found: set[tuple[int, int, str | None]] = set()
    for each in marks:
        if kind is Kind.SENTENCES:
            fitting = enumerate(sentence_marks(each.places.get(name, []), sentences(text)))
            found |= {(number, 0, mark.label) for number, some in fitting for mark in some}
        else:
            found |= {(mark.start, mark.end, mark.label) for mark in each.every(name)}
    yield from (label for _, _, label in found if label is not None)


def lint_corpus(entries: Sequence[Entry], schema: Schema, limits: Limits) -> Iterator[Finding]:
    """Every finding that takes the whole data set."""
    yield from _repeated_ids(entries)
    for name in schema.of_kind(Kind.SPANS):
        surfaces = _surfaces(entries, name)
        yield from _inconsistent(entries, name, surfaces)
        yield from _unmarked(entries, name, surfaces, limits.marked)
    yield from _copies(entries, limits.similarity)
    yield from _rare(entries, schema, limits.examples)


def _repeated_ids(entries: Iterable[Entry]) -> Iterator[Finding]:
    first: dict[str, Item] = {}
    for item in (entry.item for entry in entries):
        where = item.where
        earlier = first.setdefault(where.document, item) if where.document else item
        if earlier is not item:
            text = "the same text" if earlier.text == item.text else "another text"
            place = f"task {earlier.where.task} of {earlier.where.file}" if earlier.where.task else earlier.where.file
            yield where.found("E110", f"{place} has the same id, and {text}")


def _surfaces(entries: Iterable[Entry], name: str) -> dict[str, Counter[str]]:
    """Surface to how many places have which label."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in entries:
        places = {(mark.start, mark.end, mark.label) for _, marks in one.readings for mark in marks.every(name)}
        for start, end, label in places:
            if label is not None:
                found[_surface(one.item, start, end)][label] += 1
    return found


def _surface(item: Item, start: int, end: int) -> str:
    return " ".join((item.text or "")[start:end].split())


def _inconsistent(entries: Iterable[Entry], name: str, surfaces: Mapping[str, Counter[str]]) -> Iterator[Finding]:
    """Marks whose label their surface has once, or seldom, beside another label."""
    for one in entries:
        for annotation, marks in one.readings:
            for mark in marks.every(name):
                surface = _surface(one.item, mark.start, mark.end)
                counts = surfaces.get(surface, Counter())
                if len(counts) > 1 and mark.label and counts[mark.label] <= max(1, SELDOM * counts.total()):
                    yield _inconsistency(one.item, annotation, mark, surface, counts)


def _inconsistency(item: Item, annotation: Annotation, mark: Mark, surface: str, counts: Counter[str]) -> Finding:
    others = ", ".join(f"{label} in {count}" for label, count in counts.most_common())
    what = f"{shown(surface)!r} is {mark.label} here, and of {counts.total()} places {others}"
    place = context(item.text or "", mark.start, mark.end)
    return annotation.where.found(
        "W205", f"{what}: {place}", layer=mark.region.layer, region=mark.region.id, at=mark.at
    )


def _unmarked(
    entries: Iterable[Entry], name: str, surfaces: Mapping[str, Counter[str]], least: int
) -> Iterator[Finding]:
    often = {surface for surface, counts in surfaces.items() if counts.total() >= least and _is_telling(surface)}
    index = _by_first_token(surfaces)
    bare: list[tuple[Entry, Annotation, str, int]] = []
    marked: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for one in entries:
        readings = [
            (annotation, marks.every(name)) for annotation, marks in one.readings if name in annotation.annotated
        ]
        matches = list(_matches(one.item.text or "", index)) if readings else []
        for annotation, marks in readings:
            here = {_surface(one.item, mark.start, mark.end) for mark in marks}
            found = [(surface, start) for surface, start in _outside(matches, marks) if surface in often]
            bare += [(one, annotation, surface, start) for surface, start in found]
            marked.update(here)
            left.update({surface for surface, _ in found} - here)
    for one, annotation, surface, start in bare:
        # What most documents leave unmarked is a common word that was marked here and there.
        if marked[surface] >= left[surface] and not _in_address(one.item.text or "", start, start + len(surface)):
            yield _omission(one.item, annotation, name, Range(start, start + len(surface)), surfaces[surface])


def _omission(item: Item, annotation: Annotation, name: str, at: Range, counts: Counter[str]) -> Finding:
    text, (start, end) = item.text or "", (at.start or 0, at.end or 0)
    label, count = counts.most_common(1)[0]
    what = f"{shown(text[start:end])!r} is {label} in {count} places and unmarked here: {context(text, start, end)}"
    return annotation.where.found("W206", what, layer=name, at=at)


def _by_first_token(surfaces: Iterable[str]) -> dict[str, list[str]]:
    """First token to the surfaces that begin with it, the longest first."""
    index: dict[str, list[str]] = defaultdict(list)
    for surface in sorted(surfaces, key=len, reverse=True):
        if first := TOKEN.match(surface):
            index[first[0]].append(surface)
    return index


def _is_telling(surface: str) -> bool:
    """Single characters and short numbers mean too many things."""
    return len(surface) > 1 and (any(map(str.isalpha, surface)) or len(surface) > 3)


def _matches(text: str, index: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, int]]:
    """Where known surfaces stand as whole words: the longest one at each place, none inside another."""
    last = 0
    for token in TOKEN.finditer(text):
        start, candidates = token.start(), index.get(token[0])
        if not candidates or start < last or mid_word(text, start):
            continue
        for surface in candidates:
            if text.startswith(surface, start) and not mid_word(text, start + len(surface)):
                last = start + len(surface)
                yield surface, start
                break


def _outside(matches: Iterable[tuple[str, int]], marks: Sequence[Mark]) -> Iterator[tuple[str, int]]:
    """The matches that share no character with a mark. Both must be in text order."""
    first = 0
    for surface, start in matches:
        while first < len(marks) and marks[first].end <= start:
            first += 1
        if first == len(marks) or marks[first].start >= start + len(surface):
            yield surface, start


def _in_address(text: str, start: int, end: int) -> bool:
    """Whether a place lies in a web or mail address, or in a handle."""
    left = max(text.rfind(space, 0, start) for space in " \n\t") + 1
    rest = text[end:].split(maxsplit=1)[:1] if end < len(text) and not text[end].isspace() else []
    around = text[left:start] + "".join(rest)
    return any(sign in around for sign in ("@", "://", "www."))


def _copies(entries: Sequence[Entry], threshold: float) -> Iterator[Finding]:
    """The texts of each fold, each once, beside those of other folds."""
    items: dict[tuple[str, str], Item] = {}
    for item in (one.item for one in entries if one.item.text):
        items.setdefault((item.fold, item.text or ""), item)
    distinct = list(items.values())
    groups = [item.fold for item in distinct]
    for later, earlier, similarity in near_duplicates([item.text or "" for item in distinct], groups, threshold):
        other = distinct[earlier]
        name = f"document {other.where.document} ({other.where.file}, fold {shown(other.fold)})"
        what = f"shares {similarity:.0%} of its word 5-grams with {name}, and is itself in fold {shown(groups[later])}"
        yield distinct[later].where.found("W208", what)


def _rare(entries: Sequence[Entry], schema: Schema, least: int) -> Iterator[Finding]:
    """Labels with few examples, or all in one of several folds."""
    folds = {one.item.fold for one in entries if one.examples}
    for name, layer in schema.layers.items():
        annotated = [one for one in entries if name in one.examples]
        for label in layer.names if annotated else ():
            having = [one for one in annotated if one.examples[name][label]]
            count = sum(one.examples[name][label] for one in having)
            spread = len({one.item.fold for one in having})
            if least and (count < least or (spread == 1 and len(folds) > 1)):
                what = f"{label} has {count} examples in {spread} of {len(folds)} folds"
                yield Where().found("W209", what, layer=name)
