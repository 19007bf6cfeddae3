"""Windows as padded tensors. The only place where tensors for the model are made, for training and for serving.

It knows shapes and padding, not labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from inference.windows import Window

Sizes = Callable[[Sequence[int]], list[int]]
"""From the widths of windows, the widest first, to how many of them go into each batch."""


@dataclass(frozen=True)
class Batch:
    """Some windows, ready for the model. W windows, T tokens, U units, Q targets, P pairs of a unit and a document's
    target."""

    input_ids: Tensor
    """Shape: (W, T), int64."""
    attention_mask: Tensor
    """Shape: (W, T), int64."""
    units: Tensor
    """Positions of each unit's tokens in the flattened (W * T) tokens, padded with -1. Shape: (U, longest unit), int64."""
    target_ids: Tensor
    """Shape: (Q, longest target), int64."""
    target_mask: Tensor
    """Shape: (Q, longest target), int64."""
    pairs: Tensor
    """Which unit is read against which target, -1 where its document has none. Shape: (P, 2), int64."""
    rows: tuple[tuple[int, int], ...] = ()
    """(document, sentence) behind each pair."""
    windows: tuple[int, ...] = ()
    """Places of the windows in the list they came from."""

    def tensors(self) -> dict[str, Tensor]:
        """What the model's forward takes."""
        names = ("input_ids", "attention_mask", "units", "target_ids", "target_mask", "pairs")
        return {name: getattr(self, name) for name in names}


def batches(windows: Sequence[Window], sizes: Sizes, pad: int, step: int = 1) -> Iterator[Batch]:
    """Windows of similar length together, as many as `sizes` says; widths are multiples of `step`."""
    order = sorted(range(len(windows)), key=lambda place: len(windows[place].ids), reverse=True)
    places = iter(order)
    for size in sizes([rounded(len(windows[place].ids), step) for place in order]):
        yield collate(windows, list(islice(places, size)), pad, step)


def rounded(length: int, step: int) -> int:
    """The length, or the next larger multiple of the step."""
    return -(-length // step) * step


def batch_sizes(lengths: Sequence[int], budget: int) -> list[int]:
    """How many of these lengths, the longest first, go into each batch so that its padded tokens stay within the budget."""
    sizes = []
    start = 0
    while start < len(lengths):
        sizes.append(min(max(1, budget // lengths[start]), len(lengths) - start))
        start += sizes[-1]
    return sizes


def even_budget(lengths: Sequence[int], most: int) -> int:
    """The smallest budget with which `batch_sizes` makes `most` batches or fewer."""
    low, high = sum(lengths) // most, sum(lengths[:1]) * len(lengths)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(batch_sizes(lengths, middle)) <= most else (middle + 1, high)
    return low


def padding(windows: Sequence[Window], sizes: Sizes, step: int = 1) -> int:
    """How many tokens of padding `batches` adds to some windows."""
    lengths = sorted((len(window.ids) for window in windows), reverse=True)
    widths = [rounded(length, step) for length in lengths]
    added = start = 0
    for size in sizes(widths):
        added += size * widths[start] - sum(lengths[start : start + size])
        start += size
    return added


def collate(windows: Sequence[Window], places: Sequence[int], pad: int, step: int = 1) -> Batch:
    """The windows at `places` as one batch; its width and that of the targets are multiples of `step`."""
    chosen = [windows[place] for place in places]
    ids, mask = _pad([window.ids for window in chosen], pad, step)
    width = ids.shape[1]
    units: list[list[int]] = []
    targets: dict[tuple[int, ...], int] = {}
    pairs: list[tuple[int, int]] = []
    rows: list[tuple[int, int]] = []
    for line, window in enumerate(chosen):
        own = [targets.setdefault(tuple(target), len(targets)) if target else -1 for target in window.targets]
        for unit in window.units:
            pairs += [(len(units), target) for target in own]
            rows += [(document, unit.sentence) for document in window.documents]
            units.append(list(range(line * width + unit.start, line * width + unit.end)))
    target_ids, target_mask = _pad([list(target) for target in targets], pad, step)
    return Batch(
        input_ids=ids,
        attention_mask=mask,
        units=_pad(units, -1)[0],
        target_ids=target_ids,
        target_mask=target_mask,
        pairs=torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2),
        rows=tuple(rows),
        windows=tuple(places),
    )


def _pad(rows: list[list[int]], fill: int, step: int = 1) -> tuple[Tensor, Tensor]:
    """Rows padded on the right, and a mask of what is real. Shape: both (rows, longest, rounded), int64."""
    width = rounded(max(map(len, rows), default=1), step)
    ids = torch.full((len(rows), width), fill, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[number, : len(row)] = 1
    return ids, mask
