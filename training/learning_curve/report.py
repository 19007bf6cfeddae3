"""Runs a learning curve from config to table and drawing. It knows files and text; trainings and statistics are made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from annotations.errors import DocumentError
from annotations.storage import write_text
from training.config import LearningCurveConfig, RunConfig
from training.gold import documents_to_learn
from training.learning_curve.outlook import Outlook, outlooks
from training.learning_curve.plot import Line, Point, svg
from training.learning_curve.run import learning_curve
from training.run_directory import write_table

FEW_GROUPS, FEW_SEEDS = 10, 3
NAME = "learning-curve"


def run(
    config: RunConfig, settings: LearningCurveConfig, *, command: str, save: Path | None, say: Callable[[str], None]
) -> str:
    """Train, score, write table and drawing into the output folder (and to `save`), return the text.

    The files are `learning-curve.md`, `.json` and `.svg`; of folds of several groups `learning-curve-K-fold`.

    Raises:
        InputError: the data, the settings or the output folder cannot be used.
    """
    gold = documents_to_learn(config, say)
    grown, origin = learning_curve(config, settings, gold, say)
    found = outlooks(grown, gold, config.tagger.label_schema)
    if not found:
        raise DocumentError("data", "no fold predicts a layer that gold annotates, so there is nothing to score")
    about = [f"Command: `{command}`", _about(settings, origin, len({document.fold for document in gold}))]
    curves = [outlook.to_dict() for outlook in found]
    seen = {name: value for name, value in origin.items() if name != "seed"}
    values = {"command": command, **seen, "settings": settings.model_dump(mode="json"), "layers": curves}
    name = f"{NAME}-{settings.folds}-fold" if settings.folds else NAME
    text = ""
    for place in [*([save] if save else []), config.output / name]:
        text = markdown(found, about, picture=f"{place.name}.svg")
        write_table(place, text, values)
        write_text(place.with_name(f"{place.name}.svg"), drawing(found))
    return text


def _about(settings: LearningCurveConfig, origin: dict[str, Any], groups: int) -> str:
    held = f"{settings.folds} folds, one fold" if settings.folds else "one"
    return (
        f"Seeds {', '.join(map(str, settings.seeds))}; {groups} groups of documents, {held} held out at a time; each seed draws "
        "an order of the others and trains on its beginning, so that every smaller part lies within the larger ones. Scores are "
        f"pooled over all held-out groups. {origin['started']}, {origin['hardware']['processor']}, "
        f"torch {origin['packages']['torch']}, data {origin['data']['fingerprint']}."
    )


def markdown(found: Sequence[Outlook], about: Sequence[str], *, picture: str) -> str:
    """Conclusions, drawing, table, and what the prediction takes for granted."""
    said = "\n".join(f"- {outlook.conclusion()}" for outlook in found)
    head = [
        "| layer | groups | documents | labels | measure | mean | range over seeds | 95% interval |",
        "|---" * 8 + "|",
    ]
    table = "\n".join([*head, *(row for outlook in found for row in _rows(outlook))])
    return "\n\n".join(
        ["# Will more annotation help?", *about, said, f"![Learning curve]({picture})", table, *_cautions(found)]
    )


def _rows(outlook: Outlook) -> Iterator[str]:
    for size in outlook.sizes:
        spread = f"{min(size.by_seed):.3f}–{max(size.by_seed):.3f}"
        ends = outlook.interval(size)
        interval = f"{ends[0]:.3f}–{ends[1]:.3f}" if ends else "none, one group"
        yield (
            f"| {outlook.layer} | {size.groups} | {size.documents:.1f} | {size.labels:.1f} | {outlook.measure} "
            f"| {size.score.value:.3f} | {spread} | {interval} |"
        )
    if ahead := outlook.predicted:
        yield (
            f"| {outlook.layer} | {ahead.groups} | | | {outlook.measure}, predicted "
            f"| {ahead.score.value:.3f} | | {ahead.score.low:.3f}–{ahead.score.high:.3f} |"
        )


def _cautions(found: Sequence[Outlook]) -> Iterator[str]:
    if any(outlook.predicted for outlook in found):
        yield (
            "A prediction takes for granted that the score goes on as a − b·n^(−c) for n groups, and that new groups are like "
            "these. Its interval comes from drawing held-out groups and seeds anew, and leaves out the doubt about the law itself."
        )
    if few := [f"{outlook.layer} {outlook.scored}" for outlook in found if outlook.scored < FEW_GROUPS]:
        yield (
            f"Fewer than {FEW_GROUPS} groups are scored ({', '.join(few)}): intervals are rough, and more often too narrow than "
            "too wide; of one group there is none. Take a conclusion as a hint."
        )
    if any(len(size.by_seed) < FEW_SEEDS for outlook in found for size in outlook.sizes):
        yield (
            f"Fewer than {FEW_SEEDS} seeds: intervals leave out much of what another draw of groups or another training would "
            "change; --seeds 0,1,2 costs more and says more."
        )


def drawing(found: Sequence[Outlook]) -> str:
    """The curves with the range over seeds, and what is predicted with its interval."""
    lines = []
    for outlook in found:
        points = [Point(size.groups, size.score.value, min(size.by_seed), max(size.by_seed)) for size in outlook.sizes]
        ahead = outlook.predicted
        predicted = [Point(ahead.groups, ahead.score.value, ahead.score.low, ahead.score.high)] if ahead else []
        lines.append(Line(f"{outlook.layer} ({outlook.measure})", points, predicted))
    return svg(lines, "groups of documents learned from; dashed: predicted")
