"""Runs a cross-validation from config to table. It knows files and text; folds and statistics are made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from annotations.reading import annotated_documents
from annotations.storage import replacing
from inference.checkpoint import encoder_tokenizer
from training.config import CrossvalConfig, RunConfig
from training.crossval import crossval
from training.data import unreachable
from training.intervals import markdown, scores
from training.report import build_report


def run(
    config: RunConfig, settings: CrossvalConfig, *, command: str, save: Path | None, say: Callable[[str], None]
) -> str:
    """Cross-validate, write `crossval.md` and `crossval.json` into the output folder (and to `save`), return the text."""
    schema = config.tagger.label_schema
    gold, imported = annotated_documents(config.data.train, schema)
    if imported.repairs or imported.left_out:
        say(str(imported))
    results, origin = crossval(config, settings, gold, say)
    found = scores(results, gold, schema)
    about = [
        f"Command: `{command}`",
        f"Seeds {', '.join(map(str, settings.seeds))}; {len({document.fold for document in gold})} articles, one held out "
        f"at a time; scores are pooled over all held-out articles. {origin['started']}, {origin['hardware']['processor']}, "
        f"{origin['hardware']['threads']} threads, torch {origin['packages']['torch']}, "
        f"transformers {origin['packages']['transformers']}, data {origin['data']['fingerprint']}.",
        "With so few articles an interval is itself rough: it says how much depends on which articles were drawn.",
    ]
    lost = unreachable(gold, encoder_tokenizer(config.encoder), config.tagger)
    first = build_report(gold, results["tagger"][0], schema, lost)
    per_label = f"## Seed {settings.seeds[0]} in detail\n\n{first.markdown()}"
    text = "\n\n".join(["# Leave one article out", *about, markdown(found, "tagger"), per_label])
    about_run = {name: value for name, value in origin.items() if name != "seed"}
    values = {"command": command, **about_run, "seeds": [*settings.seeds], "scores": [s.to_dict() for s in found]}
    for place in [config.output / "crossval", *([save] if save else [])]:
        with replacing(place.with_name(place.name + ".md")) as out:
            out.write(text + "\n")
        with replacing(place.with_name(place.name + ".json")) as out:
            out.write(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return text
