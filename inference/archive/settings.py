"""What an archive job is asked to do, and the manifest by which a folder's shards belong to one job alone."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from annotations.errors import ConfigError, did_you_mean, to_install
from inference.archive.sources import Survey, installed
from inference.archive.writing import write_durably
from inference.engines import artefacts

FORMATS = ("parquet", "jsonl")
AUTO = "auto"
MANIFEST = "manifest.json"
ERRORS = "errors"
"""The folder of records that could not be tagged."""
KIND = "standpoint archive 1"
_DIFFERS = {
    "input": "the input's files are others, or have changed",
    "model": "the model is another one",
    "engine": "--engine is another one",
    "artefact": "the engine's files were made anew",
    "threads": "--threads is another number",
    "targets": "--target is another one",
    "format": "--format is another one",
    "text": "--text is given now or was given then",
    "shard_size": "--shard-size is another number",
    "max_characters": "--max-characters is another number",
}


@dataclass(frozen=True)
class Settings:
    """One job. All of it goes to every process that tags."""

    input: Path
    output: Path
    model: Path
    targets: tuple[str, ...] = ()
    form: str = AUTO
    """One of FORMATS; "auto" is the first one where pyarrow is there."""
    text: bool = False
    """Whether Parquet has a column with a copy of the text; JSON Lines always have it."""
    shard_size: int = 1000
    """Documents of the input in one shard."""
    engine: str = AUTO
    threads: int = 1
    """Of each process. Engines may add numbers up in another order with another number."""
    max_characters: int = 2_000_000
    """Longest text; a longer one is an error of its document."""
    version: str = ""
    """The model's, once it is known: a process that finds another one in the model's folder stops."""

    def __post_init__(self) -> None:
        sizes = ("shard_size", "threads", "max_characters")
        if problems := [f"{name} must be at least 1" for name in sizes if getattr(self, name) < 1]:
            raise ConfigError("archive", problems)
        for target in self.targets:
            try:
                target.encode()
            except UnicodeEncodeError as error:
                raise ConfigError("--target", f"{target[:40]!r} is not UTF-8; give it in UTF-8") from error

    @property
    def suffix(self) -> str:
        """Of the shards' files."""
        return f".{self.form}"

    def to_json(self) -> str:
        """One line, for another process."""
        return json.dumps({**asdict(self), **{name: str(getattr(self, name)) for name in ("input", "output", "model")}})

    @classmethod
    def from_json(cls, line: str) -> Self:
        """From `to_json`."""
        values = json.loads(line)
        paths = {name: Path(values[name]) for name in ("input", "output", "model")}
        return cls(**{**values, **paths, "targets": tuple(values["targets"])})


def resolved_format(form: str) -> str:
    """One of FORMATS. Raises ConfigError for another one, or where its package is absent."""
    there = installed("pyarrow")
    if form == AUTO:
        return FORMATS[0] if there else FORMATS[1]
    if form not in FORMATS:
        raise ConfigError("--format", f"an archive has no {form!r}; {did_you_mean(form, FORMATS)}")
    if form == "parquet" and not there:
        raise ConfigError("--format parquet", f"needs the package pyarrow; {to_install('archives')}")
    return form


def apart(settings: Settings) -> None:
    """Raise ConfigError where output and input lie inside each other: a job would read what it writes."""
    here, there = settings.input.resolve(), settings.output.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise ConfigError(settings.output, f"must lie outside the input {settings.input}; choose another --output")
    if settings.output.exists() and not settings.output.is_dir():
        raise ConfigError(settings.output, "is no folder; choose another --output")


def manifest(settings: Settings, survey: Survey) -> dict[str, Any]:
    """What decides every byte of the output, but for the versions of packages."""
    return {
        "kind": KIND,
        "input": {"files": survey.files, "bytes": survey.size, "fingerprint": survey.fingerprint},
        "model": settings.version,
        "engine": settings.engine,
        "artefact": artefacts.content(settings.model, settings.engine),
        "threads": settings.threads,
        "targets": list(settings.targets),
        "format": settings.form,
        "text": settings.text,
        "shard_size": settings.shard_size,
        "max_characters": settings.max_characters,
    }


def earlier(output: Path) -> dict[str, Any] | None:
    """The manifest of the job that the folder belongs to; None where it is new or empty.

    Raises:
        ConfigError: it belongs to something else.
    """
    path = output / MANIFEST
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:
        raise ConfigError(path, f"cannot be read ({error}); choose another --output") from error
    if found is None:
        strangers = [entry.name for entry in output.iterdir() if not is_part(entry.name)] if output.exists() else []
        if strangers:
            raise ConfigError(output, f"holds something else ({sorted(strangers)[0]}); choose another --output")
        return None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise ConfigError(path, "is of something else; choose another --output")
    return found


def is_part(name: str) -> bool:
    """Whether a file is what a killed process left half-written."""
    return name.startswith(".") and name.endswith(".part")


def same_job(output: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise ConfigError with everything in which the job that the folder belongs to differs from this one."""
    problems = [
        f"{what} ({_shown(before.get(name))} then, {_shown(now[name])} now)"
        for name, what in _DIFFERS.items()
        if before.get(name) != now[name]
    ]
    if problems:
        raise ConfigError(output, [*problems, "give the same again to go on, or choose another --output"])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"


def keep(output: Path, values: dict[str, Any]) -> None:
    """Write the manifest, whole or not at all."""
    write_durably(output / MANIFEST, (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())
