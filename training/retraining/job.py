"""One training job: pull, train, compare with the current version, take its place unless worse.

It runs in a process of its own, `python -m training.retraining.job FOLDER`, which ends when its standard input does.
Every step leaves its result in the folder, so that a job that was cut short goes on from the last one.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from annotations.comparison import compare
from annotations.document import Document
from annotations.errors import ConfigError, DocumentError, StandpointError
from annotations.schema import Kind, Schema
from annotations.storage import read_jsonl, replacing, write_jsonl
from inference.checkpoint_files import version
from inference.model_store import ModelStore
from inference.tagger import Tagger
from training.config import RunConfig
from training.folds import apart
from training.reports.evaluation import bare
from training.retraining.config import TOKEN, ServeConfig
from training.retraining.data import beginning, divide, unlearned
from training.retraining.jobs import Job, Json, State
from training.run_directory import RunDirectory, resolved_yaml
from training.runs import train
from training.shell import quiet_libraries
from training.unlabelled import further_texts

CUT_SHORT = 75
NICENESS = 10
SLACK = 1e-9


def perform(job: Job) -> None:
    """Bring a job to its end, from wherever it is.

    Raises:
        InputError: the settings, the annotations or the training data cannot be used.
        ServerError: the annotations cannot be pulled.
    """
    if not (job.folder / "train.yaml").exists():
        prepare(job)
    config = RunConfig.load(job.folder / "train.yaml")
    run = RunDirectory(config.output)
    job.tell(State.TRAINING)
    if not run.finished:
        train(config)
    decide(job, run, config.tagger.label_schema)


def prepare(job: Job) -> None:
    """Pull, and write the job's training data, evaluation data and run config.

    Raises: like `perform`.
    """
    settings = job.settings
    job.tell(State.PULLING)
    config = RunConfig.load(settings.train, settings.train_overrides)
    schema = config.tagger.label_schema
    path, pulled = _pull(settings, schema)
    documents = list(read_jsonl(path, schema))
    if not documents:
        raise DocumentError(
            f"project {settings.project}", "has no annotation that counts; annotate some, or set policy"
        )
    parts = divide(documents, config, settings.evaluation)
    apart(further_texts(config), parts.scored)
    # Told here, before the hours of a training that nothing could be compared with.
    store = ModelStore(settings.store)
    current = {f"version {store.version}": store.path(store.version)}
    unlearned(parts.scored, {**current, **beginning(config)}, schema)
    write_jsonl(job.folder / "train.jsonl", parts.learned)
    write_jsonl(job.folder / "evaluation.jsonl", parts.scored)
    job.tell(State.PULLING, pulled=pulled, data=parts.counts)
    print(f"data: {parts.counts}", flush=True)
    data = config.data.model_copy(update={"train": (job.folder / "train.jsonl",), "test": (), "held_out": ()})
    with replacing(job.folder / "train.yaml") as out:
        out.write(resolved_yaml(config.model_copy(update={"data": data, "output": job.folder / "run"})))


def _pull(settings: ServeConfig, schema: Schema) -> tuple[Path, Json]:
    """The file of the project's annotated documents, and what to note of it."""
    from annotations.labelstudio.pull import pull
    from annotations.labelstudio.server import Server

    server = Server(settings.label_studio, token())
    found = pull(server, settings.project, settings.store / "annotations", schema, settings.policy, print)
    return found.documents, {"version": found.version, "documents": found.count, "changed": found.changed}


def token() -> str:
    """The server's token. Raises ConfigError where the environment has none."""
    found = os.environ.get(TOKEN, "").strip()
    if not found:
        raise ConfigError(TOKEN, "is not set; put the personal access token of a Label Studio user into it")
    return found


