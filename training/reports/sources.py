"""What a report is made of: predictions from a checkpoint or a finished result, gold, and what was learned from.

It knows folders and taggers. It scores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from annotations.config import read_yaml
from annotations.document import Document
from annotations.errors import DocumentError, InputError, StandpointError, first_line
from annotations.labelstudio.exports import ImportReport
from annotations.reading import annotated_documents
from annotations.schema import Kind, Schema
from inference import checkpoint_files
from inference.checkpoint import encoder_tokenizer
from inference.checkpoint_files import NEEDED
from inference.config import TaggerConfig
from inference.decoding import decode
from inference.tagger import Tagger, portions
from training.data import unreachable
from training.folds import FOLDS, folds
from training.lineage import known_texts, learned_texts
from training.reports.evaluation import bare
from training.reports.reading_gold import read_gold, widening
from training.reports.results import Result, home_of, read_result
from training.reports.temperature import Evidence, gather
from training.run_directory import CONFIG, FINISHED, PREDICTIONS


@dataclass(frozen=True)
class Lesson:
    """What some of the scored documents were predicted from."""

    learned: Sequence[Document]
    tested: frozenset[str] | None = None
    """Ids of the documents that a tagger which learned from these predicted; all where None."""


@dataclass(frozen=True)
class Training:
    """What was learned from."""

    files: Sequence[str]
    lessons: Sequence[Lesson]
    """One, or one for each fold of a cross-validation."""

    @property
    def documents(self) -> int:
        """How many different documents were learned from."""
        return len({document.id for lesson in self.lessons for document in lesson.learned})


@dataclass
class Source:
    """Everything that a report is made of."""

    name: str
    kind: str
    """`checkpoint`, `run`, `crossval` or `evaluation`."""
    schema: Schema
    """What the predictions can say."""
    gold: list[Document]
    files: list[str]
    rounds: dict[str, list[Document]]
    version: str | None = None
    training: Training | None = None
    lost: dict[str, list[str]] | None = None
    """Gold that tokens cannot represent, by layer of spans; None where the tokens are not known."""
    evidence: dict[str, Evidence] | None = None
    """Logits for fitting temperatures, where asked for, of documents that were not learned from."""
    known: frozenset[str] | None = None
    """Ids of the gold documents whose text was learned from; None where nothing tells."""
    remarks: list[str] = field(default_factory=list)


def is_checkpoint(path: Path) -> bool:
    """Whether a folder holds a tagger, or a part of one."""
    return (path / NEEDED[0]).is_file()


def read_source(path: Path, data: Sequence[Path], *, train: Sequence[Path] = (), logits: bool = False) -> Source:
    """Tag the data with a checkpoint, or take a finished result's predictions; `train` names what was learned from.

    Raises:
        InputError: the folder holds neither, the data cannot be read, or logits are asked for and all of the data was learned
            from.
    """
    source = _tagged(path, data, train, logits) if is_checkpoint(path) else _finished(path, data, train)
    if source.known:
        again = f"{len(source.known)} of {len(source.gold)} scored documents have a text that was learned from"
        source.remarks.append(again)
    if logits and source.evidence is None:
        source.remarks.append(
            "no temperature was fitted: that takes the logits of a checkpoint, and this is a finished result"
        )
    elif logits and source.known:
        source.remarks.append("temperatures are fitted and measured on the others alone")
    if source.training is None:
        told = "what was learned from is not known" if source.known is None else "what was learned from is not at hand"
        source.remarks.append(
            f"{told}: no scores by names seen in training, and no TF-IDF beside the tagger; name the files with --train"
        )
    return source


def _named(train: Sequence[Path], schema: Schema) -> Training:
    documents, _ = annotated_documents(train, schema)
    return Training([str(file) for file in train], [Lesson(documents)])


def _known(gold: Sequence[Document], own: Path, training: Training | None, named: bool) -> frozenset[str] | None:
    """Ids of the documents whose text their own tagger learned from; None where nothing tells.

    `own` is the tagger's checkpoint, which need not be there; `named` is whether a person named the files of `training`.
    """
    texts = learned_texts(own)
    if texts is None and training is None:
        return None
    found = set(known_texts(gold, texts or frozenset()))
    # Files that a run's config names may have changed since; what the checkpoint itself keeps has not.
    for lesson in training.lessons if training and (named or texts is None) else ():
        learned = {document.text for document in lesson.learned}
        tested = [one for one in gold if lesson.tested is None or one.id in lesson.tested]
        found |= {document.id for document in tested if document.text in learned}
    return frozenset(found)


def _tagged(path: Path, data: Sequence[Path], train: Sequence[Path], logits: bool) -> Source:
    if not data:
        raise DocumentError(path, "is a checkpoint: name the annotated files to score it on")
    tagger = Tagger.load(path)
    gold, imported = read_gold(data, tagger.schema)
    source = Source(str(path), "checkpoint", tagger.schema, gold, [*map(str, data)], {})
    source.version, source.remarks = checkpoint_files.version(path), _imported(imported)
    if train:
        source.training = _named(train, source.schema)
    elif (path.parent / FINISHED).is_file():
        _look_around(source, path.parent)
    source.known = _known(gold, path, source.training, bool(train))
    if logits:
        source.evidence = _evidence(path, source, tagger.config)
    source.rounds["run"] = [one for some in portions(gold) for one in _tag(tagger, some, source)]
    source.lost = _lost(gold, tagger.tokenizer, tagger.config)
    return source


def _look_around(source: Source, run: Path) -> None:
    """Take what a checkpoint learned from out of the run's folder that it lies in."""
    try:
        result = read_result(run)
        source.training = _trained(result, source.schema)
        source.remarks += result.gold.read(source.schema)[1] if result.gold else []
    except InputError as error:
        source.remarks.append(f"the training data cannot be read: {first_line(error)}")


