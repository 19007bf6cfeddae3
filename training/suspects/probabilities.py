"""What taggers that never saw a document think of it: probabilities of every class of every token, sentence and document.

It knows folds, logits and files. Which labels are doubtful is `training.suspects.ranking`'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from annotations.document import Document
from annotations.errors import ConfigError
from annotations.schema import Kind
from annotations.sentences import sentences
from annotations.storage import replacing_file
from inference.decoding import document_logits, sentence_logits, token_logits
from inference.tagger import Tagger, portions
from training.config import CrossvalConfig, RunConfig
from training.crossval import fold_tagger, safe_name, warned_folds
from training.folds import PROBABILITIES, Fold, scheme
from training.recipe import resolved
from training.reports.evaluation import bare
from training.run_directory import SUSPECTS, RunDirectory, alone
from training.trainer import check_arguments

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Unit = tuple[int, int, int, Floats]
"""Place of a document, start, end, probabilities."""


@dataclass(frozen=True)
class Units:
    """The tokens, sentences or documents of one layer, with a probability for each tag or label."""

    owners: Ints
    """Which document each belongs to, by its place. Shape: (units,)."""
    bounds: Ints
    """Half-open character offsets. Shape: (units, 2)."""
    likely: Floats
    """Rows add up to one. Shape: (units, classes); of tokens, the tags of `inference.tags`."""

    @classmethod
    def of(cls, found: Sequence[Unit], classes: int) -> Units:
        """From single units."""
        return cls(
            np.array([unit[0] for unit in found], dtype=np.int64),
            np.array([unit[1:3] for unit in found], dtype=np.int64).reshape(-1, 2),
            np.array([unit[3] for unit in found], dtype=np.float64).reshape(-1, classes),
        )

    @property
    def by_document(self) -> dict[int, Ints]:
        """Place of a document to the rows of its units, in text order; a document without any is absent."""
        order = np.argsort(self.owners, kind="stable")
        places, first = np.unique(self.owners[order], return_index=True)
        return dict(zip(places.tolist(), np.split(order, first[1:]), strict=True)) if len(places) else {}


@dataclass(frozen=True)
class Outlook:
    """Some documents, and what taggers that never saw them think of each layer."""

    documents: Sequence[Document]
    """With their own labels."""
    layers: dict[str, Units]
    """Layer name to its units; owners are places in `documents`."""
    whole_words: Sequence[bool]
    """For each document, whether its tagger keeps spans to whole words."""


def out_of_fold(
    config: RunConfig, settings: CrossvalConfig, documents: Sequence[Document], say: Callable[[str], None]
) -> Outlook:
    """Every document as seen by taggers trained on the other folds; probabilities are the mean over the seeds.

    Every fold is kept in `output` as soon as it is done, so an interrupted call goes on where it was.

    Raises:
        ConfigError: `output` holds folds of another config, data or encoder or another kind of work, or another process is
            at work there.
        DocumentError: the documents cannot be learned from, or there are too few groups; nothing is written then.
    """
    dealing = warned_folds(config, settings.folds, documents, say)
    config = resolved(config)
    check_arguments(config, config.output)
    with alone(config.output, SUSPECTS, "--output"):
        RunDirectory(config.output).claim(config, documents, SUSPECTS)
        rounds = []
        for seed in settings.seeds:
            home = scheme(config.output / PROBABILITIES, settings.folds) / f"seed-{seed}"
            rounds.append(_joined([_kept(config, seed, fold, home, say) for fold in dealing]))
    return _mean(rounds)


def _kept(config: RunConfig, seed: int, fold: Fold, home: Path, say: Callable[[str], None]) -> Outlook:
    """The fold's held-out documents: from disk, or trained for and kept there."""
    path = home / f"{safe_name(fold.name)}.npz"
    if not path.exists():
        say(f"seed {seed}: training without {fold.name}")
        save(path, outlook(fold_tagger(config, seed, fold), fold.test))
    return load(path, fold.test, list(config.tagger.label_schema.layers))


