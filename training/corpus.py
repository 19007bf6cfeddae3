"""Plain text for pretraining: documents without repetition, a tokenizer, a stream of tokens, masked batches.

It knows files and token ids, not the network that learns from them.
"""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from annotations.errors import ConfigError
from training.pretrain_config import Corpus, PretrainConfig, Shape

Tokens = npt.NDArray[np.uint16]

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


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


def token_stream(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> Tokens:
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

    stream: Tokens
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


def prepare(config: PretrainConfig) -> tuple[PreTrainedTokenizerFast, Tokens]:
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
