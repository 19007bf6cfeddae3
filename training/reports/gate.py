"""May a checkpoint take the place of another result? Both on the same gold, and one verdict for each layer.

A layer fails where the whole 95% interval of the difference (paired bootstrap by group of documents) lies below zero, or below
minus the tolerance. It knows checkpoints, results and gold; how it ends for a shell is the command's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.document import Document
from annotations.errors import CheckpointError, ConfigError, DocumentError, InputError, did_you_mean
from annotations.reading import annotated_documents
from annotations.schema import Schema
from inference.checkpoint_files import NEEDED, label_schema
from inference.tagger import Tagger
from training.lineage import known_texts, learned_texts, text_hash
from training.reports.comparison import LayerDifference, PairComparison, compare_pair
from training.reports.evaluation import bare
from training.reports.pairs import Side, joint_schema
from training.reports.results import Result, read_result

OWN, OTHER = "checkpoint", "baseline"
WITHOUT_INTERVAL = 5.0
"""F1 points that may be lost where one group of documents gives no interval, or the tolerance where that is more."""
SLACK = 1e-9
NAMED = 5


@dataclass(frozen=True)
class Verdict:
    """One layer of the two."""

    apart: LayerDifference
    tolerance: float
    """F1 points (hundredths of F1) that may be lost."""

    @property
    def certain(self) -> bool:
        """Whether there is an interval."""
        return self.apart.groups > 1

    @property
    def worse(self) -> bool:
        """Whether the layer fails."""
        if self.certain:
            return self.apart.apart.high < -self.tolerance / 100 - SLACK
        return self.apart.apart.mean < -max(self.tolerance, WITHOUT_INTERVAL) / 100 - SLACK

    def sentence(self) -> str:
        """The verdict and why."""
        verdict = "fails" if self.worse else "passes"
        told = f"{verdict.upper()} {self.apart.conclusion().removesuffix('.')}"
        if not self.certain:
            allowed = max(self.tolerance, WITHOUT_INTERVAL)
            return f"{told}; without an interval it {verdict} by the plain difference, of which {allowed:g} F1 points may be lost."
        return f"{told}; {self.tolerance:g} F1 points may be lost." if self.tolerance else f"{told}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.apart.to_dict(), "passed": not self.worse, "sentence": self.sentence()}

    def row(self) -> str:
        """A row of the table."""
        first, second, apart = self.apart.first, self.apart.second, self.apart.apart
        interval = f"{apart.low:+.3f} to {apart.high:+.3f}" if self.certain else "none"
        return (
            f"| {self.apart.layer} | {first.measure} | {first.mean:.3f} | {second.mean:.3f} | {apart.mean:+.3f} | {interval} "
            f"| {self.apart.documents} | {self.apart.groups} | {'fails' if self.worse else 'passes'} |"
        )


@dataclass(frozen=True)
class Gate:
    """Every layer, and what a reader has to know."""

    checkpoint: str
    baseline: str
    tolerance: float
    documents: int
    verdicts: Sequence[Verdict]
    lacking: Sequence[str]
    """Layers of the gold that the baseline labels and the checkpoint does not know: they fail."""
    remarks: Sequence[str]

    @property
    def passed(self) -> bool:
        """Whether no layer fails."""
        return not self.lacking and not any(verdict.worse for verdict in self.verdicts)

    @property
    def warnings(self) -> list[str]:
        """Layers that pass without an interval."""
        return [one.sentence() for one in self.verdicts if not one.certain and not one.worse]

    def sentences(self) -> list[str]:
        """One for each layer."""
        lost = [f"FAILS {name}: the {OWN} does not know this layer, which the {OTHER} labels." for name in self.lacking]
        return [*(verdict.sentence() for verdict in self.verdicts), *lost]

    def markdown(self, command: str) -> str:
        """Verdict, table, sentences, remarks."""
        head = f"| layer | measure | {OWN} | {OTHER} | difference | 95% interval | documents | groups | verdict |"
        table = [head, "|---|---|---|---|---|---|---|---|---|", *(verdict.row() for verdict in self.verdicts)]
        about = [
            f"# Gate: {'passed' if self.passed else 'failed'}",
            f"Command: `{command}`",
            f"- {OWN}: {self.checkpoint}\n- {OTHER}: {self.baseline}",
            f"{self.documents} gold documents. Intervals: paired bootstrap by group of documents, 2000 resamples.",
        ]
        remarks = ["Remarks:", "\n".join(f"- {remark}" for remark in self.remarks)] if self.remarks else []
        said = "\n".join(f"- {sentence}" for sentence in self.sentences())
        return "\n\n".join([*about, *(["\n".join(table)] if self.verdicts else []), said, *remarks])

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "checkpoint": self.checkpoint,
            "baseline": self.baseline,
            "passed": self.passed,
            "tolerance": self.tolerance,
            "documents": self.documents,
            "layers": [verdict.to_dict() for verdict in self.verdicts],
            "lacking": [*self.lacking],
            "remarks": [*self.remarks],
        }


@dataclass(frozen=True)
class Contestant:
    """One of the two before it has tagged anything."""

    path: Path
    tagger: Path | None
    """The folder of its weights; None for predictions that are there already."""
    result: Result
    """Its schema; for predictions these too."""

    @classmethod
    def find(cls, path: Path) -> Contestant:
        """A checkpoint, the one of a run's folder, or kept predictions. Raises InputError where there is none of them."""
        for folder in (path, path / "checkpoint"):
            if all((folder / name).is_file() for name in NEEDED):
                return cls(path, folder, Result(str(path), {}, label_schema(folder)))
        return cls(path, None, read_result(path))

    def predicted(self, gold: Sequence[Document]) -> Result:
        """Its labels, made now where it has weights."""
        if self.tagger is None:
            return self.result
        return Result(self.result.name, {"run": [*Tagger.load(self.tagger).tag(bare(gold))]}, self.result.schema)

    def learned(self) -> frozenset[str] | None:
        """The hashes of the texts that it learned from, None where nothing tells.

        Folds of a cross-validation learned from nothing that they label.
        """
        if self.tagger and (texts := learned_texts(self.tagger)) is not None:
            return texts
        try:
            return _learned_by_run(read_result(self.path))
        except InputError:
            return None


