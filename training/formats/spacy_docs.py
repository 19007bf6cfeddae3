"""spaCy's DocBin files as Documents and back: the one door to spaCy.

It knows entities and categories, not pipelines. spaCy's offsets count code points too, but entities consist of tokens.
What a Doc has no place for is kept in `doc.user_data["standpoint"]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from annotations.document import Document, Span
from annotations.errors import DocumentError
from annotations.formats.conversion import (
    ConversionReport,
    Found,
    Json,
    carried,
    count_carried,
    flat,
    restored,
    streamed,
    with_category,
)
from annotations.storage import read_bytes, replacing_file

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

KEY = "standpoint"
LANGUAGE = "xx"
"""spaCy's name for any language: its tokenizer cuts at white space and punctuation."""


def write_spacy(documents: Iterable[Document], path: Path, layer: str, report: ConversionReport) -> None:
    """Write one DocBin of all documents, which `spacy train` reads; made in memory, as DocBin is.

    Spans that spaCy cannot hold (they cut a token, or have white space at an edge) are counted and kept in `user_data`.

    Raises:
        DocumentError: the file cannot be written.
    """
    import spacy
    from spacy.tokens import DocBin

    pipeline = spacy.blank(LANGUAGE)
    docs = DocBin(store_user_data=True)
    for document in documents:
        docs.add(_doc(pipeline, document, layer, report))
    with replacing_file(path) as part:
        part.write_bytes(docs.to_bytes())


def _doc(pipeline: Language, document: Document, layer: str, report: ConversionReport) -> Doc:
    count_carried(document, layer, report)
    doc = pipeline.make_doc(document.text)
    entities, apart = [], []
    for span in document.spans(layer):
        entity = doc.char_span(span.start, span.end, label=span.label) if _fits(document.text, span) else None
        if entity is None:
            apart.append([span.start, span.end, span.label])
        else:
            entities.append(entity)
    kind = "spans that cut a token or have white space at an edge, kept in user_data alone"
    report.add(kind, f"document {document.id!r}", len(apart))
    if layer in document.labels:
        doc.set_ents(entities, default="outside")
    doc.user_data[KEY] = {"document": carried(document, layer), "apart": apart}
    return doc


def _fits(text: str, span: Span) -> bool:
    piece = text[span.start : span.end]
    return piece == piece.strip()


def read_spacy(path: Path, layer: str, categories: str | None, report: ConversionReport) -> Iterator[Document]:
    """Stream the documents of a DocBin file; `categories` is the layer of kind `document` that `doc.cats` become.

    Raises:
        DocumentError: after the last Doc, with every bad one's number and problem; at once if the file is no DocBin.
    """

    def document(number: int, doc: Doc) -> Document:
        return _document(doc, f"{path.name}: doc {number}", layer, categories, report)

    return streamed(path, _docs(path), document, "doc")


def _docs(path: Path) -> Iterator[Doc]:
    import spacy
    from spacy.tokens import DocBin

    raw = read_bytes(path)
    # What goes wrong inside msgpack, zlib and spaCy's own unpacking has no common type.
    try:
        docs = DocBin().from_bytes(raw)
    except Exception as error:
        raise DocumentError(path, f"is no spaCy DocBin ({error}); write it with DocBin.to_disk") from error
    yield from docs.get_docs(spacy.blank(LANGUAGE).vocab)


def _document(doc: Doc, where: str, layer: str, categories: str | None, report: ConversionReport) -> Document:
    kept = doc.user_data.get(KEY)
    values, apart = _kept(kept, where) if kept is not None else ({}, [])
    ours = bool(values)
    if not ours:
        file, _, number = where.rpartition(": doc ")
        values = {"id": f"{Path(file).stem}-{number}", "source": {"file": file, "doc": int(number)}}
        values |= {} if doc.has_annotation("ENT_IOB") else {"unannotated": True}
        missing = sum(token.ent_iob == 0 for token in doc) if doc.has_annotation("ENT_IOB") else 0
        report.add("tokens whose entity is not annotated, taken as outside", where, missing)
    found = [Found(entity.start_char, entity.end_char, entity.label_, where) for entity in doc.ents]
    for name in doc.spans:
        report.add(f"spans of group {name!r}, left out", where, len(doc.spans[name]))
    spans = flat([*found, *apart], where, report)
    return restored(doc.text, spans, _categorized(doc, values, categories, where, report), layer=layer, where=where)


def _kept(kept: Any, where: str) -> tuple[Json, list[Found]]:
    try:
        return dict(_plain(kept["document"])), [
            Found(int(s), int(e), str(label), where) for s, e, label in kept["apart"]
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise DocumentError(where, f"user_data[{KEY!r}] was not written by this program; remove the key") from error


def _plain(value: Any) -> Any:
    """spaCy unpacks lists as tuples, and JSON takes both."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _categorized(doc: Doc, values: Json, categories: str | None, where: str, report: ConversionReport) -> Json:
    """The same values with the one category that holds, as the label of the whole text."""
    true = [name for name, score in doc.cats.items() if score >= 0.5]
    if not true:
        return values
    if categories is None or len(true) > 1:
        report.add("categories of the whole text, left out", where, len(true))
        return values
    return with_category(values, categories, true[0])
