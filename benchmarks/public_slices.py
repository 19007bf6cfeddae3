"""The public sets as documents to learn from and documents to score on: fixed slices for the proxy, whole parts for tables.

It knows where the files of each set are and how they are cut. It knows no encoder, no settings and no scores.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.formats.conversion import ConversionReport
from annotations.near_duplicates import near_duplicates
from annotations.schema import Kind, Schema
from training.formats.conversion import Reading
from training.formats.names import Format
from training.formats.public_sets import kept_for_choosing, newsmtsc, once
from training.shell import progress

LAYER = "name"
STANCE = "newsmtsc"
SIMILAR = 0.5
"""Articles of the newswire that share more of their 5-word sequences than this tell the same story."""
CUT = 7
"""Seeds the choice of a slice; the same for every encoder and every training seed."""


@dataclass(frozen=True)
class Split:
    """One set: what is learned, what is scored, with one layer annotated."""

    name: str
    learned: Sequence[Document]
    scored: Sequence[Document]
    kind: Kind = Kind.SPANS

    @property
    def layer(self) -> str:
        """The annotated layer."""
        return LAYER if self.kind is Kind.SPANS else STANCE

    @property
    def schema(self) -> Schema:
        """The layer with the labels found on either side; one of sentences is targeted."""
        found = {span.label for part in (self.learned, self.scored) for one in part for span in one.spans(self.layer)}
        layer = {
            "kind": self.kind,
            "targeted": self.kind is not Kind.SPANS,
            "labels": {name: {} for name in sorted(found)},
        }
        return Schema.build({"layers": {self.layer: layer}}, where=self.name)

    def size(self) -> str:
        """How much there is on each side, in documents and lines."""
        return " / ".join(
            f"{len(part)} documents, {sum(map(_lines, part))} lines" for part in (self.learned, self.scored)
        )


def _lines(document: Document) -> int:
    return document.text.count("\n") + 1


def _read(path: Path, kind: Format) -> list[Document]:
    found = list(Reading(LAYER).read(path, kind))
    if not found:
        raise DocumentError(path, "holds no documents; fetch the set again")
    return found


def _shuffled(documents: Iterable[Document], choice: int = CUT) -> list[Document]:
    found = list(documents)
    return random.Random(choice).sample(found, len(found))


def distinct(documents: Iterable[Document], name: str) -> list[Document]:
    """Each text once, as fine-tuning refuses a text with two annotations; what is left out is told."""
    report = ConversionReport()
    found = list(once(documents, LAYER, report))
    if report.counts:
        progress(f"{name}:\n{report}")
    return found


def take(documents: Iterable[Document], lines: int) -> list[Document]:
    """Whole documents, from the first on, until they have so many lines (in formats of columns, sentences)."""
    found: list[Document] = []
    count = 0
    for document in documents:
        if count >= lines:
            break
        found.append(document)
        count += _lines(document)
    return found


# The proxy: never a test part, so that the whole table stays unseen while encoders are chosen.


def conll_slice(data: Path) -> Split:
    """2,500 sentences of eng.train in whole articles, scored on 1,500 of eng.testa."""
    folder = data / "ner" / "conll2003"
    learned, scored = (_shuffled(_read(folder / name, Format.CONLL)) for name in ("eng.train", "eng.testa"))
    return Split("CoNLL-2003", take(learned, 2500), take(scored, 1500))


def wnut_slice(data: Path) -> Split:
    """2,000 posts of the training part, scored on the whole development part."""
    folder = data / "ner" / "wnut17"
    learned = distinct(_shuffled(_read(folder / "wnut17train.conll", Format.WNUT)), "WNUT-17")
    return Split("WNUT-17", learned[:2000], _read(folder / "emerging.dev.conll", Format.WNUT))


def politics_slice(data: Path) -> Split:
    """All 200 training sentences, scored on the whole development part."""
    return _politics(data, "dev.txt")


def newswire_slice(data: Path) -> Split:
    """40 articles, scored on 40 others; of articles that tell the same story one is taken."""
    kept = _without_copies(_shuffled(_read(data / "ner" / "worldwide-newswire.tar.xz", Format.WNUT))[:100])
    half = min(40, len(kept) // 2)
    return Split("newswire", kept[:half], kept[half : 2 * half])


def _without_copies(order: Sequence[Document]) -> list[Document]:
    """The documents without the later ones of those that tell the same story."""
    copies = near_duplicates([one.text for one in order], [one.fold for one in order], SIMILAR)
    later = {copy.later for copy in copies}
    return [document for place, document in enumerate(order) if place not in later]


def stance_slice(data: Path) -> Split:
    """2,000 targets in news sentences, scored on the eighth that no shipped encoder has learned from."""
    whole = stance(data)
    return replace(whole, learned=whole.learned[:2000])


# The whole parts.


def conll(data: Path) -> Split:
    """eng.train, scored on eng.testb."""
    folder = data / "ner" / "conll2003"
    learned, scored = (_read(folder / name, Format.CONLL) for name in ("eng.train", "eng.testb"))
    return Split("CoNLL-2003", learned, scored)


def politics(data: Path) -> Split:
    """The 200 training sentences, scored on the test part."""
    return _politics(data, "test.txt")


def _politics(data: Path, part: str) -> Split:
    folder = data / "ner" / "crossner-politics"
    learned, scored = (_read(folder / name, Format.CONLL) for name in ("train.txt", part))
    return Split("CrossNER-politics", learned, scored)


def wnut(data: Path) -> Split:
    """The training part, scored on the test part."""
    folder = data / "ner" / "wnut17"
    learned, scored = (_read(folder / name, Format.WNUT) for name in ("wnut17train.conll", "emerging.test.annotated"))
    return Split("WNUT-17", distinct(learned, "WNUT-17"), scored)


def newswire(data: Path) -> Split:
    """All articles but 150, scored on those, none of which the proxy uses; of articles that tell the same story one is taken."""
    kept = _without_copies(_shuffled(_read(data / "ner" / "worldwide-newswire.tar.xz", Format.WNUT)))
    scored = min(150, len(kept) // 2)
    return Split("newswire", kept[:-scored], kept[-scored:])


def stance(data: Path) -> Split:
    """Targets in news sentences, scored on the eighth that no shipped encoder has learned from: there is no test part here."""
    documents = _shuffled(newsmtsc(data / "stance" / "newsmtsc" / "train.jsonl"))
    learned = [document for document in documents if not kept_for_choosing(document)]
    return Split("NewsMTSC", learned, [one for one in documents if kept_for_choosing(one)], Kind.SENTENCES)


def cut(split: Split, lines: int, choice: int = CUT) -> Split:
    """The split with whole documents of so many lines to learn from, the same ones for a choice, and all that it is scored on."""
    return replace(split, learned=take(_shuffled(split.learned, choice), lines))


def by_line(split: Split) -> Split:
    """The split with a document for each line, so that no sentence has the others around it; learned from, each text once."""
    learned = distinct(_lines_alone(split.learned), split.name)
    return replace(split, learned=learned, scored=_lines_alone(split.scored))


def _lines_alone(documents: Iterable[Document]) -> list[Document]:
    return [Document(id=name, text=text, labels={LAYER: spans}) for name, text, spans in _pieces(documents)]


def _pieces(documents: Iterable[Document]) -> Iterator[tuple[str, str, tuple[Span, ...]]]:
    """Name, text and spans of every line that is not empty, with the spans inside it."""
    for document in documents:
        start = 0
        for number, line in enumerate(document.text.split("\n")):
            end = start + len(line)
            own = [span for span in document.spans(LAYER) if start <= span.start and span.end <= end]
            moved = tuple(
                span.model_copy(update={"start": span.start - start, "end": span.end - start}) for span in own
            )
            if line.strip():
                yield f"{document.id}-{number}", line, moved
            start = end + 1


PROXY: dict[str, Callable[[Path], Split]] = {
    "conll": conll_slice,
    "wnut": wnut_slice,
    "politics": politics_slice,
    "newswire": newswire_slice,
    "newsmtsc": stance_slice,
}
WHOLE: dict[str, Callable[[Path], Split]] = {"conll": conll, "politics": politics, "wnut": wnut}
TABLE: dict[str, Callable[[Path], Split]] = {
    "conll": conll,
    "politics": politics,
    "newswire": newswire,
    "newsmtsc": stance,
}
"""Sets of the comparison with other systems, to be cut to a size."""