def _evidence(path: Path, source: Source, config: TaggerConfig) -> dict[str, Evidence]:
    """Empty evidence for each layer. Raises DocumentError where every document was learned from."""
    if source.gold and source.known and all(one.id in source.known for one in source.gold):
        raise DocumentError(
            ", ".join(source.files),
            f"all {len(source.gold)} documents have a text that {path} learned from, and on those it is too sure of itself to fit "
            "a temperature; give annotated documents that it did not learn from, or leave out --calibrate and --calibrated",
        )
    return {name: Evidence(config.temperatures.get(name, 1.0)) for name in source.schema.layers}


def _tag(tagger: Tagger, gold: Sequence[Document], source: Source) -> list[Document]:
    documents = bare(gold)
    windows, answers = tagger.read(documents)
    tagged = decode(documents, windows, answers, tagger.config)
    if source.evidence is not None:
        known = source.known or frozenset()
        allowed = {name: layer.labels for name, layer in source.schema.layers.items()}
        # Without labels nothing of a document is evidence.
        fresh = [one.within({} if one.id in known else allowed) for one in gold]
        gather(source.evidence, source.schema.layers, fresh, tagged, windows, answers)
    return tagged


def _lost(gold: Sequence[Document], tokenizer: PreTrainedTokenizerBase, config: TaggerConfig) -> dict[str, list[str]]:
    allowed = {name: layer.labels for name, layer in config.label_schema.of_kind(Kind.SPANS).items()}
    return unreachable([one.within(allowed) for one in gold], tokenizer, config)


def _imported(report: ImportReport) -> list[str]:
    """What was done to the gold on the way in, counted, with an example."""
    parts = {
        "labels of the gold cover no sentence by more than half and do not count": report.unplaced,
        "regions of the gold were repaired": report.repairs,
        "tasks of the gold were left out": report.left_out,
    }
    return [f"{len(lines)} {what}, for example: {lines[0]}" for what, lines in parts.items() if lines]


def _finished(path: Path, data: Sequence[Path], train: Sequence[Path]) -> Source:
    result = read_result(path)
    declared = result.schema
    if declared is None:
        raise DocumentError(
            path, "does not tell its schema; give the folder of a `train`, `crossval` or `evaluate --output`"
        )
    remarks = [*result.remarks]
    files = [*map(str, data)]
    if data:
        gold, imported = read_gold(data, declared)
        remarks += _imported(imported)
    elif result.gold:
        own = [*result.gold.train, *result.gold.test]
        gold, changed = widening(result.gold.read, own, declared)
        remarks += changed
        files = [*map(str, own)]
    else:
        raise DocumentError(path, "does not tell what it was scored on; name the annotated files")
    source = Source(str(path), _kind(path), declared, gold, files, result.rounds, remarks=remarks)
    if source.kind == "run" and is_checkpoint(path / "checkpoint"):
        source.version = checkpoint_files.version(path / "checkpoint")
    if train:
        source.training = _named(train, declared)
    else:
        try:
            source.training = _trained(result, declared) if source.kind != "crossval" else _crossed(path, result)
        except InputError as error:
            remarks.append(f"the training data cannot be read: {first_line(error)}")
    source.known = _known(gold, path / "checkpoint", source.training, bool(train))
    source.lost = _lost_of_result(path, gold, remarks)
    return source


def _kind(path: Path) -> str:
    if (path / PREDICTIONS).is_file():
        return "run" if (path / CONFIG).is_file() else "evaluation"
    return "crossval"


def _trained(result: Result, schema: Schema) -> Training | None:
    """What a run learned from; None where its folder does not tell."""
    if result.gold is None or not result.gold.train:
        return None
    documents, _ = annotated_documents(result.gold.train, schema)
    return Training([str(file) for file in result.gold.train], [Lesson(result.gold.learned_from(documents))])


def _crossed(path: Path, result: Result) -> Training | None:
    """What each fold of a cross-validation learned from; None where its folder does not tell."""
    if result.gold is None or result.schema is None:
        return None
    documents = result.gold.learned_from(annotated_documents(result.gold.train, result.schema)[0])
    names = [
        part for part in (path.name, *(one.name for one in sorted((path / FOLDS).glob("*-fold")))) if "-fold" in part
    ]
    count = int(names[0].removesuffix("-fold")) if names and names[0].removesuffix("-fold").isdigit() else None
    lessons = [Lesson(fold.train, frozenset(one.id for one in fold.test)) for fold in folds(documents, count)]
    return Training([str(file) for file in result.gold.train], lessons)


def _lost_of_result(path: Path, gold: Sequence[Document], remarks: list[str]) -> dict[str, list[str]] | None:
    home = home_of(path)
    try:
        if home is None:
            raise DocumentError(path, "has no config.yaml")
        config = read_yaml(home / CONFIG)
        tagger = TaggerConfig.build(config["tagger"], where=home / CONFIG)
        return _lost(gold, encoder_tokenizer(config["encoder"]), tagger)
    except (StandpointError, KeyError, TypeError) as error:
        remarks.append(f"gold that the tokens cannot represent was not counted: {first_line(error)}")
        return None
