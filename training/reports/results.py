"""What finished results left on disk: predictions by seed, the schema they were made with, and the gold they are scored on.

It knows the folders of `train`, `evaluate` and `crossval`. It scores nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotations.config import read_yaml
from annotations.document import Document
from annotations.errors import DocumentError, InputError, first_line
from annotations.reading import annotated_documents
from annotations.schema import Schema
from annotations.storage import fingerprint, read_jsonl
from training.folds import FOLDS
from training.run_directory import CONFIG, EVALUATION, FINISHED, INPUTS, PREDICTIONS

KINDS = "the folder of a finished `train`, of `crossval`, of `evaluate --output`, or a .jsonl of predictions"

Values = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """Predictions of one system, a round of them for each seed."""

    name: str
    """As it was named on the command line."""
    rounds: dict[str, list[Document]]
    """`seed-0` and so on to predictions; the one round of a single run is called `run`."""
    schema: Schema | None = None
    """What it was trained to predict; None where the folder does not tell."""
    gold: GoldFiles | None = None
    """Where its gold is; None where the folder does not tell."""
    remarks: list[str] = field(default_factory=list)
    """What a reader has to know of it."""


@dataclass(frozen=True)
class GoldFiles:
    """The annotated files that a result was scored on, as its folder names them."""

    train: tuple[Path, ...] = ()
    """Files that were learned from, but for the groups `held_out`."""
    test: tuple[Path, ...] = ()
    """Files that were only scored on."""
    held_out: tuple[str, ...] = ()
    """Groups of `train`; a run scored on these, a cross-validation left them out."""
    crossed: bool = False
    """Whether all that was learned from was scored on as well, fold by fold."""
    learned: str | None = None
    """Fingerprint of what was learned from (of a cross-validation, in all folds together), to notice later changes."""

    def learned_from(self, documents: Sequence[Document]) -> list[Document]:
        """Those of `train` that are not held out."""
        return [document for document in documents if document.fold not in self.held_out]

    def read(self, schema: Schema) -> tuple[list[Document], list[str]]:
        """The gold documents, and what has changed since they were scored on.

        Raises:
            InputError: a file is missing or cannot be read.
        """
        seen, _ = annotated_documents(self.train, schema)
        unseen, _ = annotated_documents(self.test, schema)
        learned = self.learned_from(seen)
        changed = self.learned and fingerprint(learned) != self.learned
        files = ", ".join(map(str, self.train))
        remarks = [f"{files} changed after the run, or is read with another schema"] if changed else []
        if self.crossed:
            return learned, remarks
        held_out = [one for one in seen if one.fold in self.held_out]
        return [*(held_out if self.held_out or unseen else seen), *unseen], remarks


def read_results(paths: Sequence[Path]) -> list[Result]:
    """The results in these folders.

    Raises:
        DocumentError: naming every folder that holds no result, or several.
    """
    found: list[Result] = []
    problems: list[str] = []
    for path in paths:
        try:
            found.append(read_result(path))
        except InputError as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
    if problems:
        raise DocumentError("results", problems)
    return found


def read_result(path: Path) -> Result:
    """The result of one folder or file of predictions. Raises InputError where it holds none."""
    try:
        return _read(path)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        told = f"{type(error).__name__}: {first_line(error)}"
        raise DocumentError(path, f"is not as `standpoint` wrote it ({told}); give {KINDS}") from error


def _read(path: Path) -> Result:
    if path.is_file():
        return Result(str(path), {"run": list(read_jsonl(path))})
    if (path / PREDICTIONS).is_file():
        return _run(path)
    place = _rounds_folder(path)
    home = home_of(path)
    rounds = {folder.name: _seed(folder) for folder in sorted(place.glob("seed-*"), key=_number)}
    whole, remarks = _whole(rounds)
    if home is None:
        return Result(str(path), whole, remarks=remarks)
    config = read_yaml(home / CONFIG)
    gold = GoldFiles(_files(config, "train"), (), _held_out(config), crossed=True, learned=_fingerprint(home / INPUTS))
    return Result(str(path), whole, _schema(config), gold, remarks)


def home_of(path: Path) -> Path | None:
    """The folder with the config that a result was made with: its own, or one of the two around it."""
    return next((folder for folder in (path, *list(path.parents)[:2]) if (folder / CONFIG).is_file()), None)


def _run(path: Path) -> Result:
    rounds = {"run": list(read_jsonl(path / PREDICTIONS))}
    if (path / CONFIG).is_file():
        config = read_yaml(path / CONFIG)
        held, test = _held_out(config), _files(config, "test")
        gold = GoldFiles(_files(config, "train"), test, held, learned=_fingerprint(path / FINISHED))
        told = [] if held or test else ["it was scored on documents it learned from, which says nothing of new texts"]
        return Result(str(path), rounds, _schema(config), gold, told)
    if (path / EVALUATION).is_file():
        told_by = json.loads((path / EVALUATION).read_text("utf-8"))
        files = tuple(map(Path, told_by["data"]))
        return Result(
            str(path), rounds, Schema.build(told_by["schema"], where=path / EVALUATION), GoldFiles(test=files)
        )
    return Result(str(path), rounds)


def _rounds_folder(path: Path) -> Path:
    """The folder that holds `seed-*`: the only one in a cross-validation, or the one that was named."""
    roots = (path, path / FOLDS)
    places = [
        found for root in roots for found in (root, *sorted(root.glob("*-fold"))) if any(found.glob("seed-*/*.jsonl"))
    ]
    if not places:
        raise DocumentError(path, f"holds no finished result; give {KINDS}")
    if len(places) > 1:
        raise DocumentError(path, f"holds several cross-validations; name one: {', '.join(map(str, places))}")
    return places[0]


def _seed(folder: Path) -> list[Document]:
    return [document for path in sorted(folder.glob("*.jsonl")) for document in read_jsonl(path)]


def _number(folder: Path) -> tuple[int, str]:
    digits = folder.name.removeprefix("seed-")
    return (int(digits) if digits.isdigit() else 0, folder.name)


def _whole(rounds: dict[str, list[Document]]) -> tuple[dict[str, list[Document]], list[str]]:
    """The rounds that predict every document that any of them does; an interrupted one is left out and named."""
    most = len({document.id for documents in rounds.values() for document in documents})
    short = {name: most - len(documents) for name, documents in rounds.items() if len(documents) < most}
    if len(short) == len(rounds):
        return rounds, [f"{name} lacks {lacking} of {most} documents" for name, lacking in short.items()]
    told = [f"{name} is left out: it lacks {lacking} of {most} documents" for name, lacking in short.items()]
    return {name: documents for name, documents in rounds.items() if name not in short}, told


def _schema(config: Values) -> Schema:
    """The schema alone: the other settings may be those of another version."""
    given = config["tagger"]["label_schema"]
    return Schema.load(given) if isinstance(given, str) else Schema.build(given, where=CONFIG)


def _files(config: Values, name: str) -> tuple[Path, ...]:
    return tuple(map(Path, config["data"].get(name) or ()))


def _held_out(config: Values) -> tuple[str, ...]:
    return tuple(config["data"].get("held_out") or ())


def _fingerprint(path: Path) -> str | None:
    if not path.is_file():
        return None
    value = json.loads(path.read_text("utf-8")).get("data", {}).get("fingerprint")
    return str(value) if value else None
