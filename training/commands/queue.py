"""The command `standpoint labels queue`: which articles to annotate next. A thin shell; heavy modules load inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from annotations.errors import DocumentError
from training.shell import Targets, progress, quiet_libraries

if TYPE_CHECKING:
    from annotations.document import Document
    from annotations.selection import Selection, Sketch
    from inference.queue import Article
    from inference.tagger import Tagger
    from inference.uncertainty import Measure

SHOWN = 20


def queue(
    articles: Annotated[list[str], typer.Argument(help="folders of .txt, .jsonl, Label Studio .json or text files")],
    model: Annotated[Path, typer.Option(help="checkpoint folder")] = Path("runs/train/checkpoint"),
    count: Annotated[int, typer.Option(min=1, help="how many articles to choose")] = 10,
    measure: Annotated[str, typer.Option(help="of uncertainty: entropy or margin")] = "entropy",
    diversity: Annotated[
        float, typer.Option(min=0, max=1, help="0: uncertainty alone, copies too; 1: unlike each other above all")
    ] = 0.5,
    annotated: Annotated[
        list[str] | None, typer.Option(help="file of annotated articles, not to be chosen again; may be repeated")
    ] = None,
    target: Targets = None,
    output: Annotated[Path | None, typer.Option(help="write the chosen Documents here, ready for push")] = None,
) -> None:
    """Choose the next articles to annotate: those that the model is most unsure of, and no two copies of one story."""
    if "-" in articles:
        raise typer.BadParameter("standard input cannot be read twice; save it to a file", param_hint="ARTICLES")
    from inference.uncertainty import Measure

    if measure not in list(Measure):
        raise typer.BadParameter(f"{measure!r} is none of {', '.join(Measure)}", param_hint="--measure")
    from annotations.pool import pool
    from annotations.selection import select
    from annotations.storage import write_jsonl
    from inference.queue import listing
    from inference.tagger import Tagger

    quiet_libraries()
    tagger = Tagger.load(model)
    known = list(_annotated(annotated or []))
    left_out = _LeftOut()
    found = _tagged(tagger, pool(articles, target or [], left_out), Measure(measure), left_out)
    if not found:
        raise DocumentError("articles", left_out.problems or "there are none; check the paths")
    if missing := [name for name in tagger.schema.layers if not any(name in one.layers for one in found)]:
        progress(f"not counted, as no article has a target: {', '.join(missing)}; name one with --target")
    chosen = select([one.candidate for one in found], count=count, diversity=diversity, annotated=known)
    typer.echo(listing(chosen.picks, found))
    _tell_rest(chosen, len(found), count)
    if output:
        again = pool(articles, target or [], lambda _: None)
        write_jsonl(output, _picked([found[pick.place] for pick in chosen.picks], again))
        progress(f"Chosen: {output}")


class _LeftOut:
    """Tells of articles that are left out, and remembers them in case nothing else is left."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, problem: str) -> None:
        self.problems.append(problem)
        progress(f"left out: {problem}")


def _annotated(files: Iterable[str]) -> Iterator[tuple[str, Sketch]]:
    from annotations.reading import bare_documents
    from annotations.selection import sketch

    for file in files:
        for document in bare_documents(file):
            yield document.id, sketch(document.text)


def _tagged(
    tagger: Tagger, documents: Iterator[Document], measure: Measure, left_out: Callable[[str], None]
) -> list[Article]:
    from inference.queue import articles

    found = []
    for article in articles(tagger, documents, measure, left_out):
        found.append(article)
        if len(found) % 100 == 0:
            progress(f"{len(found)} articles read")
    return found


def _tell_rest(chosen: Selection, read: int, count: int) -> None:
    for name, other in list(chosen.copies.items())[:SHOWN]:
        progress(
            f"passed over: {name} is annotated already"
            if name == other
            else f"passed over: {name} is a copy of {other}"
        )
    if len(chosen.copies) > SHOWN:
        progress(f"passed over: {len(chosen.copies) - SHOWN} more copies")
    if len(chosen.picks) < count:
        progress(f"{len(chosen.picks)} chosen, not {count}: none of the other {read - len(chosen.picks)} is new")


def _picked(chosen: Sequence[Article], documents: Iterable[Document]) -> Iterator[Document]:
    """The documents of the chosen articles in order of choice, without labels.

    Raises:
        DocumentError: a file has changed since it was tagged.
    """
    wanted = {name: article for article in chosen for name in article.documents}
    found = {document.id: document for document in documents if document.id in wanted}
    changed = [name for name, article in wanted.items() if name not in found or hash(found[name].text) != article.text]
    if changed:
        raise DocumentError(
            "articles", [f"{name!r} has changed since it was read; run the command again" for name in changed]
        )
    for name in wanted:
        yield found[name].with_labels({})
