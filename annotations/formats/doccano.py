"""doccano's JSON Lines as Documents and back, in both forms that it exports. It knows no server and no schema.

Shapes: https://doccano.github.io/doccano/tutorial/ (sequence labelling; relations; intents with slots). Offsets count
Unicode code points. What doccano has no place for is kept in the key META, which doccano shows and exports as metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.formats.conversion import (
    ConversionReport,
    Found,
    Json,
    carried,
    count_carried,
    flat,
    numbered,
    restored,
    streamed,
    with_category,
)

META = "standpoint"
_SPANS = ("label", "labels", "entities")
_OTHER = {"relations": "relations", "Comments": "comments", "comments": "comments"}


@dataclass
class Doccano:
    """How to read one JSONL file."""

    path: Path
    layer: str
    """The layer of spans that labels become."""
    categories: str | None = None
    """The layer of kind `document` that `cats` become, where there is one."""
    report: ConversionReport = field(default_factory=ConversionReport)

    def read(self) -> Iterator[Document]:
        """Stream the documents.

        Raises:
            DocumentError: after the last line, with every bad line's number and problem, or at once if it is missing.
        """
        try:
            lines = self.path.open("rb")
        except OSError as error:
            raise DocumentError(self.path, f"cannot be read ({error.strerror}); check the path") from error
        with lines:
            yield from streamed(self.path, lines, self._line, "line")

    def _line(self, number: int, line: bytes) -> Document | None:
        where = f"{self.path.name}: line {number}"
        try:
            decoded = line.decode("utf-8-sig")
            values = json.loads(decoded) if decoded.strip() else None
        except ValueError as error:
            raise DocumentError(where, f"is not JSON in UTF-8: {error}") from error
        if values is None:
            return None
        if not isinstance(values, dict):
            raise DocumentError(where, f"expected an object, found {type(values).__name__}; export as JSONL")
        text = values.get("text", values.get("data"))
        if not isinstance(text, str):
            raise DocumentError(where, "has no `text`; export as JSONL from a doccano project")
        spans, categories = self._labels(values, text, where)
        meta = self._meta(values, number, where)
        meta = self._with_category(meta, categories, where)
        if not any(name in values for name in _SPANS):
            meta["unannotated"] = True
        return restored(text, flat(spans, where, self.report), meta, layer=self.layer, where=where)

    def _labels(self, values: Json, text: str, where: str) -> tuple[list[Found], list[str]]:
        """The spans of a line, and the labels that it gives to the whole text."""
        categories = [item for item in _list(values, "cats", where) if isinstance(item, str)]
        spans: list[Found] = []
        problems: list[str] = []
        for item in (item for name in _SPANS for item in _list(values, name, where)):
            if isinstance(item, str):
                categories.append(item)
                continue
            span = _span(item, where)
            if span and 0 <= span.start < span.end <= len(text):
                spans.append(span)
            else:
                problems.append(f"{item!r} is no span [start, end, label] within the text's {len(text)} characters")
        if problems:
            raise DocumentError(where, problems)
        for name, kind in _OTHER.items():
            self.report.add(f"{kind}, left out", where, len(_list(values, name, where)))
        return spans, categories

    def _meta(self, values: Json, number: int, where: str) -> Json:
        meta = values.get(META)
        if isinstance(meta, dict):
            return meta if "id" in meta else {**meta, "id": f"{self.path.stem}-{number}"}
        known = {"id", "text", "data", "cats", *_SPANS, *_OTHER}
        for name in sorted(set(values) - known):
            self.report.add(f"further keys {name!r}, left out", where)
        identity = numbered(self.path.stem, values.get("id"), number)
        return {"id": identity, "source": {"file": self.path.name, "line": number}}

    def _with_category(self, meta: Json, categories: list[str], where: str) -> Json:
        if not categories:
            return dict(meta)
        if self.categories is None or len(categories) > 1:
            self.report.add("categories of the whole text, left out", where, len(categories))
            return dict(meta)
        return with_category(meta, self.categories, categories[0])


def _list(values: Json, name: str, where: str) -> list[Any]:
    found = values.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise DocumentError(where, f"`{name}` must be a list, found {type(found).__name__}")
    return found


def _span(item: Any, where: str) -> Found | None:
    """A span in either form, or None for what is none."""
    if isinstance(item, dict):
        item = [item.get("start_offset"), item.get("end_offset"), item.get("label")]
    if not isinstance(item, list) or len(item) != 3:
        return None
    start, end, label = item
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (start, end))
    return Found(start, end, label, where) if whole and isinstance(label, str) else None


def write_doccano(documents: Iterable[Document], out: IO[str], layer: str, report: ConversionReport) -> None:
    """Write `{"text", "label": [[start, end, label]]}`, one document a line; the rest of each document under META."""
    for document in documents:
        count_carried(document, layer, report)
        label = [[span.start, span.end, span.label] for span in document.spans(layer)]
        line = {"text": document.text, "label": label, META: carried(document, layer)}
        out.write(json.dumps(line, ensure_ascii=False) + "\n")
