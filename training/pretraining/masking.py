"""Hides tokens, whole words or runs of words of a batch. It knows token ids and which of them begin a word, not texts.

Everything happens in tensors on the batch's own device, so that a GPU never waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.pretraining.config import Masking

KEPT, NOISE = 0.1, 0.1


@dataclass(frozen=True)
class Pieces:
    """What masking needs to know of a tokenizer."""

    special: Tensor
    """Ids that are never hidden. Shape: (vocabulary,), bool."""
    begins: Tensor
    """Ids that begin a word. Shape: (vocabulary,), bool."""
    mask: int
    """Id of the mask token."""

    def to(self, device: torch.device) -> Pieces:
        """The same on another device."""
        return Pieces(self.special.to(device), self.begins.to(device), self.mask)


def pieces(tokenizer: PreTrainedTokenizerBase, size: int) -> Pieces:
    """Special ids and word beginnings of a vocabulary of byte-level, SentencePiece or WordPiece pieces, padded to `size`."""
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    wordpiece = any(name.startswith("##") for name in names)
    begins = torch.ones(size, dtype=torch.bool)
    for place, name in enumerate(names):
        letters = name.lstrip("ĠĊ▁")
        inside = name.startswith("##") if wordpiece else letters == name and name[:1].isalnum()
        begins[place] = not inside
    special = torch.zeros(size, dtype=torch.bool)
    special[torch.tensor(tokenizer.all_special_ids)] = True
    special[len(names) :] = True
    return Pieces(special, begins, tokenizer.mask_token_id)


def hide(
    ids: Tensor, pieces: Pieces, masking: Masking, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Hide about a share of the tokens: 80% become the mask token, 10% a random piece, 10% stay as they are.

    Returns the ids to show and where to predict. Shape: ids (batch, length); both results the same, int64 and bool.
    """
    units = _units(ids, pieces, masking, generator)
    draw = torch.rand(ids.shape, generator=generator, device=ids.device).gather(1, units)
    chosen = (draw < share) & ~pieces.special[ids]
    kind = torch.rand(ids.shape, generator=generator, device=ids.device)
    noise = torch.randint(len(pieces.special), ids.shape, generator=generator, device=ids.device)
    noise = torch.where(pieces.special[noise], ids, noise)
    shown = torch.where(chosen & (kind >= KEPT + NOISE), pieces.mask, ids)
    return torch.where(chosen & (kind < NOISE), noise, shown), chosen


def _units(ids: Tensor, pieces: Pieces, masking: Masking, generator: torch.Generator) -> Tensor:
    """The number of the unit, within its row, that each token belongs to. Shape: (batch, length)."""
    if masking.unit == "token":
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    begins = pieces.begins[ids]
    if masking.unit == "span":
        begins = begins & (torch.rand(ids.shape, generator=generator, device=ids.device) < 1 / masking.span)
    # A special token is a unit of its own, so that no unit reaches across documents.
    apart = pieces.special[ids]
    after = torch.nn.functional.pad(apart[:, :-1], (1, 0))
    return ((begins | apart | after).cumsum(1) - 1).clamp(min=0)
