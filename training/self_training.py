"""Self-training: taggers of several seeds label further texts, and one more tagger learns from those as well.

It knows texts and taggers. How one tagger is trained is the business of `training.trainer`.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from annotations.document import Document
from annotations.errors import ConfigError
from annotations.schema import Kind, Schema
from inference.batches import Batch
from inference.engines.engine import Encode, Engine
from inference.model import Logits, StandpointModel
from inference.tagger import Tagger
from training.config import RunConfig
from training.recipe import resolved
from training.safeguards import saved_apart
from training.sharding import launched
from training.trainer import fine_tune
from training.unlabelled import further_texts

APART = 1000
"""Between the seeds of two teachers, so that runs with neighbouring seeds share none."""


class Ensemble(Engine):
    """Several networks read as one: the mean of their probabilities for tokens and sentences, all their votes for documents."""

    def __init__(self, models: Sequence[StandpointModel]) -> None:
        super().__init__(models[0], name="ensemble")
        self._members = [Engine(model) for model in models]

    def read(self, batch: Batch, encode: Encode | None = None) -> Logits:
        """Logarithms of mean probabilities, shaped as `Logits` says; a document's vote is the members' weighted mean."""
        answers = [member.read(batch) for member in self._members]
        votes, weights = _stacked(one.votes for one in answers), _stacked(one.weights for one in answers)
        return Logits(
            tokens=_mean(one.tokens for one in answers),
            sentences=_mean(one.sentences for one in answers),
            votes={
                name: (own * weights[name].unsqueeze(-1)).sum(0) / weights[name].sum(0).unsqueeze(-1)
                for name, own in votes.items()
            },
            weights={name: own.mean(0) for name, own in weights.items()},
        )


def _stacked(groups: Iterable[dict[str, Tensor] | None]) -> dict[str, Tensor]:
    """The members' tensors of each layer, one above the other."""
    found = [group or {} for group in groups]
    return {name: torch.stack([group[name] for group in found]) for name in found[0]}


def _mean(groups: Iterable[dict[str, Tensor] | None]) -> dict[str, Tensor]:
    """The logarithms of mean probabilities, from logits."""
    return {name: log_softmax(own, -1).logsumexp(0) - math.log(len(own)) for name, own in _stacked(groups).items()}


def learn(config: RunConfig, documents: Sequence[Document], folder: Path, *, events: Path | None = None) -> Tagger:
    """What `fine_tune` makes of documents; with `self_training`, of further texts as well (Xie et al., 2020, Noisy Student).

    The teachers' mean probabilities label the further texts, which then stand beside the documents as if they were annotated;
    the noise of the last training is its dropout and hidden tokens. An interrupted run in the same folder goes on.

    Raises:
        ConfigError: several processes train together.
        DocumentError: a file of further texts cannot be read.
    """
    settings = config.self_training
    if settings is None:
        return fine_tune(config, documents, folder, events=events)
    config = resolved(config)
    known = {document.text for document in documents}
    texts = [document for document in further_texts(config) if document.text not in known]
    teachers = [_teacher(config, documents, folder, number) for number in range(settings.teachers)]
    first = teachers[0]
    together = Tagger(
        first.engine.model, first.tokenizer, first.config, Ensemble([one.engine.model for one in teachers])
    )
    labelled = _alike(together.tag(texts), config.tagger.label_schema)
    assert config.epochs is not None
    epochs = config.epochs * settings.steps * _length(documents) / _length([*documents, *labelled])
    student = config.model_copy(update={"epochs": epochs})
    return fine_tune(student, [*documents, *labelled], folder / "student", events=events)


def _length(documents: Sequence[Document]) -> int:
    """Characters in the windows of a pass: documents of a group with the same text share theirs, whatever their targets."""
    return sum(len(text) for _, text in {(document.fold, document.text) for document in documents})


def _alike(documents: Iterable[Document], schema: Schema) -> list[Document]:
    """The documents, with the spans of the first one of a text in all that share it.

    Against another target a text may be tagged in another batch, where a sum that is rounded otherwise decides a near tie.
    """
    first: dict[str, Document] = {}
    found = []
    for document in documents:
        marked = first.setdefault(document.text, document).only(schema.of_kind(Kind.SPANS)).labels
        found.append(document.with_labels({**document.labels, **marked}))
    return found


def _teacher(config: RunConfig, documents: Sequence[Document], folder: Path, number: int) -> Tagger:
    """One of the taggers that vote, from its folder where it is finished."""
    own = folder / f"teacher-{number + 1}"
    done = own / "checkpoint"
    if not done.is_dir():
        tagger = fine_tune(config.model_copy(update={"seed": config.seed + APART * number}), documents, own / "trainer")
        saved_apart(own, tagger).rename(done)
        shutil.rmtree(own / "trainer")
    return Tagger.load(done, engine="torch")


def check_self_training(config: RunConfig) -> None:
    """Raise ConfigError where several processes are to train a run with teachers: one trains them one after the other."""
    if config.self_training is not None and launched() > 1:
        raise ConfigError("self_training", "is done by one process; start the run without torchrun or accelerate")
