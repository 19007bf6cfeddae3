"""Gold to score on, read even where it holds labels that the tagger does not know. It knows files, not predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from annotations.document import Document
from annotations.errors import DocumentError, SchemaError
from annotations.labelstudio.exports import ImportReport, read_export
from annotations.reading import annotated_documents
from annotations.schema import Kind, Layer, Schema
from annotations.storage import read_jsonl

KINDS = {"labels": Kind.SPANS, "choices": Kind.DOCUMENT}
OTHER = "(no other label)"

Read = TypeVar("Read")
Given = tuple[str, Kind, str | None]
"""Layer, the kind it seems to be of, label; None where the layer is annotated and empty."""


def read_gold(paths: Sequence[Path], schema: Schema) -> tuple[list[Document], ImportReport]:
    """Annotated documents; they may hold layers and labels that the schema lacks.

    Raises:
        DocumentError: like `annotated_documents`, for all that is wrong besides unknown layers and labels.
    """
    return widening(lambda wide: annotated_documents(paths, wide), paths, schema)


def widening(read: Callable[[Schema], Read], paths: Sequence[Path], schema: Schema) -> Read:
    """What `read` makes of files with the schema or, where it refuses them, with one that has all their layers and labels."""
    try:
        return read(schema)
    except DocumentError:
        wide = _widened(schema, paths)
        if wide == schema:
            raise
        return read(wide)


def _widened(schema: Schema, paths: Sequence[Path]) -> Schema:
    """The schema with every layer and label that the files use; as it is where they cannot be looked through."""
    layers = {name: layer.model_dump(mode="json") for name, layer in schema.layers.items()}
    try:
        found = dict.fromkeys(one for path in paths for one in _given(path))
        # Labels tell the kind of a layer that is empty elsewhere.
        for name, kind, label in sorted(found, key=lambda one: one[2] is None):
            layer = layers.setdefault(name, {"kind": kind, "labels": {OTHER: {}}})
            if label is not None:
                layer["labels"].setdefault(label, {})
        return Schema(layers={name: Layer.build(values, where=name) for name, values in layers.items()})
    except (DocumentError, SchemaError, ValueError):
        return schema


def _given(path: Path) -> Iterator[Given]:
    if path.suffix == ".jsonl":
        for document in read_jsonl(path):
            for name, labels in document.labels.items():
                used = labels if isinstance(labels, tuple) else (labels,)
                kind = Kind.SPANS if isinstance(labels, tuple) else Kind.DOCUMENT
                yield from ((name, kind, item.label) for item in used)
                if not used:
                    yield name, kind, None
    elif path.suffix == ".json":
        for task in read_export(path):
            yield from ((name, Kind.SPANS, None) for name in task["data"].get("layers") or [])
            for annotation in task.get("annotations") or []:
                yield from (found for result in annotation.get("result") or [] if (found := _region(result)))


def _region(result: dict[str, Any]) -> Given | None:
    value, field = result.get("value"), str(result.get("type"))
    names = value.get(field) if isinstance(value, dict) else None
    if field not in KINDS or not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        return None
    return str(result.get("from_name")), KINDS[field], names[0]
