"""Runs the network on batches: batch in, logits out, whatever runs the encoder. It knows no texts and no labels.

The encoder is nearly all of the work, so it alone is what engines replace; heads and reader stay PyTorch in 32-bit floats.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock, Thread

import torch
from torch import Tensor

from annotations.errors import first_line
from inference.batches import Batch, batch_sizes, even_budget
from inference.model import Logits, StandpointModel, longest_input

Encode = Callable[[Tensor, Tensor], Tensor]
"""Ids (W, T) and attention mask (W, T), int64, to last hidden states (W, T, D)."""
TARGET_TOKENS = 4096
"""Targets are encoded in parts of at most so many tokens."""
LEAST = 160
"""Tokens; smaller batches are not made for more than one for each core."""
Load = Callable[[int], Encode]
"""Loads an encoder that so many threads call at once; they share the cores among them."""


class Engine:
    """A tagger's network with its encoder loaded by `load`, or run by PyTorch as the model stands."""

    _load: Load | None = None
    _several: Encode | None = None

    def __init__(self, model: StandpointModel, *, name: str = "torch", load: Load | None = None, step: int = 1) -> None:
        self.model = model.eval()
        self.name = name
        most = longest_input(model.encoder) if step > 1 else None
        self.step = step if most is None or most % step == 0 else 1
        """Widths of batches are to be multiples of this; where the encoder could not read the widest, of 1."""
        self._load = load
        self._encode = load(1) if load else model.encode
        self._last: tuple[Tensor, Tensor] | None = None
        self._workers: tuple[tuple[int, int], ThreadPoolExecutor] | None = None
        self._preparing = Lock()

    def __call__(self, batch: Batch) -> Logits:
        """Logits on the CPU, in 32-bit floats, shaped as `Logits` says."""
        return self.answers([batch])[0]

    @property
    def workers(self) -> int:
        """So many batches are read side by side, each by one core; 1 where the cores can only share a batch."""
        return torch.get_num_threads() if self._load is not None else 1

    @property
    def at_once(self) -> int:
        """So many batches of one caller are with the workers or wait for them, so that no worker waits for a batch."""
        return 2 * self.workers if self.workers > 1 else 1

    def sizes(self, lengths: Sequence[int], budget: int) -> list[int]:
        """How many windows of these lengths, the longest first, to put into each batch of at most `budget` padded tokens.

        Smaller ones for the sake of the cores: many, or of few tokens one for each core.
        """
        share = sum(lengths) // self.at_once
        if self.workers > 1 and share >= LEAST:
            budget = min(budget, share)
        elif self._few(len(lengths)):
            budget = min(budget, even_budget(lengths, self.workers))
        return batch_sizes(lengths, budget)

    def _few(self, count: int) -> bool:
        """Whether so many batches, though fewer than `at_once`, are read sooner each by one core than one after another by all.

        It gains less than it takes to load what reads so.
        """
        return self._several is not None and count >= max(2, self.workers // 2)

    def load_all(self) -> None:
        """Load now what would be loaded when it is first needed; afterwards the engine's files may go."""
        self._one_core()

    def answers(self, batches: Sequence[Batch]) -> list[Logits]:
        """The answer to each batch."""
        return [answer.result() for answer in self.start(batches)]

    def start(self, batches: Sequence[Batch]) -> list[Future[Logits]]:
        """Begin to read batches, in order. Many are read side by side, each by one core: cores that share one wait for each other.

        Callers in several threads take turns, so that none waits for all batches of another.
        """
        encode = self._one_core() if len(batches) >= self.at_once > 1 or self._few(len(batches)) else None
        found: list[Future[Logits]] = [Future() for _ in batches]
        pool, ahead = self._pool(), self.at_once

        def read(place: int) -> None:
            try:
                found[place].set_result(self.read(batches[place], encode))
            except BaseException as error:
                found[place].set_exception(error)
            if place + ahead < len(batches):
                go_on(place + ahead)

        def go_on(place: int) -> None:
            try:
                pool.submit(read, place)
            except RuntimeError as ending:
                # The interpreter ends, but not before its threads do, and some may wait for these.
                for one in found[place::ahead]:
                    one.set_exception(ending)

        for place in range(min(ahead, len(batches))):
            go_on(place)
        return found

    def _pool(self) -> ThreadPoolExecutor:
        """The threads that read. A forked process has none of its parent's."""
        with self._preparing:
            wanted = os.getpid(), self.workers
            if self._workers is None or self._workers[0] != wanted:
                begin = partial(_one_thread, torch.get_num_threads()) if self.workers > 1 else None
                self._workers = wanted, ThreadPoolExecutor(self.workers, "standpoint-read", begin)
            return self._workers[1]

    def _one_core(self) -> Encode | None:
        """The encoder that several threads call at once, a core each; None where cores can only share a batch.

        It is loaded when it is first asked for.
        """
        with self._preparing:
            if self._several is None and self._load is not None and (cores := torch.get_num_threads()) > 1:
                try:
                    self._several = self._load(cores)
                except Exception as error:
                    self._load = None
                    told = "batches are read one after another, more slowly (%s)"
                    logging.getLogger(__name__).warning(told, first_line(error))
            return self._several

    def read(self, batch: Batch, encode: Encode | None = None) -> Logits:
        """The answer to one batch, made in the calling thread: what an engine of another kind redefines."""
        encode = encode or self._encode
        with torch.inference_mode():
            device = self.model.device
            tensors = {name: tensor.to(device) for name, tensor in batch.tensors().items()}
            states = encode(tensors.pop("input_ids"), tensors.pop("attention_mask")).float()
            targets = self._targets(tensors.pop("target_ids"), tensors["target_mask"], encode)
            answer = self.model.answer(states, targets, **tensors)
        return Logits(
            tokens=_on_cpu(answer.tokens),
            sentences=_on_cpu(answer.sentences),
            votes=_on_cpu(answer.votes),
            weights=_on_cpu(answer.weights),
        )

    def _targets(self, ids: Tensor, mask: Tensor, encode: Encode) -> Tensor | None:
        """The encoded targets; those of the batch before are kept, for most streams have one target."""
        if self.model.reader is None or not len(ids):
            return None
        known = self._last
        if known is None or not torch.equal(known[0], ids):
            self._last = known = ids, self._encoded_targets(ids, mask, encode)
        return known[1]

    def _encoded_targets(self, ids: Tensor, mask: Tensor, encode: Encode) -> Tensor:
        """In parts of similar length, so that memory does not grow with the number of targets. Shape: (Q, longest, D)."""
        lengths = mask.sum(1)
        order = lengths.argsort(descending=True, stable=True)
        parts = order.split(batch_sizes(lengths[order].tolist(), TARGET_TOKENS))
        if len(parts) == 1:
            return encode(ids, mask).float()
        found = torch.zeros(*ids.shape, self.model.encoder.config.hidden_size, device=self.model.device)
        for part in parts:
            width = int(lengths[part[0]])
            found[part, :width] = encode(ids[part, :width], mask[part, :width]).float()
        return found


def _one_thread(others: int) -> None:
    """Let torch use the calling thread alone for what it asks for, and `others` threads elsewhere.

    The number is each thread's own, but what one sets is also what others begin with, at their first look at it.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
    last = Thread(target=torch.set_num_threads, args=(others,))
    last.start()
    last.join()


def _on_cpu(group: dict[str, Tensor] | None) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in (group or {}).items()}
