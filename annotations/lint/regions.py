"""Lints the regions of one annotation: bounds, text, labels, overlaps, edges, sentences. It knows one document at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from annotations.document import Span
from annotations.errors import did_you_mean
from annotations.lint.edges import edge_punctuation, is_space, mid_word
from annotations.lint.findings import NOWHERE, Finding, Range, Where, context, shown
from annotations.lint.reading import Annotation, Item, Region
from annotations.offsets import Place, locate
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import Bounds, covers, sentences


@dataclass(frozen=True)
class Mark:
    """A region whose place is known, and where reading puts it: half-open, repaired, without white space at its edges."""

    region: Region
    label: str | None
    """None where it has no label of its layer."""
    start: int
    end: int
    moved: bool
    """Whether the file gives another place, so that its edges are not the annotator's."""

    @property
    def at(self) -> Range:
        """The place as the file gives it."""
        return _range(self.region)

    @property
    def name(self) -> str:
        """Label and place, for messages."""
        return f"{self.label or 'the region'} {self.start}–{self.end}"


@dataclass
class Marks:
    """The usable regions of one annotation."""

    places: dict[str, list[Mark]] = field(default_factory=lambda: defaultdict(list))
    """Layer to marks in text order, for layers of spans and sentences."""
    choices: dict[str, list[Mark]] = field(default_factory=lambda: defaultdict(list))
    """Layer to marks whose place means nothing, for layers of documents."""

    def every(self, layer: str) -> list[Mark]:
        """The marks of one layer, of whatever kind."""
        return [*self.places.get(layer, ()), *self.choices.get(layer, ())]


def lint_regions(item: Item, annotation: Annotation, text: str, schema: Schema) -> tuple[Marks, list[Finding]]:
    """The usable regions, and what is wrong with each by itself and beside its neighbours."""
    reader = _Reader(annotation.where, text, schema, item.is_line)
    findings = [finding for region in annotation.regions for finding in reader.read(region)]
    for name, marks in reader.marks.places.items():
        marks.sort(key=lambda mark: (mark.start, mark.end))
        layer = schema.layers[name]
        flat = item.is_line or layer.kind is Kind.SPANS
        findings += reader.overlaps(marks) if flat else reader.sentences_labelled_twice(marks)
        findings += [finding for mark in marks if not mark.moved for finding in reader.edges(mark, layer)]
    for marks in reader.marks.choices.values():
        findings += reader.several_choices(marks)
    return reader.marks, findings


def sentence_marks(marks: Sequence[Mark], bounds: Sequence[Bounds]) -> list[list[Mark]]:
    """For each sentence, the marks that cover more than half of it. Sentences must be in text order."""
    found: list[list[Mark]] = [[] for _ in bounds]
    starts, ends = [one.start for one in bounds], [one.end for one in bounds]
    for mark in marks:
        span = Span.model_construct(label="", start=mark.start, end=mark.end)
        for number in range(bisect_right(ends, mark.start), bisect_left(starts, mark.end)):
            if covers(span, bounds[number]):
                found[number].append(mark)
    return found


def _range(region: Region) -> Range:
    whole = type(region.start) is int and type(region.end) is int
    return Range(region.start, region.end) if whole else NOWHERE


