"""Masked-LM pretraining of a small encoder from plain text, within a budget of minutes.

It knows text files, a tokenizer and masked tokens (Devlin et al. 2019, with the masking ratio schedule of Wettig et
al. 2023). It knows nothing about layers, labels or documents.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import ModernBertConfig, ModernBertForMaskedLM, PreTrainedTokenizerFast

from annotations.config import Config
from annotations.errors import ConfigError
from inference.checkpoint import save

CHECKPOINT = "checkpoint.pt"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Corpus(Config):
    """One text file: a paragraph a line, a blank line between documents; `.xz` is unpacked on the fly."""

    path: Path
    """The file."""
    passes: int = Field(default=1, ge=1)
    """How often its documents enter the training stream."""
    words: int | None = Field(default=None, ge=1)
    """Keep about this many words of it, documents drawn at random; all of them when unset."""


class Shape(Config):
    """The encoder's shape: ModernBERT's layout (Warner et al. 2024) with global attention in every layer."""

    vocabulary: int = Field(default=12_288, ge=300)
    """Byte-level pieces, special tokens included."""
    layers: int = Field(default=6, ge=1)
    """Transformer layers."""
    width: int = Field(default=256, ge=8)
    """Hidden size."""
    intermediate: int = Field(default=512, ge=8)
    """Size of the gated feed-forward layer."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    positions: int = Field(default=512, ge=8)
    """Longest input in tokens."""


class PretrainConfig(Config):
    """Everything `standpoint pretrain` needs."""

    corpora: tuple[Corpus, ...] = Field(min_length=1)
    """The text to learn from."""
    output: Path
    """Folder for the finished encoder, its tokenizer and the log."""
    shape: Shape = Shape()
    """The encoder to make."""
    minutes: float = Field(default=45, gt=0)
    """Training budget; the learning rate reaches zero at the deadline."""
    lengths: tuple[tuple[float, int], ...] = ((0.0, 128), (0.85, 256))
    """Sequence length in tokens from each fraction of the budget on."""
    batch_tokens: int = Field(default=6144, ge=64)
    """Tokens a step."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Peak learning rate of AdamW."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Fraction of the budget over which the rate rises."""
    decay_from: float = Field(default=0.6, gt=0, le=1)
    """Fraction of the budget from which the rate falls linearly to zero."""
    masking: tuple[float, float] = (0.30, 0.15)
    """Share of masked tokens at the start and at the end."""
    compile: bool = True
    """Compile the encoder with torch.compile: about 1.3 times faster on CPU, needs a C++ compiler."""
    seed: int = 0
    """Seeds sampling, masking and initial weights."""


def documents(corpus: Corpus, seed: int) -> Iterator[list[str]]:
    """The documents of a file as lists of paragraphs, sampled down to `corpus.words` and without repeated paragraphs."""
    rng = np.random.default_rng(seed)
    opener = lzma.open if corpus.path.suffix == ".xz" else open
    try:
        with opener(corpus.path, "rt", encoding="utf-8") as lines:
            everything = "".join(lines).split("\n\n")
    except OSError as error:
        raise ConfigError(corpus.path, f"the corpus cannot be read ({error}); check `corpora`") from error
    seen: set[bytes] = set()
    words = 0
    for index in rng.permutation(len(everything)):
        if corpus.words and words >= corpus.words:
            return
        paragraphs = [line for line in everything[index].splitlines() if line.strip() and _first_sight(line, seen)]
        words += sum(len(paragraph.split()) for paragraph in paragraphs)
        if paragraphs:
            yield paragraphs


def _first_sight(paragraph: str, seen: set[bytes]) -> bool:
    """Near-duplicates differ in digits, case or punctuation only, as yearly reports do."""
    digest = hashlib.blake2b(re.sub(r"[\W\d]+", " ", paragraph).casefold().encode(), digest_size=8).digest()
    if digest in seen:
        return False
    seen.add(digest)
    return True


