"""Does a checkpoint still answer as it did when it was made? Stored answers to probe texts, and a hash of every file.

It knows checkpoints and answers, not how they were trained. A manifest finds damage and mix-ups; it is no signature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from annotations.document import Document, Label, Labels, Span
from annotations.errors import CheckpointError, DocumentError, InputError, first_line
from annotations.storage import write_json
from inference.checkpoint_files import MANIFEST, NEEDED, sha256, write_manifest
from inference.probes import TARGETS, probes
from inference.tagger import Tagger

PROBE = "probe.json"
CARD = "README.md"
FORMAT = 1
"""Of what lies beside the weights; another number is not understood."""
TOLERANCE = 1e-3
"""How far a probability may move: far more than processors and versions of torch differ by, far less than other weights."""
OTHERS = ("torch", "transformers", "tokenizers", "syntok")
SHOWN = 40
"""Characters of a text in a message."""
MOST = 20
"""Problems in a message."""

Place = tuple[int, int] | None
"""Where a label stands; None for one of the whole document."""


@dataclass
class Verification:
    """What became of a checkpoint since its answers were stored."""

    path: Path
    problems: list[str] = field(default_factory=list)
    """One sentence for each thing that is not as it was; none where the checkpoint is sound."""
    remarks: list[str] = field(default_factory=list)
    """What differs and does no harm."""
    files: int = 0
    """Files that are as the manifest says."""
    answers: int = 0
    """Probe texts that were tagged again."""
    furthest: float = 0.0
    """The largest difference of a probability, among labels that are the same."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        told = [f"  - {problem}" for problem in self.problems[:MOST]]
        if len(self.problems) > MOST:
            told.append(f"  … and {len(self.problems) - MOST} more")
        told += [f"  remark: {remark}" for remark in self.remarks]
        counts = f"{self.files} files as in {MANIFEST}, {self.answers} probe texts tagged again"
        if self.answers:
            counts += f", probabilities within {self.furthest:.1g}"
        count = len(self.problems)
        verdict = "as it was made" if self.sound else f"{count} {'problem' if count == 1 else 'problems'}"
        return "\n".join([f"{self.path}: {verdict} ({counts})", *told])


def record(folder: Path) -> int:
    """Write what `verify` compares with: `probe.json`, then `manifest.json` of every file. Returns how many probes.

    The answers are those of the folder itself, loaded anew.

    Raises:
        CheckpointError: the folder holds no tagger.
    """
    tagger = Tagger.load(folder, engine="torch")
    answers = tagger.tag_all(readable_probes(tagger))
    made_by = {"standpoint": package(), "packages": {name: package(name) for name in OTHERS}}
    write_json(folder / PROBE, {"format": FORMAT, **made_by, "answers": [json.loads(one.to_json()) for one in answers]})
    write_manifest(folder, _files(folder))
    return len(answers)


def readable_probes(tagger: Tagger) -> list[Document]:
    """The probe texts; without a target where windows have room for none."""
    for target in TARGETS if tagger.schema.targeted else ():
        found = probes(target)
        try:
            tagger.encode(found)
        except DocumentError:
            continue
        return found
    return probes(None)


def _files(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    )


def package(name: str = "standpoint") -> str | None:
    """The installed version of a package."""
    try:
        return installed(name)
    except PackageNotFoundError:
        return None


def verify(path: str | Path, *, tolerance: float = TOLERANCE) -> Verification:
    """Hash every file, tag the stored probe texts again, and tell all that is not as it was.

    Labels must be the same; a probability may differ by `tolerance`.

    Raises:
        CheckpointError: there is no tagger, nor what is left of one.
    """
    folder = Path(path)
    found = Verification(folder)
    recorded = [name for name in (MANIFEST, PROBE) if (folder / name).is_file()]
    if missing := [name for name in (MANIFEST, PROBE) if name not in recorded]:
        found.problems.append(
            f"there is no {' and no '.join(missing)}: train again, or `standpoint verify --record {folder}` stores what the "
            "checkpoint answers now"
        )
    if MANIFEST in recorded:
        _check_files(found)
    stored = _stored(found) if PROBE in recorded else None
    try:
        tagger = Tagger.load(folder, engine="torch")
    except CheckpointError as error:
        if not recorded:
            raise
        found.problems += [f"the tagger cannot be loaded: {problem}" for problem in error.problems]
        return found
    if stored:
        _check_answers(found, tagger, stored, tolerance)
    return found


