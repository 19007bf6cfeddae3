"""Runs a cross-validation from config to table. It knows files and text; folds and statistics are made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from inference.checkpoint import encoder_tokenizer
from training.config import CrossvalConfig, RunConfig
from training.crossval import crossval
from training.data import unreachable
from training.gold import documents_to_learn
from training.reports.intervals import markdown, scores
from training.reports.report import build_report
from training.run_directory import write_table


def run(
    config: RunConfig, settings: CrossvalConfig, *, command: str, save: Path | None, say: Callable[[str], None]
) -> str:
    """Cross-validate, write the table into the output folder (and to `save`), return the text.

    The files are `crossval.md` and `.json`; of folds of several groups `crossval-K-fold`, so that neither replaces the other.
    """
    schema = config.tagger.label_schema
    gold = documents_to_learn(config, say)
    results, origin = crossval(config, settings, gold, say)
    found = scores(results, gold, schema)
    groups = len({document.fold for document in gold})
    dealing = f" in {settings.folds} folds, one fold" if settings.folds else ", one"
    about = [
        f"Command: `{command}`",
        f"Seeds {', '.join(map(str, settings.seeds))}; {groups} articles{dealing} held out "
        f"at a time; scores are pooled over all held-out articles. {origin['started']}, {origin['hardware']['processor']}, "
        f"{origin['hardware']['threads']} threads, torch {origin['packages']['torch']}, "
        f"transformers {origin['packages']['transformers']}, data {origin['data']['fingerprint']}.",
        "With so few articles an interval is itself rough: it says how much depends on which articles were drawn.",
    ]
    title = f"Cross-validation, {settings.folds} folds by article" if settings.folds else "Leave one article out"
    lost = unreachable(gold, encoder_tokenizer(config.encoder), config.tagger)
    first = build_report(gold, results["tagger"][0], schema, lost)
    per_label = f"## Seed {settings.seeds[0]} in detail\n\n{first.markdown()}"
    text = "\n\n".join([f"# {title}", *about, markdown(found, "tagger"), per_label])
    about_run = {name: value for name, value in origin.items() if name != "seed"}
    dealt = {"folds": settings.folds} if settings.folds else {}
    values = {
        "command": command,
        **about_run,
        "seeds": [*settings.seeds],
        **dealt,
        "scores": [s.to_dict() for s in found],
    }
    name = f"crossval-{settings.folds}-fold" if settings.folds else "crossval"
    for place in [config.output / name, *([save] if save else [])]:
        write_table(place, text, values)
    return text