def outlook(tagger: Tagger, documents: Sequence[Document]) -> Outlook:
    """What one tagger thinks of each document's annotated layers, from the logits that its labels are decoded from."""
    found: dict[str, list[Unit]] = {name: [] for name in tagger.schema.layers}
    first = 0
    for some in portions(documents):
        for name, unit in _units(tagger, some):
            found[name].append((first + unit[0], *unit[1:]))
        first += len(some)
    layers = {name: Units.of(units, _classes(tagger, name)) for name, units in found.items()}
    return Outlook(documents, layers, [bool(tagger.config.whole_words)] * len(documents))


def _classes(tagger: Tagger, name: str) -> int:
    layer = tagger.schema.layers[name]
    return 1 + 2 * len(layer.names) if layer.kind is Kind.SPANS else len(layer.names)


def _units(tagger: Tagger, documents: Sequence[Document]) -> Iterator[tuple[str, Unit]]:
    windows, answers = tagger.read(bare(documents))
    for name, layer in tagger.schema.layers.items():
        asked = [name in document.labels for document in documents]
        if layer.kind is Kind.SPANS:
            for owners, logits, offsets in token_logits(name, windows, answers):
                likely = _softmax(logits.numpy())
                for owner in (owner for owner in owners if asked[owner]):
                    for (start, end), row in zip(offsets, likely, strict=True):
                        yield name, (owner, start, end, row)
        elif layer.kind is Kind.SENTENCES:
            bounds = [sentences(document.text) if own else () for document, own in zip(documents, asked, strict=True)]
            for place, sentence, row in sentence_logits(name, answers):
                if asked[place]:
                    yield name, (place, *bounds[place][sentence], _softmax(row))
        else:
            for place, row in document_logits(name, len(documents), answers):
                if asked[place]:
                    yield name, (place, 0, len(documents[place].text), _softmax(row))


def _softmax(logits: npt.NDArray[np.floating]) -> Floats:
    """Shape: (…, classes) to the same."""
    return torch.softmax(torch.from_numpy(logits).double(), dim=-1).numpy()


def save(path: Path, found: Outlook) -> None:
    """Write it whole or not at all; of the documents, only their ids."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "ids": np.array([document.id for document in found.documents]),
        "whole_words": np.array(found.whole_words),
    }
    for name, units in found.layers.items():
        arrays[f"{name}.owners"], arrays[f"{name}.bounds"] = units.owners, units.bounds
        arrays[f"{name}.likely"] = units.likely.astype(np.float32)
    with replacing_file(path) as part, part.open("wb") as out:
        np.savez_compressed(out, **arrays)  # type: ignore[arg-type]


def load(path: Path, documents: Sequence[Document], layers: Sequence[str]) -> Outlook:
    """What `save` wrote of these documents.

    Raises:
        ConfigError: it is of other documents.
    """
    with np.load(path) as arrays:
        if arrays["ids"].tolist() != [document.id for document in documents]:
            raise ConfigError(path, "holds other documents than its fold; choose --output, or remove it")
        found = {
            name: Units(arrays[f"{name}.owners"], arrays[f"{name}.bounds"], arrays[f"{name}.likely"].astype(np.float64))
            for name in layers
        }
        return Outlook(documents, found, arrays["whole_words"].tolist())


def _joined(parts: Sequence[Outlook]) -> Outlook:
    """Folds side by side."""
    firsts = np.cumsum([0, *(len(part.documents) for part in parts)])
    layers = {
        name: Units(
            np.concatenate([part.layers[name].owners + first for part, first in zip(parts, firsts, strict=False)]),
            np.concatenate([part.layers[name].bounds for part in parts]),
            np.concatenate([part.layers[name].likely for part in parts]),
        )
        for name in parts[0].layers
    }
    documents = [document for part in parts for document in part.documents]
    return Outlook(documents, layers, [whole for part in parts for whole in part.whole_words])


def _mean(rounds: Sequence[Outlook]) -> Outlook:
    """The same documents and units, as several seeds see them."""
    layers = {
        name: replace(units, likely=np.mean([one.layers[name].likely for one in rounds], axis=0))
        for name, units in rounds[0].layers.items()
    }
    return replace(rounds[0], layers=layers)
