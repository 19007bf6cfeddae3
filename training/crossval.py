"""Cross-validation by group: every article is tagged by a tagger that never saw it.

It knows seeds, systems to compare, and predictions kept on disk. Scores and intervals are `training.reports.intervals`' business.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from annotations.document import Document
from annotations.errors import ConfigError, to_install
from annotations.storage import read_jsonl, write_jsonl
from inference.tagger import Tagger
from training.baselines import Baseline, crf_baseline, label_baselines
from training.config import CrossvalConfig, RunConfig
from training.folds import FOLDS, Fold, apart, folds, scheme, unlearned
from training.preflight.gate import usable
from training.recipe import resolved
from training.reports.evaluation import bare
from training.run_directory import FOLDED, SCRATCH, RunDirectory, alone
from training.self_training import learn
from training.trainer import check_arguments
from training.unlabelled import further_texts

Report = Callable[[str], None]


def crossval(
    config: RunConfig, settings: CrossvalConfig, documents: Sequence[Document], say: Report
) -> tuple[dict[str, list[list[Document]]], dict[str, Any]]:
    """Out-of-fold predictions of every system, one list of documents for each seed; and what was known at the start.

    Every fold is kept in `output` as soon as it is done, so an interrupted call goes on where it was.

    Raises:
        ConfigError: `output` holds folds of another config, data or encoder or another kind of work, another process is at
            work there, or the baselines' package is missing.
        DocumentError: the documents cannot be learned from, or there are too few groups; nothing is written then.
    """
    if settings.baselines and find_spec("pycrfsuite") is None:
        raise ConfigError("the CRF baseline", f"needs python-crfsuite; {to_install('baselines')}")
    dealing = warned_folds(config, settings.folds, documents, say)
    config = resolved(config)
    check_arguments(config, config.output)
    with alone(config.output, FOLDED):
        origin = RunDirectory(config.output).claim(config, documents, FOLDED)
        results = {"tagger": [_round(config, settings, seed, dealing, say) for seed in settings.seeds]}
    if settings.baselines:
        for name, predict in baselines(config).items():
            say(f"{name}: {len(dealing)} folds")
            results[name] = [[found for _, train, test in dealing for found in predict(train, bare(test))]]
    return results, origin


def warned_folds(config: RunConfig, count: int | None, documents: Sequence[Document], say: Report) -> list[Fold]:
    """The folds, `count` of them or one a group, after telling what is odd about the documents and what the folds leave unlearned.

    Raises:
        DocumentError: the documents cannot be learned from, or there are too few groups.
    """
    schema = config.tagger.label_schema
    odd = usable(documents, schema)
    apart(further_texts(config), documents)
    dealing = list(folds(documents, count))
    for warning in [*odd, *unlearned(dealing, documents, schema)]:
        say(f"warning: {warning}")
    return dealing


def _round(
    config: RunConfig, settings: CrossvalConfig, seed: int, dealing: Sequence[Fold], say: Report
) -> list[Document]:
    predicted: list[Document] = []
    for fold in dealing:
        kept = scheme(config.output / FOLDS, settings.folds) / f"seed-{seed}" / f"{safe_name(fold.name)}.jsonl"
        if not kept.exists():
            say(f"seed {seed}: training without {fold.name}")
        predicted += kept_predictions(config, seed, fold, kept)
    return predicted


def kept_predictions(config: RunConfig, seed: int, fold: Fold, kept: Path) -> list[Document]:
    """The fold's held-out documents as a tagger trained on the others labels them: from `kept`, or trained and kept there.

    Raises:
        ConfigError: `kept` holds other documents.
    """
    if not kept.exists():
        write_jsonl(kept, fold_tagger(config, seed, fold).tag(bare(fold.test)))
    predicted = list(read_jsonl(kept))
    if {document.id for document in predicted} != {document.id for document in fold.test}:
        raise ConfigError(kept, f"holds other documents than {fold.name}; choose output=…, or remove it")
    return predicted


def fold_tagger(config: RunConfig, seed: int, fold: Fold) -> Tagger:
    """A tagger trained on all but the fold's held-out documents."""
    # Not in `trainer`, where a run would go on from it.
    scratch = config.output / SCRATCH
    own = config.model_copy(update={"seed": seed, "trainer": {"disable_tqdm": True, **config.trainer}})
    shutil.rmtree(scratch, ignore_errors=True)
    tagger = learn(own, fold.train, scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    return tagger


def safe_name(group: str) -> str:
    """A file name for a group, different for different groups."""
    shown = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in group)[:60]
    return f"{shown}-{hashlib.sha256(group.encode()).hexdigest()[:8]}"


def baselines(config: RunConfig) -> dict[str, Baseline]:
    """The systems that a tagger has to beat, on the same folds."""
    schema, seed = config.tagger.label_schema, config.seed
    return {"CRF": lambda train, test: crf_baseline(train, test, schema, seed), **label_baselines(schema, seed)}