def decide(job: Job, run: RunDirectory, schema: Schema) -> None:
    """Compare the trained version with the current one where neither learned, and make it current unless it is worse.

    Raises:
        CheckpointError: the current version cannot be loaded.
        ConfigError: one of them learned from every document that they could be compared on.
    """
    settings, store = job.settings, ModelStore(job.settings.store)
    new = version(run.checkpoint)
    documents = list(read_jsonl(job.folder / "evaluation.jsonl", schema))
    # What was current when this job first compared: cut short behind the swap, it finds its own version there.
    before = job.status.get("before", store.version)
    job.tell(State.COMPARING, version=new, before=before)
    while True:
        folders = {f"version {new}": run.checkpoint, f"version {before}": store.path(before)}
        fair, odd = unlearned(documents, folders, schema)
        job.tell(State.COMPARING, before=before, compared_on=len(fair))
        theirs, ours = (score(Tagger.load(folder), fair, schema) for folder in (run.checkpoint, store.path(before)))
        verdict = Verdict(new, theirs, before, ours)
        if not verdict.better(settings.tolerance):
            job.tell(State.KEPT, reason="; ".join([f"{verdict}; {before} stays", *odd]), **verdict.to_dict())
            return
        store.admit(run.checkpoint)
        if store.promote(new, "retrained", instead_of=before):
            break
        # Someone restored another version meanwhile, which is to be compared with instead.
        before = store.version
    store.prune(settings.keep_versions)
    job.tell(State.SWAPPED, reason="; ".join([f"{verdict}; {new} is current", *odd]), **verdict.to_dict())


@dataclass(frozen=True)
class Verdict:
    """Two versions' scores by layer, on the same documents."""

    new: str
    theirs: dict[str, float]
    before: str
    ours: dict[str, float]

    def better(self, tolerance: float) -> bool:
        """Whether the new version is another one, and its mean not lower by more than the tolerance."""
        return self.new != self.before and mean(self.theirs) >= mean(self.ours) - tolerance - SLACK

    def __str__(self) -> str:
        if self.new == self.before:
            return f"version {self.new} came out again"
        layers = ", ".join(self.theirs)
        return (
            f"version {self.new} scores {mean(self.theirs):.4f}, {self.before} {mean(self.ours):.4f} (mean of {layers})"
        )

    def to_dict(self) -> Json:
        """Plain values."""
        layers = {name: {"new": self.theirs[name], "current": self.ours[name]} for name in self.theirs}
        return {"scores": layers, "mean": {"new": mean(self.theirs), "current": mean(self.ours)}}


def score(tagger: Tagger, documents: Sequence[Document], schema: Schema) -> dict[str, float]:
    """Micro F1 of exact spans, macro F1 of sentences and documents, for each layer that the documents annotate.

    What the tagger predicts outside the schema does not count.
    """
    known = {name: layer.labels for name, layer in schema.layers.items()}
    predicted = [document.within(known) for document in tagger.tag(bare(documents))]
    layers = compare(documents, predicted, schema).layers
    return {
        name: layer.micro.f1 if layer.kind is Kind.SPANS else layer.macro_f1
        for name, layer in layers.items()
        if layer.documents
    }


def mean(scores: Mapping[str, float]) -> float:
    """The mean over layers."""
    return sum(scores.values()) / len(scores)


def _end_with_input() -> None:
    """Wait for the end of standard input, which comes with the end of the backend, however that ends."""
    # Not through sys.stdin: its lock, held here, would end every job with a fatal error of the interpreter.
    while os.read(0, 1024):
        pass
    os._exit(CUT_SHORT)


def main(folder: Path) -> None:
    """Perform the job of a folder, and note what became of it."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    # Predictions and health checks come first.
    os.nice(NICENESS)
    quiet_libraries()
    job = Job(folder)
    failure: Exception | None = None
    try:
        perform(job)
    except Exception as error:
        failure = error
    finally:
        # On a full disk nothing can be told before there is room again.
        job.clear()
    if failure:
        ours = isinstance(failure, StandpointError)
        # The log may be on the same disk.
        with suppress(OSError):
            print(failure if ours else "".join(traceback.format_exception(failure)), flush=True)
        reason = str(failure) if ours else f"{type(failure).__name__} while {job.state}; see {job.log}"
        job.tell(State.FAILED, reason=reason)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
