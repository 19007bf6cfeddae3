"""Texts as one row of token ids, and sequences cut from it in an order that depends on the seed and the count alone.

It knows files and token ids, not the network that learns from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from annotations.errors import ConfigError

Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

TEXTS = 1000


def tokenized(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> Iterator[Tokens]:
    """The token ids of each text, closed by the separator. Shape: (tokens,) each."""
    stream, kind = iter(texts), dtype(tokenizer)
    while some := list(islice(stream, TEXTS)):
        for row in tokenizer(some, add_special_tokens=False, verbose=False)["input_ids"]:
            yield np.asarray([*row, tokenizer.sep_token_id], dtype=kind)


def dtype(tokenizer: PreTrainedTokenizerBase) -> type[np.unsignedinteger]:
    """The smallest type that holds every id."""
    return np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32


def read_tokens(path: Path, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    """The ids in a flat file of them. Shape: (tokens,)."""
    found: Tokens = np.fromfile(path, dtype=dtype(tokenizer))
    return found


@dataclass(frozen=True)
class Sequences:
    """Sequences of a fixed length from a stream of tokens, each pass in a new order and from a new offset.

    What a sequence holds is a function of the seed, the length and its number, so that a resumed run reads on where it
    stopped, and several processes can share the numbers out.
    """

    stream: Tensor
    """Shape: (tokens,), on the device that trains."""
    cls: int
    """Id that every sequence begins with."""
    seed: int
    """Of the orders and offsets."""

    def take(self, length: int, numbers: range) -> Tensor:
        """Sequences by their numbers. Shape: (len(numbers), length), int64."""
        size = length - 1
        a_pass = (len(self.stream) - size) // size
        if a_pass < 1:
            raise ConfigError("corpora", f"hold {len(self.stream)} tokens, too few for sequences of {length}")
        turns, places = np.divmod(np.arange(numbers.start, numbers.stop), a_pass)
        starts = [_starts(self.seed, size, int(turn), a_pass)[places[turns == turn]] for turn in np.unique(turns)]
        first = torch.from_numpy(np.concatenate(starts)).to(self.stream.device)
        rows = self.stream[first[:, None] + torch.arange(size, device=self.stream.device)]
        return torch.nn.functional.pad(rows.to(torch.int64), (1, 0), value=self.cls)


@lru_cache(maxsize=4)
def _starts(seed: int, size: int, turn: int, count: int) -> npt.NDArray[np.int64]:
    """Where the sequences of one pass over the stream begin, in the order they are read. Shape: (count,)."""
    rng = np.random.default_rng([seed, size, turn])
    return rng.permutation(count) * size + int(rng.integers(size))
