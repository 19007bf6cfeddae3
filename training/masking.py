"""Tokens hidden while fine-tuning, so that the network reads context instead of learning names by heart.

It knows token ids, not labels. Hiding for masked-LM, where the hidden tokens are the task, is in `training.pretraining`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from annotations.errors import ConfigError


class TokenMasking:
    """Shows a random share of a text's tokens as the mask token: word dropout (Iyyer et al., 2015) with a visible gap."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, share: float) -> None:
        """`share` is the probability of each token to be hidden; special tokens and padding never are.

        Raises:
            ConfigError: the tokenizer has neither a mask nor an unknown token to show instead.
        """
        shown = [tokenizer.mask_token_id, tokenizer.unk_token_id]
        self.share = share
        self.instead: int | None = next((token for token in shown if token is not None), None)
        if share and self.instead is None:
            raise ConfigError("token_masking", "this encoder's tokenizer has no mask token; set token_masking=0")
        self.special = torch.tensor(tokenizer.all_special_ids, dtype=torch.int64)

    def __call__(self, ids: Tensor) -> Tensor:
        """Shape: (..., T) int64 to the same. Draws from torch's global generator, whose state checkpoints keep."""
        if not self.share or self.instead is None:
            return ids
        hidden = torch.rand(ids.shape, device=ids.device) < self.share
        hidden &= ~torch.isin(ids, self.special.to(ids.device))
        return ids.masked_fill(hidden, self.instead)
