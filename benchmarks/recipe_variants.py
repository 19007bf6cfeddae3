"""Ways to fine-tune that the recipe could take up: each is the product's own training with one thing changed.

It knows documents, networks and losses. What a change is worth is measured by `recipe_choices`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from encoder_runs import Learn
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax
from transformers import TrainerCallback

from annotations.document import Document, Span
from annotations.storage import write_jsonl
from inference import decoding
from inference.checkpoint import encoder_config
from inference.decoding import Answer
from inference.tagger import Tagger
from inference.windows import Window
from training import self_training, trainer
from training.config import RunConfig, SelfTrainingConfig
from training.data import IGNORED
from training.reports.evaluation import bare
from training.trainer import LayerTrainer, fine_tune

COPIES = 4
"""How many changed copies of a document stand beside it; the passes are as many fewer."""
SHARE = 0.5
"""Of the mentions in a copy, how many are replaced."""
PASSES_SHARED = 5
"""How many times fewer passes there are over labelled and unlabelled texts together."""


def changed(change: Callable[[RunConfig], RunConfig]) -> Learn:
    """The product's training with another config."""
    return lambda config, documents, folder: self_training.learn(change(config), documents, folder)


def with_settings(**values: Any) -> Learn:
    """The product's training with other settings."""
    return changed(lambda config: config.model_copy(update=values))


def optimizer(**factors: float) -> Learn:
    """The product's training with rates so many times as high."""

    def change(config: RunConfig) -> RunConfig:
        rates = {name: getattr(config.optimizer, name) * factor for name, factor in factors.items()}
        return config.model_copy(update={"optimizer": config.optimizer.model_copy(update=rates)})

    return changed(change)


def slower_below(factor: float, share_of_passes: float = 1, **values: Any) -> Learn:
    """The product's training with each layer at so many times the rate of the one above (Howard and Ruder, 2018), with a share
    of the passes, and with other settings."""

    def change(config: RunConfig) -> RunConfig:
        decayed = config.optimizer.model_copy(update={"layer_decay": factor})
        return with_passes(config, share_of_passes).model_copy(update={"optimizer": decayed, **values})

    return changed(change)


def frozen(share: float, rate: float) -> Learn:
    """The product's training with that share of the layers, the lowest, frozen, and the rate so many times as high."""

    def change(config: RunConfig) -> RunConfig:
        assert config.optimizer.lr is not None
        rates = config.optimizer.model_copy(update={"lr": config.optimizer.lr * rate, "layer_decay": 0.8})
        layers = round(share * encoder_config(config.encoder).num_hidden_layers)
        return config.model_copy(update={"optimizer": rates, "token_masking": 0.15, "frozen_layers": layers})

    return changed(change)


def passes(factor: float) -> Learn:
    """The product's training with so many times the passes."""
    return changed(lambda config: with_passes(config, factor))


def with_passes(config: RunConfig, factor: float) -> RunConfig:
    """A resolved config with so many times the passes."""
    assert config.epochs is not None
    return config.model_copy(update={"epochs": config.epochs * factor})


def balanced(power: float) -> Learn:
    """The product's training with another power of the inverse class frequency."""

    def change(config: RunConfig) -> RunConfig:
        objective = config.objective.model_copy(update={"class_weights": power})
        return config.model_copy(update={"objective": objective})

    return changed(change)


