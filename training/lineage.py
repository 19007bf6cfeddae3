"""What a tagger was made from: `training.json` in its checkpoint, which a model card is written from and a gate looks into.

It knows configs and documents, no weights. It names files without their folders, and learned texts by their hashes alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from annotations.document import Document
from annotations.schema import Schema
from inference.config import TaggerConfig
from inference.verification import FORMAT, package
from training.config import RunConfig
from training.folds import occurring

LINEAGE = "training.json"
PRIVATE = ("token", "hub", "dir", "url", "project")
"""Arguments of the Trainer that say where things go, and not what is learned."""

Values = dict[str, Any]


def lineage(
    config: RunConfig, origin: Values, learned: Sequence[Document], further: Sequence[Document], tagger: TaggerConfig
) -> Values:
    """What is known of a run whose numbers are resolved, as plain values.

    `origin` is its provenance, `tagger` the serving half as training has completed it; `further` are texts without labels.
    """
    return {
        "format": FORMAT,
        "standpoint": package(),
        "name": config.output.name,
        "started": origin["started"],
        "encoder": {**origin["encoder"], "name": _encoder(config.encoder)},
        "data": {**_data(config, origin, learned), "further": len(further)},
        "recipe": _recipe(config, tagger),
        "scored_on": [*config.data.held_out, *(path.name for path in config.data.test)],
        "packages": origin["packages"],
        "python": origin["python"],
        "hardware": origin["hardware"],
        "texts": sorted(map(text_hash, {document.text for document in [*learned, *further]})),
        "texts_before": sorted(learned_texts(Path(config.encoder)) or ()),
    }


def _encoder(name: str) -> str:
    """Without the folder it lies in."""
    return Path(name).name if Path(name).is_dir() else name


def _data(config: RunConfig, origin: Values, learned: Sequence[Document]) -> Values:
    schema = config.tagger.label_schema
    return {
        "files": [path.name for path in config.data.train],
        "fingerprint": origin["data"]["fingerprint"],
        "documents": len(learned),
        "groups": len({document.fold for document in learned}),
        "annotated": {name: sum(name in document.labels for document in learned) for name in schema.layers},
        "labels": _labels(learned, schema),
    }


def _labels(learned: Sequence[Document], schema: Schema) -> dict[str, dict[str, int]]:
    """How often each label of each layer is given."""
    counts = occurring(learned, schema)
    return {name: {label: counts[name, label] for label in layer.names} for name, layer in schema.layers.items()}


def _recipe(config: RunConfig, tagger: TaggerConfig) -> Values:
    """Every number of the run."""
    values = config.model_dump(mode="json", exclude={"data", "output", "encoder", "tagger", "trainer"})
    if config.self_training is not None:
        del values["self_training"]["texts"]
    trainer = {key: value for key, value in config.trainer.items() if not any(word in key for word in PRIVATE)}
    return {**values, "trainer": trainer, **tagger.model_dump(mode="json", include={"window", "reader", "whole_words"})}


def text_hash(text: str) -> str:
    """What stands for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def learned_texts(checkpoint: Path) -> frozenset[str] | None:
    """The hashes of what a tagger learned from, and the tagger before it; None where its folder does not tell."""
    try:
        values = json.loads((checkpoint / LINEAGE).read_text("utf-8"))
        return frozenset([*values["texts"], *values["texts_before"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def known_texts(documents: Iterable[Document], texts: frozenset[str]) -> list[str]:
    """The ids of documents whose text was learned from."""
    return [document.id for document in documents if text_hash(document.text) in texts]