def _learned_by_run(run: Result) -> frozenset[str] | None:
    """The same of a run without a checkpoint that tells, from the files that its config names. Raises InputError."""
    if "run" not in run.rounds:
        return frozenset()
    if run.schema is None or run.gold is None or not run.gold.train:
        return None
    documents, _ = annotated_documents(run.gold.train, run.schema)
    return frozenset(text_hash(document.text) for document in run.gold.learned_from(documents))


def gate(
    checkpoint: Path, baseline: Path, data: Sequence[Path], *, layers: Sequence[str] = (), tolerance: float = 0.0
) -> Gate:
    """Score a checkpoint and a baseline on annotated files.

    `baseline` is a checkpoint, a run, or predictions as `training.reports.results` reads them. `layers` are all that both know
    where none is named; `tolerance` is in F1 points.

    Raises:
        InputError: the checkpoint, the baseline or the data cannot be used, nothing can be compared, or a layer named cannot.
    """
    own, other = Contestant.find(checkpoint), Contestant.find(baseline)
    if own.tagger is None:
        raise CheckpointError(checkpoint, "holds no tagger; give the `checkpoint` folder of a finished run")
    whole = joint_schema([own.result, other.result], None)
    joint = _chosen(whole, layers)
    documents, _ = annotated_documents(data, whole)
    gold = [document.only(joint.layers) for document in documents]
    results = [_only(contestant.predicted(gold), joint) for contestant in (own, other)]
    pair = compare_pair((Side.of(OWN, results[0], joint), Side.of(OTHER, results[1], joint)), gold, joint)
    verdicts = [Verdict(layer, tolerance) for layer in pair.layers]
    lacking = _lacking(results, gold)
    _require(pair, lacking, layers)
    remarks = [*pair.remarks, *_seen(gold, {OWN: own, OTHER: other})]
    return Gate(str(checkpoint), str(baseline), tolerance, len(gold), verdicts, lacking, remarks)


def _chosen(joint: Schema, layers: Sequence[str]) -> Schema:
    """The layers asked for, or all. Raises ConfigError for one that neither knows."""
    if unknown := [
        f"no layer {name!r}; {did_you_mean(name, joint.layers)}" for name in layers if name not in joint.layers
    ]:
        raise ConfigError("--layer", unknown)
    return Schema(layers={name: layer for name, layer in joint.layers.items() if not layers or name in layers})


def _only(result: Result, joint: Schema) -> Result:
    """A result with no other layers than these."""
    rounds = {name: [one.only(joint.layers) for one in found] for name, found in result.rounds.items()}
    if result.schema is None:
        return Result(result.name, rounds)
    known = {name: layer for name, layer in result.schema.layers.items() if name in joint.layers}
    return Result(result.name, rounds, Schema.model_construct(layers=known))


def _lacking(results: Sequence[Result], gold: Sequence[Document]) -> list[str]:
    """Layers that gold and the second label, and the first does not know."""
    first, second = results
    assert first.schema is not None
    known = first.schema.layers
    told = {layer for found in second.rounds.values() for document in found for layer in document.labels}
    asked = dict.fromkeys(layer for document in gold for layer in document.labels)
    return [layer for layer in asked if layer in told and layer not in known]


def _require(pair: PairComparison, lacking: Sequence[str], layers: Sequence[str]) -> None:
    """Raise DocumentError where nothing is compared, or a layer that was asked for is not."""
    compared = {layer.layer for layer in pair.layers}
    if missing := [name for name in layers if name not in compared and name not in lacking]:
        raise DocumentError(f"layer {', '.join(missing)}", ["cannot be compared", *pair.remarks])
    if not compared and not lacking:
        raise DocumentError("nothing can be compared", pair.remarks or ["the data hold no document"])


def _seen(gold: Sequence[Document], contestants: dict[str, Contestant]) -> Iterator[str]:
    """Names the documents that a contestant learned from, as far as its folder tells."""
    for name, contestant in contestants.items():
        texts = contestant.learned()
        if texts is None:
            yield f"what the {name} learned from is not known, so it may know these documents"
        elif known := known_texts(gold, texts):
            shown = ", ".join(known[:NAMED]) + (", …" if len(known) > NAMED else "")
            yield (
                f"the {name} learned from {len(known)} of {len(gold)} documents ({shown}): on these its score says nothing of "
                "new texts, and a comparison favours it"
            )