def any_edges(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
    """Spans may begin and end inside words."""
    return fine_tune(_with_tagger(config, whole_words=False), documents, folder)


def without_overlap(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
    """Windows side by side while training, so that every token read is learned from; overlapping ones when tagging."""
    window = config.tagger.window.model_copy(update={"context": 0})
    tagger = fine_tune(_with_tagger(config, window=window), documents, folder)
    served = tagger.config.model_copy(update={"window": config.tagger.window})
    return Tagger(tagger.engine.model, tagger.tokenizer, served)


def sentences_alone(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
    """No text around a window, neither while training nor when tagging; windows as long as a sentence or two."""
    window = config.tagger.window.model_copy(update={"context": 0, "tokens": 64})
    return fine_tune(_with_tagger(config, window=window), documents, folder)


def _with_tagger(config: RunConfig, **values: Any) -> RunConfig:
    return config.model_copy(update={"tagger": config.tagger.model_copy(update=values)})


# Changed copies of the documents.

Change = Callable[[Document, str, dict[str, list[str]], random.Random], Document]


def copied(change: Change) -> Learn:
    """COPIES changed copies beside every document, and as many passes fewer."""

    def learn(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
        (layer,) = config.tagger.label_schema.layers
        mentions: dict[str, list[str]] = {}
        for one in documents:
            for span in one.spans(layer):
                mentions.setdefault(span.label, []).append(one.text[span.start : span.end])
        draw = random.Random(config.seed)
        copies = {
            found.text: found.model_copy(update={"id": f"{one.id}/{number}"})
            for number in range(COPIES)
            for one in documents
            if (found := change(one, layer, mentions, draw)).text != one.text
        }
        share = len(documents) / (len(documents) + len(copies))
        return fine_tune(with_passes(config, share), [*documents, *copies.values()], folder)

    return learn


def with_other_mentions(
    document: Document, layer: str, mentions: dict[str, list[str]], draw: random.Random
) -> Document:
    """A share of the mentions replaced by others of their label (Dai and Adel, 2020)."""
    parts: list[str] = []
    spans: list[Span] = []
    reached = length = 0
    for span in document.spans(layer):
        name = document.text[span.start : span.end]
        if draw.random() < SHARE:
            name = draw.choice(mentions[span.label])
        parts += [document.text[reached : span.start], name]
        start = length + span.start - reached
        length = start + len(name)
        spans.append(Span(start=start, end=length, label=span.label))
        reached = span.end
    text = "".join([*parts, document.text[reached:]])
    return Document(id=document.id, text=text, labels={layer: tuple(spans)})


def in_other_case(document: Document, layer: str, mentions: dict[str, list[str]], draw: random.Random) -> Document:
    """All letters small or all capital, where that keeps every offset."""
    text = draw.choice([str.lower, str.upper])(document.text)
    return document.model_copy(update={"text": text}) if len(text) == len(document.text) else document


# Other losses, rates and weights.


def trained_by(kind: type[LayerTrainer], trained: Learn = fine_tune) -> Learn:
    """The product's training, or a changed one, with another Trainer."""

    def learn(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
        with patch.object(trainer, "LayerTrainer", kind):
            return trained(config, documents, folder)

    return learn


class Averaged(LayerTrainer):
    """Ends with the exponential average of the weights on the way (Polyak averaging)."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.add_callback(_Average(0.99))


class _Average(TrainerCallback):
    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.mean: list[Tensor] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
        self.mean = [weight.detach().clone() for weight in model.parameters()]

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
        kept = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for mean, weight in zip(self.mean, model.parameters(), strict=True):
            mean.lerp_(weight.detach(), 1 - kept)

    @torch.no_grad()
    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
        for mean, weight in zip(self.mean, model.parameters(), strict=True):
            weight.copy_(mean)


class TwiceDropped(LayerTrainer):
    """Every batch twice with other dropout, and a loss on how far the answers about sentences differ (R-Drop, Liang et al.,
    2021)."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **rest: Any) -> Any:
        """The mean of both losses and the symmetric divergence."""
        first, one = super().compute_loss(model, dict(inputs), return_outputs=True)
        second, other = super().compute_loss(model, dict(inputs), return_outputs=True)
        apart = first.new_zeros(())
        for name in one.sentences:
            a, b = (log_softmax(answer.sentences[name].float(), dim=-1) for answer in (one, other))
            apart = apart + kl_div(a, b, reduction="batchmean", log_target=True)
            apart = apart + kl_div(b, a, reduction="batchmean", log_target=True)
        loss = (first + second) / 2 + apart / 2
        return (loss, one) if return_outputs else loss


# A conditional random field over the tags.


class Chained(LayerTrainer):
    """Scores of neighbouring tags are learned as well, with the likelihood of the whole sequence (Lafferty et al., 2001)."""

    def __init__(self, *, model: Any, objective: Any, **given: Any) -> None:
        (layer,) = objective.schema.layers.values()
        size = 1 + 2 * len(layer.names)
        model.transitions = nn.Parameter(torch.zeros(size, size))
        super().__init__(model=model, objective=partial(chain_loss, transitions=model.transitions), **given)


def chain_loss(logits: Any, gold: dict[str, Tensor], owners: Tensor, *, transitions: Tensor) -> Tensor:
    """Negative log-likelihood a token of the gold tags; positions without gold are stepped over."""
    ((name, labels),) = gold.items()
    scores = logits.tokens[name].float()
    known = labels != IGNORED
    tags = labels.clamp(min=0)
    lines = torch.arange(len(tags))
    paths, right = torch.zeros_like(scores[:, 0]), scores.new_zeros(len(tags))
    before, begun = torch.zeros_like(tags[:, 0]), torch.zeros_like(known[:, 0])
    for place in range(tags.shape[1]):
        own, tag = scores[:, place], tags[:, place]
        moved = torch.logsumexp(paths.unsqueeze(2) + transitions, dim=1)
        stepped = torch.where(begun.unsqueeze(1), moved, torch.zeros_like(moved)) + own
        gained = own[lines, tag] + torch.where(begun, transitions[before, tag], right.new_zeros(()))
        here = known[:, place]
        paths = torch.where(here.unsqueeze(1), stepped, paths)
        right = right + torch.where(here, gained, right.new_zeros(()))
        before, begun = torch.where(here, tag, before), begun | here
    return ((torch.logsumexp(paths, dim=1) - right) * begun).sum() / known.sum().clamp(min=1)


class ChainTagger(Tagger):
    """Seeks the best path with learned transitions."""

    def decode(
        self, documents: Sequence[Document], windows: Sequence[Window], answers: Sequence[Answer]
    ) -> list[Document]:
        """As the plain tagger, with another search."""
        moves = self.engine.model.transitions.detach().numpy().astype(np.float64)
        with patch.object(decoding, "best_tags", partial(best_chain, moves=moves)):
            return super().decode(documents, windows, answers)


def best_chain(scores: Any, joined: Any = None, *, moves: Any) -> Any:
    """The best allowed sequence with scores of neighbours. Shape: (tokens, tags) and (tags, tags) to (tokens,)."""
    width = scores.shape[1]
    tags = np.arange(width)
    inside = (tags > 0) & (tags % 2 == 0)
    follows = ~inside[None, :] | (tags[:, None] == tags) | (tags[:, None] == tags - 1)
    together = np.where((tags == 0)[None, :], (tags == 0)[:, None], inside[None, :] & follows)
    back = np.zeros(scores.shape, dtype=np.int64)
    best = np.where(inside, -np.inf, scores[0]) if len(scores) else np.zeros(width)
    for step in range(1, len(scores)):
        allowed = together if joined is not None and joined[step] else follows
        whole = best[:, None] + np.where(allowed, moves, -np.inf)
        back[step] = whole.argmax(0)
        best = whole.max(0) + scores[step]
    found = np.zeros(len(scores), dtype=np.int64)
    tag = int(best.argmax())
    for step in range(len(scores) - 1, -1, -1):
        found[step] = tag
        tag = int(back[step, tag])
    return found


def chained(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
    """A CRF over the tags of spans."""
    tagger = trained_by(Chained)(config, documents, folder)
    return ChainTagger(deepcopy(tagger.engine.model), tagger.tokenizer, tagger.config)


# Texts without labels. They stand beside the labelled ones, and there are fewer passes.

TEACHERS = 3


def voted(unlabelled: Sequence[Document]) -> Learn:
    """The product's self-training: three taggers vote on the labels of further texts; on top of the recipe that ships."""

    def learn(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
        write_jsonl(folder / "further.jsonl", unlabelled)
        taught = SelfTrainingConfig(texts=(folder / "further.jsonl",), teachers=TEACHERS)
        change = slower_below(0.8, token_masking=0.15, self_training=taught)
        return change(config, documents, folder / "run")

    return learn


def self_trained(unlabelled: Sequence[Document]) -> Learn:
    """Once more, on the tagger's own labels of further texts as well (self-training, Yarowsky, 1995)."""

    def learn(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
        teacher = fine_tune(config, documents, folder / "teacher")
        return fine_tune(
            with_passes(config, 1 / PASSES_SHARED), [*documents, *teacher.tag(bare(unlabelled))], folder / "student"
        )

    return learn


def distilled(unlabelled: Sequence[Document]) -> Learn:
    """Taught by the mean of several taggers' probabilities, on the same texts and further ones (Hinton et al., 2015)."""

    def learn(config: RunConfig, documents: Sequence[Document], folder: Path) -> Tagger:
        teachers = [
            fine_tune(config.model_copy(update={"seed": config.seed + 100 * number}), documents, folder / str(number))
            for number in range(TEACHERS)
        ]
        student = type("Student", (_Taught,), {"teachers": [teacher.engine.model for teacher in teachers]})
        some = [*documents, *bare(unlabelled)]
        return trained_by(student)(with_passes(config, 1 / PASSES_SHARED), some, folder / "student")

    return learn


class _Taught(LayerTrainer):
    """Learns its teachers' probabilities of tags instead of gold."""

    teachers: Sequence[nn.Module] = ()

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **rest: Any) -> Any:
        """Cross-entropy with the teachers' mean at every token that is not padding."""
        inputs = {name: value for name, value in inputs.items() if name not in ("gold", "owners")}
        with torch.no_grad():
            answers = [teacher(**inputs).tokens for teacher in self.teachers]
        answer = model(**inputs)
        ((name, scores),) = answer.tokens.items()
        wanted = torch.stack([one[name].float().softmax(-1) for one in answers]).mean(0)
        real = inputs["attention_mask"].bool()
        loss = -(wanted * log_softmax(scores.float(), dim=-1)).sum(-1)[real].mean()
        return (loss, answer) if return_outputs else loss