@dataclass
class _Reader:
    where: Where
    text: str
    schema: Schema
    is_line: bool
    marks: Marks = field(default_factory=Marks)

    def read(self, region: Region) -> Iterator[Finding]:
        layer = self.schema.layers.get(region.layer)
        if layer is None:
            hint = did_you_mean(region.layer, self.schema.layers)
            yield self._found("E105", f"{shown(region.layer)!r} is no layer of the schema ({hint})", region)
            return
        if region.malformed:
            yield self._found("E107", region.malformed, region)
            return
        problem, label = self._label(region, layer)
        if problem:
            yield problem
        if layer.kind is Kind.DOCUMENT:
            self.marks.choices[region.layer] += [Mark(region, label, 0, 0, moved=True)] if label else []
            return
        misplaced, place = self._place(region)
        if misplaced:
            yield misplaced
        if place:
            mark = Mark(region, label, place.start, place.end, moved=misplaced is not None)
            self.marks.places[region.layer].append(mark)

    def _found(self, code: str, what: str, region: Region) -> Finding:
        return self.where.found(code, what, layer=region.layer, region=region.id, at=_range(region))

    def _label(self, region: Region, layer: Layer) -> tuple[Finding | None, str | None]:
        names = region.labels
        if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
            what = f"has {shown(names)}" if names else "has no label"
            return self._found("E106", what + self._seen(region), region), None
        if names[0] in layer.labels:
            return None, names[0]
        what = f"{shown(names[0])!r} is no label of this layer ({did_you_mean(names[0], layer.labels)})"
        return self._found("E104", what + self._seen(region), region), None

    def _seen(self, region: Region) -> str:
        start, end = _range(region)
        return "" if start is None or end is None else f": {context(self.text, start, end)}"

    def _place(self, region: Region) -> tuple[Finding | None, Place | None]:
        start, end = _range(region)
        if start is None or end is None:
            found = f"{shown(repr(region.start))} and {shown(repr(region.end))}"
            return self._found("E107", f"start and end must be whole numbers, found {found}", region), None
        inside = 0 <= start < end <= len(self.text)
        place = locate(self.text, start, end, region.quote)
        if inside and self.is_line:
            place = Place(start, end)
        moved = place is not None and bool(place.how) and not place.how.startswith("white space")
        fate = f" (reading moves it to {place.start}–{place.end}: {place.how})" if place and moved else ""
        if not inside or all(map(is_space, self.text[start:end])):
            return self._found("E101", self._outside(start, end) + fate, region), place if moved else None
        if place is None or moved:
            quote = shown(repr((region.quote or "")[:60]))
            what = f"its text is {quote}, its place reads {context(self.text, start, end)}"
            return self._found("E102", what + (fate or " (its text is nowhere)"), region), place
        return None, place

    def _outside(self, start: int, end: int) -> str:
        if end <= start:
            return f"{start}–{end} is empty or backward, and `end` is exclusive"
        if start < 0 or end > len(self.text):
            return f"{start}–{end} is outside of the text, which has {len(self.text)} characters"
        return f"{start}–{end} is blank: {context(self.text, start, end)}"

    def overlaps(self, marks: Sequence[Mark]) -> Iterator[Finding]:
        """Each mark that shares characters with an earlier one, told beside the one that reaches furthest."""
        furthest: Mark | None = None
        for mark in marks:
            if furthest and mark.start < furthest.end:
                twice = (mark.start, mark.end, mark.label) == (furthest.start, furthest.end, furthest.label)
                # A line of JSON Lines with a span given twice is refused; an export is read without the second.
                if not twice or self.is_line:
                    yield self._pair("E103", mark, furthest)
                elif not mark.moved and not furthest.moved:
                    yield self._pair("W201", mark, furthest)
            if not furthest or mark.end > furthest.end:
                furthest = mark

    def sentences_labelled_twice(self, marks: Sequence[Mark]) -> Iterator[Finding]:
        """Each mark on a sentence that an earlier mark has labelled, with the same label or another."""
        told: set[int] = set()
        for fitting in sentence_marks(marks, sentences(self.text)):
            for mark in fitting[1:]:
                if id(mark) not in told:
                    told.add(id(mark))
                    yield self._pair("W201" if mark.label == fitting[0].label else "E108", mark, fitting[0])

    def _pair(self, code: str, mark: Mark, earlier: Mark) -> Finding:
        of = f" of region {earlier.region.id}" if earlier.region.id else ""
        says = {"W201": "repeats", "E103": "overlaps", "E108": "labels a sentence otherwise than"}[code]
        place = context(self.text, mark.start, mark.end)
        return self._found(code, f"{mark.label or 'it'} {says} {earlier.name}{of}: {place}", mark.region)

    def several_choices(self, marks: Sequence[Mark]) -> Iterator[Finding]:
        """Every choice for the document after the first one."""
        for mark in marks[1:]:
            same = mark.label == marks[0].label
            what = f"{mark.label} is chosen {'twice' if same else f'beside {marks[0].label}'} for one document"
            yield self._found("W201" if same else "E108", what, mark.region)

    def edges(self, mark: Mark, layer: Layer) -> Iterator[Finding]:
        """What is wrong with where a mark begins and ends."""
        first, last = mark.at
        assert first is not None and last is not None
        start, end = self._visible(first, last)
        if (start, end) != (first, last):
            yield self._found("W202", f"white space at its edge: {context(self.text, first, last)}", mark.region)
        if layer.kind is Kind.SENTENCES:
            yield from self._off_sentence(mark, start, end)
            return
        if signs := edge_punctuation(self.text, start, end):
            yield self._found("W203", f"{signs} at its edge: {context(self.text, start, end)}", mark.region)
        if mid_word(self.text, start) or mid_word(self.text, end):
            side = "begins" if mid_word(self.text, start) else "ends"
            yield self._found("W204", f"{side} inside a word: {context(self.text, start, end)}", mark.region)

    def _visible(self, start: int, end: int) -> tuple[int, int]:
        while start < end and is_space(self.text[start]):
            start += 1
        while start < end and is_space(self.text[end - 1]):
            end -= 1
        return start, end

    def _off_sentence(self, mark: Mark, start: int, end: int) -> Iterator[Finding]:
        if _holds(self._starts, start) and _holds(self._ends, end):
            return
        bounds = sentences(self.text)
        touched = bounds[bisect_right(self._ends, start) : bisect_left(self._starts, end)]
        covered = [one for one in touched if covers(Span.model_construct(label="", start=start, end=end), one)]
        ends = covered or touched
        fate = "" if covered else ", covers none by more than half and is left out"
        what = (
            f"{start}–{end} is off the sentence {ends[0].start}–{ends[-1].end}{fate}" if ends else "is on no sentence"
        )
        yield self._found("W207", f"{what}: {context(self.text, start, end)}", mark.region)

    @cached_property
    def _starts(self) -> list[int]:
        return [one.start for one in sentences(self.text)]

    @cached_property
    def _ends(self) -> list[int]:
        return [one.end for one in sentences(self.text)]


def _holds(ordered: Sequence[int], value: int) -> bool:
    place = bisect_left(ordered, value)
    return place < len(ordered) and ordered[place] == value