def _check_files(found: Verification) -> None:
    """Compare the files with the manifest; the card is there to be edited, so another one is only a remark."""
    try:
        hashes = dict(json.loads((found.path / MANIFEST).read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        found.problems.append(f"{MANIFEST}: cannot be read ({first_line(error)})")
        return
    for name, expected in hashes.items():
        file = found.path / Path(name).name
        if not file.is_file():
            found.problems.append(f"{name}: is missing")
        elif (own := sha256(file)) == expected:
            found.files += 1
        elif name == CARD:
            found.remarks.append(f"{name} was edited since")
        else:
            found.problems.append(f"{name}: was changed; its SHA-256 is {own[:12]}…, not {str(expected)[:12]}…")
    more = [name for name in _files(found.path) if name not in hashes]
    vital = [name for name in more if name in (*NEEDED, PROBE)]
    found.problems += [f"{name}: is not in {MANIFEST}" for name in vital]
    if others := [name for name in more if name not in vital]:
        found.remarks.append(f"not in {MANIFEST}: {', '.join(others)}")


def _stored(found: Verification) -> list[Document] | None:
    """The stored answers; None where they cannot be compared with."""
    try:
        values = json.loads((found.path / PROBE).read_text("utf-8"))
        kind = values["format"]
        if kind != FORMAT:
            found.problems.append(
                f"{PROBE}: has format {kind!r}, this Standpoint reads {FORMAT}; use the version that made it "
                f"({values.get('standpoint')})"
            )
            return None
        _check_versions(found, values)
        return [Document.from_json(json.dumps(one), where=PROBE) for one in values["answers"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        found.problems.append(f"{PROBE}: is not as Standpoint wrote it ({type(error).__name__}: {first_line(error)})")
        return None


def _check_versions(found: Verification, values: dict[str, Any]) -> None:
    made, here = values["standpoint"], package()
    if made != here:
        found.problems.append(
            f"{PROBE}: made by Standpoint {made}, this is {here}; install that version, or, where the answers below are as "
            f"before, `standpoint verify --record {found.path}`"
        )
    for name, version in values["packages"].items():
        if version != (own := package(name)):
            found.remarks.append(f"made with {name} {version}, this is {own}")


def _check_answers(found: Verification, tagger: Tagger, stored: list[Document], tolerance: float) -> None:
    try:
        again = tagger.tag_all([document.with_labels({}) for document in stored])
    except InputError as error:
        found.problems += [f"the probe texts cannot be tagged: {problem}" for problem in error.problems]
        return
    found.answers = len(again)
    for before, after in zip(stored, again, strict=True):
        for layer in dict.fromkeys([*before.labels, *after.labels]):
            pair = before.labels.get(layer), after.labels.get(layer)
            for problem in _drift(found, before.text, pair, tolerance):
                found.problems.append(f"{before.id}, layer {layer!r}: {problem}")


def _drift(
    found: Verification, text: str, pair: tuple[Labels | None, Labels | None], tolerance: float
) -> Iterator[str]:
    """What differs between the labels of a layer then and now."""
    before, after = pair
    if before is None or after is None:
        yield "was labelled, is not any more" if after is None else "is labelled, was not"
        return
    then, now = _placed(before), _placed(after)
    for place in sorted({*then, *now}, key=lambda place: place or (0, 0)):
        old, new = then.get(place), now.get(place)
        if old is None or new is None or old.label != new.label:
            yield f"{_quoted(text, place)} was {_said(old)}, is {_said(new)}"
            continue
        moved = abs((old.score or 0.0) - (new.score or 0.0))
        found.furthest = max(found.furthest, moved)
        if moved > tolerance:
            yield f"{_quoted(text, place)} {old.label}: probability was {old.score}, is {new.score} (tolerance {tolerance:g})"


def _placed(labels: Labels) -> dict[Place, Label]:
    if isinstance(labels, tuple):
        return {(span.start, span.end): span for span in labels}
    return {None: labels}


def _said(label: Label | Span | None) -> str:
    return "nothing" if label is None else f"{label.label} ({label.score or 0.0:.3f})"


def _quoted(text: str, place: Place) -> str:
    if place is None:
        return "the document"
    start, end = place
    shown = text[start:end] if end - start <= SHOWN else f"{text[start : start + SHOWN]}…"
    return f"{shown!r} at {start}–{end}"