def train_tokenizer(texts: Iterator[str], shape: Shape) -> PreTrainedTokenizerFast:
    """A cased byte-level BPE tokenizer: no unknown characters, offsets that leave out the leading space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    template = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=template
            ),
        ]
    )
    names = dict(zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=shape.positions, **names)


def token_stream(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """All documents as one row of token ids, each closed by [SEP]. Shape: (tokens,), uint16."""
    rng = np.random.default_rng(config.seed)
    texts = []
    for corpus in config.corpora:
        own = [(" " if rng.random() < 0.5 else "\n").join(paragraphs) for paragraphs in documents(corpus, config.seed)]
        texts += own * corpus.passes
    rng.shuffle(texts)
    parts = []
    for start in range(0, len(texts), 1000):
        rows = tokenizer(texts[start : start + 1000], add_special_tokens=False, verbose=False)["input_ids"]
        parts += [np.asarray([*row, tokenizer.sep_token_id], dtype=np.uint16) for row in rows]
    return np.concatenate(parts)


@dataclass
class Batches:
    """Endless shuffled batches cut from the token stream; the order is a function of the seed and the step."""

    stream: np.ndarray
    tokens: int
    cls: int
    rng: np.random.Generator
    starts: dict[int, list[int]] = field(default_factory=dict)

    def next(self, length: int) -> Tensor:
        """Shape: (tokens // length, length), int64; every row begins with [CLS]."""
        rows = []
        for _ in range(self.tokens // length):
            if not self.starts.get(length):
                offset = int(self.rng.integers(length))
                last = max(offset + 1, len(self.stream) - length)
                self.starts[length] = list(self.rng.permutation(np.arange(offset, last, length - 1)))
            start = self.starts[length].pop()
            rows.append(np.concatenate([[self.cls], self.stream[start : start + length - 1].astype(np.int64)]))
        return torch.from_numpy(np.stack(rows))


def mask_tokens(ids: Tensor, share: float, vocabulary: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide tokens: 80% become [MASK], 10% a random piece, 10% stay. Returns the masked ids and where to predict.

    Shape: ids (batch, length); both results the same shape, int64 and bool.
    """
    chance = torch.rand(ids.shape, generator=generator)
    chosen = (chance < share) & (ids >= len(SPECIAL))
    kind = torch.rand(ids.shape, generator=generator)
    noise = torch.randint(len(SPECIAL), vocabulary, ids.shape, generator=generator)
    masked = torch.where(chosen & (kind < 0.8), torch.tensor(SPECIAL.index("[MASK]")), ids)
    masked = torch.where(chosen & (kind >= 0.9), noise, masked)
    return masked, chosen


def rate_at(config: PretrainConfig, done: float) -> float:
    """The learning rate at a fraction of the budget: warm up, stay, decay to zero."""
    rise = min(1.0, done / config.warmup) if config.warmup else 1.0
    fall = (1 - done) / (1 - config.decay_from) if config.decay_from < 1 else 1.0
    return config.learning_rate * min(rise, max(0.0, min(1.0, fall)))


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> ModernBertForMaskedLM:
    """A ModernBERT with random weights in the given shape."""
    return ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=shape.positions,
            layer_types=["full_attention"] * shape.layers,
            pad_token_id=tokenizer.pad_token_id,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
        )
    )


def masked_loss(model: ModernBertForMaskedLM, ids: Tensor, chosen: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy in nats on the masked tokens only: the output layer is the dearest part of a small model."""
    hidden = model.model(input_ids=ids).last_hidden_state[chosen]
    return cross_entropy(model.decoder(model.head(hidden)).float(), truth[chosen])


@dataclass
class Progress:
    """Where a run stands; kept in its checkpoints."""

    spent: float = 0.0
    """Seconds of training so far."""
    step: int = 0
    seen: int = 0
    """Tokens."""


def pretrain(config: PretrainConfig, say: Callable[[str], None]) -> Path:
    """Train tokenizer and encoder, resume from the last checkpoint if there is one, return the encoder's folder."""
    config.output.mkdir(parents=True, exist_ok=True)
    tokenizer, stream = _prepare(config)
    torch.manual_seed(config.seed)
    model = new_model(config.shape, tokenizer)
    optimizer = torch.optim.AdamW(_groups(model), lr=config.learning_rate, betas=(0.9, 0.98), eps=1e-6)
    progress = _resume(config.output / CHECKPOINT, model, optimizer)
    batches = Batches(stream, config.batch_tokens, tokenizer.cls_token_id, _rng(config, progress))
    if config.compile:
        model.model.forward = torch.compile(model.model.forward, dynamic=False)
    _train(config, model, optimizer, batches, progress, say)
    export_encoder(model, tokenizer, config.output / "encoder")
    return config.output / "encoder"


def _rng(config: PretrainConfig, progress: Progress) -> np.random.Generator:
    return np.random.default_rng([config.seed, progress.step])


def _train(
    config: PretrainConfig,
    model: ModernBertForMaskedLM,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Steps until the budget is spent, with a line in the log every 50 and a checkpoint every two minutes."""
    generator = torch.Generator().manual_seed(config.seed + progress.step)
    began = saved = time.monotonic()
    before, budget = progress.spent, config.minutes * 60
    losses: list[float] = []
    while progress.spent < budget:
        done = progress.spent / budget
        for group in optimizer.param_groups:
            group["lr"] = rate_at(config, done)
        losses.append(_step(model, optimizer, batches, config, done, generator))
        progress.step, progress.seen = progress.step + 1, progress.seen + config.batch_tokens
        progress.spent = before + time.monotonic() - began
        if progress.step % 50 == 0:
            say(_log(config, progress, losses, config.batch_tokens * len(losses) / (progress.spent - before)))
        if time.monotonic() - saved > 120:
            _save(config.output / CHECKPOINT, model, optimizer, progress)
            saved = time.monotonic()


def _log(config: PretrainConfig, progress: Progress, losses: list[float], speed: float) -> str:
    loss = float(np.mean(losses[-50:]))
    with (config.output / "log.tsv").open("a") as log:
        print(progress.step, progress.seen, round(progress.spent), round(loss, 4), sep="\t", file=log)
    left = config.minutes - progress.spent / 60
    tokens = f"{progress.seen / 1e6:.1f} M tokens"
    return f"step {progress.step}  {tokens}  loss {loss:.3f}  {speed:,.0f} tokens/s  {left:.0f} min left"


def export_encoder(model: ModernBertForMaskedLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the encoder alone, without the masked-LM head, as fp16 safetensors with its tokenizer."""
    save(folder, model.model.half(), tokenizer)


def _prepare(config: PretrainConfig) -> tuple[PreTrainedTokenizerFast, np.ndarray]:
    """Tokenizer and token stream, reused when an interrupted run left them."""
    folder, cache = config.output / "tokenizer", config.output / "tokens.npy"
    if cache.exists():
        return PreTrainedTokenizerFast.from_pretrained(folder), np.load(cache)
    texts = (line for corpus in config.corpora for document in documents(corpus, config.seed) for line in document)
    tokenizer = train_tokenizer(texts, config.shape)
    tokenizer.save_pretrained(folder)
    stream = token_stream(config, tokenizer)
    np.save(cache.with_suffix(".part.npy"), stream)
    cache.with_suffix(".part.npy").replace(cache)
    return tokenizer, stream


def _groups(model: ModernBertForMaskedLM) -> list[dict[str, Any]]:
    """Weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]


def _step(
    model: ModernBertForMaskedLM,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    config: PretrainConfig,
    done: float,
    generator: torch.Generator,
) -> float:
    length = [length for start, length in config.lengths if start <= done][-1]
    first, last = config.masking
    truth = batches.next(length)
    ids, chosen = mask_tokens(truth, first + (last - first) * done, model.config.vocab_size, generator)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = masked_loss(model, ids, chosen, truth)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    part = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": asdict(progress)}, part)
    part.replace(path)


def _resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    if not path.exists():
        return Progress()
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
