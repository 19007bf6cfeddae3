"""The command `standpoint tag`: some texts to standard output, or an archive to shards. A thin shell over `inference`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import spread
from training.shell import Targets, progress, quiet_libraries, resumable

DEFAULT_MODEL = Path("runs/train/checkpoint")


@dataclass(frozen=True)
class ArchiveOptions:
    """What an archive job can be told besides."""

    archive: Annotated[
        Path | None, typer.Option("--input", help="an archive instead of files: a folder, .jsonl, .parquet or .txt")
    ] = None
    shard_size: Annotated[int, typer.Option(min=1, help="archive: documents of the input in one shard")] = 1000
    text: Annotated[bool, typer.Option("--text", help="archive: copy texts into Parquet; JSON Lines have them")] = False
    max_characters: Annotated[int, typer.Option(min=1, help="archive: a longer text is reported as bad, not read")] = (
        2_000_000
    )
    engine_workers: Annotated[
        int | None, typer.Option(min=1, help="archive: processes that tag; by default one for each core")
    ] = None
    threads: Annotated[int, typer.Option(min=1, help="archive: threads of each process")] = 1
    ray: Annotated[
        str | None, typer.Option(help="archive: tag on the Ray cluster at this address; `local` starts one here")
    ] = None

    def given(self) -> list[str]:
        """The options that were set, as on the command line."""
        mine = [field for field in fields(self) if getattr(self, field.name) != field.default]
        return ["--input" if field.name == "archive" else f"--{field.name.replace('_', '-')}" for field in mine]


@spread(ArchiveOptions)
def tag(
    files: Annotated[
        list[str] | None, typer.Argument(help="text, .jsonl or Label Studio .json files, or - for standard input")
    ] = None,
    model: Annotated[Path, typer.Option(help="checkpoint folder")] = DEFAULT_MODEL,
    target: Targets = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="jsonl, labelstudio or text, by default text on a terminal, else jsonl; archive: parquet or jsonl",
        ),
    ] = "auto",
    html: Annotated[Path | None, typer.Option(help="write a self-contained page here instead")] = None,
    output: Annotated[
        Path | None, typer.Option(help="write here instead of standard output; archive: the folder for its shards")
    ] = None,
    engine: Annotated[str, typer.Option(help="what runs the network; auto: the fastest that is there")] = "auto",
    *,
    options: ArchiveOptions,
) -> None:
    """Tag texts: entities, and stance towards the target. The same command goes on with an archive after any end."""
    if bool(files) == bool(options.archive):
        raise typer.BadParameter("give files, or an archive with --input", param_hint="FILES")
    if options.archive and (html or output is None):
        raise typer.BadParameter("an archive needs a folder as --output, and makes no page", param_hint="--input")
    if files and (archive := options.given()):
        why = f"FILES take no {', '.join(archive)}; an archive is given with --input"
        raise typer.BadParameter(why, param_hint=archive[0])
    if folder := next(filter(os.path.isdir, files or []), None):
        why = f"{folder} is a folder; tag it as an archive: --input {folder} --output ANOTHER"
        raise typer.BadParameter(why, param_hint="FILES")
    if html and (output or form != "auto"):
        idle = "--output" if output else "--format"
        raise typer.BadParameter(f"--html writes a page instead, without {idle}; run it once for each", param_hint=idle)
    if options.archive and output:
        _archive(options.archive, output, model, target or [], form, engine, options)
    else:
        _files(files or [], model, target or [], form, html, output, engine)


def _files(
    files: list[str], model: Path, targets: list[str], form: str, html: Path | None, output: Path | None, engine: str
) -> None:
    from annotations.reading import bare_documents, with_targets
    from inference.outputs import FORMATS, write_html, write_lines
    from inference.tagger import Tagger

    if form == "auto":
        form = "text" if output is None and sys.stdout.isatty() else "jsonl"
    if form not in FORMATS:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(FORMATS)}", param_hint="--format")
    quiet_libraries()
    tagger = Tagger.load(model, engine=engine)
    texts = (document for file in files for document in bare_documents(file))
    tagged = tagger.tag(one for document in texts for one in with_targets(document, targets, numbered=True))
    if html:
        write_html(html, tagged, tagger.schema)
        typer.echo(f"Page: {html}", err=True)
    else:
        write_lines(output, tagged, tagger, form=form, model=model)


def _archive(
    place: Path, output: Path, model: Path, targets: list[str], form: str, engine: str, options: ArchiveOptions
) -> None:
    from inference.archive.job import processes, tag_archive
    from inference.archive.settings import Settings

    settings = Settings(
        place,
        output,
        model,
        targets=tuple(targets),
        form=form,
        text=options.text,
        shard_size=options.shard_size,
        engine=engine,
        threads=options.threads,
        max_characters=options.max_characters,
    )
    start = processes(options.engine_workers or _cores(options.threads))
    if options.ray:
        from inference.archive.ray_cluster import cluster

        start = cluster(options.ray, options.engine_workers)
    with resumable(output):
        typer.echo(f"{tag_archive(settings, start, progress)}\nArchive: {output}")


def _cores(threads: int) -> int:
    """As many processes as have cores of their own; one where a GPU does the work."""
    import torch

    return 1 if torch.cuda.is_available() else max(1, len(os.sched_getaffinity(0)) // threads)
