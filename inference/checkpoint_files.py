"""What is in the folder of a tagger or an encoder: names, hashes, the label schema. It loads no weights and needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from annotations.errors import CheckpointError, ConfigError, first_line
from annotations.schema import Schema
from annotations.storage import write_json

DEFAULT_ENCODER = "default"
WEIGHTS = "model.safetensors"
NEEDED = ("config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json")
READER = "reader.safetensors"
MANIFEST = "manifest.json"


def write_manifest(folder: Path, names: Iterable[str]) -> None:
    """`manifest.json`: the SHA-256 of each of these files of a folder, by which a change of any is noticed."""
    write_json(folder / MANIFEST, {name: sha256(folder / name) for name in names})


def sha256(path: Path) -> str:
    """A file's SHA-256 in hexadecimal, without holding the file in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parts(folder: Path) -> list[str]:
    """The names of what an encoder or a tagger is made of."""
    return [name for name in (*NEEDED, READER) if (folder / name).is_file()]


def version(path: str | Path) -> str:
    """A short content hash of the weights and the config: it changes whenever the answers can."""
    digest = hashlib.sha256()
    for name in parts(Path(path)):
        digest.update((Path(path) / name).read_bytes())
    return digest.hexdigest()[:16]


def label_schema(path: str | Path) -> Schema:
    """The layers and labels of a tagger, read from its config alone. Raises CheckpointError where there is none."""
    try:
        config = json.loads((Path(path) / "config.json").read_text("utf-8"))
        layers = config["tagger"]["label_schema"]["layers"]
        # transformers sorts the keys of config.json; `order` is the schema's own.
        ordered = {
            name: {**layers[name], "labels": {label: layers[name]["labels"][label] for label in labels}}
            for name, labels in config["order"]
        }
        return Schema.build({"layers": ordered}, where=path)
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(
            path, f"has no readable tagger config ({first_line(error)}); copy or train it again"
        ) from error


def encoder_version(name: str) -> str | None:
    """The content hash of an encoder's folder; None for a hub name."""
    where = encoder_location(name)
    return version(where) if Path(where).is_dir() else None


def encoder_location(name: str) -> str:
    """Where an encoder's files are: the one that ships with the package, a folder, or a hub name as it is."""
    return str(files("inference") / "encoder") if name == DEFAULT_ENCODER else name
