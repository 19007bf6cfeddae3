"""Leave-one-group-out cross-validation: every article is tagged by a tagger that never saw it.

It knows folds, seeds and systems to compare. Scores and intervals are `training.intervals`' business.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from annotations.document import Document
from annotations.errors import ConfigError, DocumentError
from annotations.storage import read_jsonl, write_jsonl
from training.config import CrossvalConfig, RunConfig
from training.evaluation import bare
from training.run_directory import RunDirectory
from training.trainer import fine_tune

Predict = Callable[[list[Document], list[Document]], list[Document]]
Report = Callable[[str], None]


def folds(documents: Sequence[Document]) -> Iterator[tuple[str, list[Document], list[Document]]]:
    """(group, training documents, held-out documents) for every group, all documents of a group together.

    Raises:
        DocumentError: there are fewer than two groups.
    """
    groups = sorted({document.fold for document in documents})
    if len(groups) < 2:
        raise DocumentError("data", f"cross-validation needs at least two groups, found {len(groups)}; set `group`")
    for group in groups:
        train = [document for document in documents if document.fold != group]
        yield group, train, [document for document in documents if document.fold == group]


def crossval(
    config: RunConfig, settings: CrossvalConfig, documents: Sequence[Document], say: Report
) -> tuple[dict[str, list[list[Document]]], dict[str, Any]]:
    """Out-of-fold predictions of every system, one list of documents for each seed; and what was known at the start.

    Every fold is kept in `output` as soon as it is done, so an interrupted call goes on where it was.

    Raises:
        ConfigError: `output` holds folds of another config, data or encoder, or the baselines' package is missing.
    """
    if settings.baselines and find_spec("pycrfsuite") is None:
        raise ConfigError("the CRF baseline", "needs python-crfsuite; pip install 'standpoint[baselines]'")
    begun = any((config.output / "folds").rglob("*.jsonl"))
    origin = RunDirectory(config.output).claim(config, documents, begun=begun)
    results = {"tagger": [_round(config, seed, documents, say) for seed in settings.seeds]}
    if settings.baselines:
        for name, predict in baselines(config).items():
            say(f"{name}: {len({document.fold for document in documents})} folds")
            results[name] = [[found for _, train, test in folds(documents) for found in predict(train, bare(test))]]
    return results, origin


def _round(config: RunConfig, seed: int, documents: Sequence[Document], say: Report) -> list[Document]:
    predicted: list[Document] = []
    for group, train, test in folds(documents):
        kept = config.output / "folds" / f"seed-{seed}" / f"{_safe(group)}.jsonl"
        if not kept.exists():
            say(f"seed {seed}: training without {group}")
            scratch = config.output / "trainer"
            own = config.model_copy(update={"seed": seed, "trainer": {"disable_tqdm": True, **config.trainer}})
            shutil.rmtree(scratch, ignore_errors=True)
            write_jsonl(kept, fine_tune(own, train, scratch).tag(bare(test)))
            shutil.rmtree(scratch, ignore_errors=True)
        predicted += read_jsonl(kept)
    return predicted


def _safe(group: str) -> str:
    """A file name for a group, different for different groups."""
    shown = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in group)[:60]
    return f"{shown}-{hashlib.sha256(group.encode()).hexdigest()[:8]}"


def baselines(config: RunConfig) -> dict[str, Predict]:
    """The systems that a tagger has to beat, on the same folds."""
    from training.baselines import crf_baseline, majority_baseline, tfidf_baseline

    schema, seed = config.tagger.label_schema, config.seed
    return {
        "CRF": lambda train, test: crf_baseline(train, test, schema, seed),
        "TF-IDF": lambda train, test: tfidf_baseline(train, test, schema, seed),
        "TF-IDF, target unseen": lambda train, test: tfidf_baseline(train, test, schema, seed, see_target=False),
        "majority": lambda train, test: majority_baseline(train, test, schema),
    }
