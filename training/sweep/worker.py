"""A process of a sweep: trains and scores one fold for each line of its standard input, and keeps the score on disk.

Run as `python -m training.sweep.worker FOLDER`; it ends when its standard input does, in the middle of a fold too.
It knows folds and scores, not which values to try next.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import IO, Any

import torch

from annotations.comparison import LayerComparison, compare
from annotations.document import Document
from annotations.errors import StandpointError, first_line
from annotations.storage import read_jsonl, write_json
from inference.tagger import Tagger
from training.config import RunConfig
from training.folds import folds
from training.reports.evaluation import bare
from training.run_directory import SCRATCH
from training.shell import quiet_libraries
from training.sweep.config import SweepConfig, measure_of, with_parameters
from training.sweep.trials import FoldScore, fold_path
from training.trainer import fine_tune

CUT_SHORT = 75
LARGEST = 1e6
"""No weight of a sound model comes near it."""
Job = dict[str, Any]


class FoldRunner:
    """Trains and scores the folds of a sweep's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = SweepConfig.load(folder / "sweep.yaml")
        self.config = RunConfig.load(folder / "config.yaml")
        self.documents = list(read_jsonl(folder / "documents.jsonl", self.config.tagger.label_schema))
        self.folds = list(folds(self.documents, self.settings.folds))

    def perform(self, job: Job) -> None:
        """Train on all folds but one, score on that one, and keep the score.

        Raises:
            InputError: the values cannot be trained with.
            StandpointError: training diverged.
        """
        began = time.monotonic()
        config = with_parameters(self.config, job["parameters"], where=f"trial {job['trial']}")
        quick = {"disable_tqdm": True, "save_strategy": "no", **config.trainer}
        config = config.model_copy(update={"seed": job["seed"], "trainer": quick})
        fold = self.folds[job["fold"]]
        scratch = self.folder / SCRATCH / str(os.getpid())
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            layers = self.score(fine_tune(config, fold.train, scratch), fold.test)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        seconds = round(time.monotonic() - began, 2)
        score = layers[self.settings.layer] if self.settings.layer else fmean(layers.values())
        path = fold_path(self.folder / "trials", job["trial"], (job["seed"], job["fold"]))
        write_json(path, asdict(FoldScore(job["seed"], job["fold"], score, layers, seconds)))

    def score(self, tagger: Tagger, documents: Sequence[Document]) -> dict[str, float]:
        """The measure of each layer that the documents annotate."""
        # Written so that weights that are not numbers count as diverged too.
        if not all(float(weight.abs().max()) < LARGEST for weight in tagger.engine.model.parameters()):
            raise StandpointError("training diverged: weights have grown beyond all bounds; lower the learning rate")
        layers = compare(documents, tagger.tag(bare(documents)), self.config.tagger.label_schema).layers
        return {name: self._measured(layer) for name, layer in layers.items() if layer.documents}

    def _measured(self, layer: LayerComparison) -> float:
        found: Mapping[str, float] = {
            "micro F1": layer.micro.f1,
            "macro F1": layer.macro_f1,
            "accuracy": layer.accuracy,
        }
        return found[measure_of(self.settings, layer.kind)]


def answer(runner: FoldRunner, job: Job) -> dict[str, str]:
    """Perform a job: empty when its score is kept, `failed` where its values are to blame, `stop` where the disk is."""
    try:
        runner.perform(job)
    except Exception as error:
        traceback.print_exc()
        if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
            return {"stop": str(error)}
        told = " ".join(str(error).split()) if isinstance(error, StandpointError) else first_line(error)
        return {"failed": told if isinstance(error, StandpointError) else f"{type(error).__name__}: {told}"}
    return {}


def _lines(stream: IO[str], jobs: queue.SimpleQueue[Job]) -> None:
    """Put jobs into the queue until the stream ends, which comes with the end of the sweep, however that ends."""
    for line in stream:
        jobs.put(json.loads(line))
    os._exit(CUT_SHORT)


def main(folder: Path) -> None:
    """Say that it is ready, then answer each job with one line."""
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_lines, args=(sys.stdin, jobs), daemon=True).start()
    answers = sys.stdout
    # The Trainer prints its log on standard output, which is for answers.
    with redirect_stdout(sys.stderr):
        quiet_libraries()
        if threads := os.environ.get("OMP_NUM_THREADS"):
            torch.set_num_threads(int(threads))
        runner = FoldRunner(folder)
        print(json.dumps({}), file=answers, flush=True)
        while True:
            print(json.dumps(answer(runner, jobs.get())), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
