"""An archive job from its input to its summary, begun or gone on with. It knows the order of things, not how they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain
from typing import Protocol

from annotations.errors import JobError
from inference.archive import parquet
from inference.archive.crew import Crew
from inference.archive.progress import Progress
from inference.archive.settings import (
    AUTO,
    ERRORS,
    Settings,
    apart,
    earlier,
    is_part,
    keep,
    manifest,
    resolved_format,
    same_job,
)
from inference.archive.shards import Outcome, Shard, shards
from inference.archive.sources import Survey, survey
from inference.archive.summary import SUMMARY, Summary, known, summarise
from inference.archive.writing import held
from inference.checkpoint_files import label_schema, version

Say = Callable[[str], None]


class Taggers(Protocol):
    """What does shards: processes on this machine, or a cluster."""

    def engine(self) -> str:
        """Which engine runs, the same everywhere."""

    def perform(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
        """Do all shards, and give their outcomes as they come."""


Start = Callable[[Settings], AbstractContextManager[Taggers]]


def tag_archive(settings: Settings, start: Start, say: Say) -> Summary:
    """Tag every document of an archive into shards below the output folder; the same call goes on after any end.

    `start` gives what tags: `processes(N)`, or `inference.archive.ray_cluster.cluster`. The files are the same whichever
    it is, byte by byte.

    Raises:
        ConfigError: input or output cannot be used, or the output belongs to another job.
        CheckpointError: there is no tagger.
        JobError: the job cannot go on; what is finished is kept.
    """
    settings = replace(settings, form=resolved_format(settings.form))
    apart(settings)
    schema = label_schema(settings.model)
    settings = replace(settings, version=version(settings.model))
    if settings.form == "parquet":
        parquet.columns(schema, text=settings.text)
    found = survey(settings.input)
    if found.left_out:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.left_out.items()))
        say(f"files that are not read: {kinds}")
    with held(settings.output):
        before = earlier(settings.output)
        if before:
            settings = replace(settings, engine=str(before["engine"]) if settings.engine == AUTO else settings.engine)
            same_job(settings.output, before, manifest(settings, found))
        _tidy(settings)
        try:
            return known(settings.output, settings.suffix) or _whole(settings, found, start, say)
        finally:
            _tidy(settings)


def processes(count: int) -> Start:
    """So many processes on this machine."""
    return lambda settings: Crew(settings, count)


def _whole(settings: Settings, found: Survey, start: Start, say: Say) -> Summary:
    progress = Progress(found.size, say)
    everything = shards(settings.input, settings.shard_size, settings.max_characters)
    pending = progress.pending(everything, settings.output, settings.suffix)
    first = next(pending, None)
    if first:
        say("loading the tagger")
        with start(settings) as taggers:
            engine = taggers.engine()
            settings = replace(settings, engine=engine)
            # Of a job that had finished, and has lost a shard since.
            (settings.output / SUMMARY).unlink(missing_ok=True)
            keep(settings.output, manifest(settings, found))
            say(f"engine: {engine}")
            progress.begin()
            for outcome in taggers.perform(chain([first], pending)):
                progress.add(outcome)
    say(str(progress))
    if survey(settings.input).fingerprint != found.fingerprint:
        raise JobError(f"{settings.input}: files have changed while they were read; begin again in a new --output")
    return summarise(settings.output, progress.shards, settings.suffix)


def _tidy(settings: Settings) -> None:
    """Remove what killed processes left half-written."""
    for folder in (settings.output, settings.output / ERRORS):
        for entry in folder.iterdir() if folder.is_dir() else ():
            if is_part(entry.name):
                entry.unlink(missing_ok=True)
