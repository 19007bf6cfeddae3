"""The training loop: steps until the budget is spent, with a log and checkpoints on the way.

It knows when things happen. What a batch, a loss or a rate is, other modules say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from annotations.errors import ConfigError
from inference.hardware import has_bf16
from training.pretraining import schedule
from training.pretraining.clock import Clock, stop_requests
from training.pretraining.config import Masking, PretrainConfig
from training.pretraining.log import Log
from training.pretraining.masking import Pieces, hide
from training.pretraining.processes import Processes
from training.pretraining.state import BEFORE_DECAY, CHECKPOINT, State
from training.pretraining.stream import Sequences

HELD_OUT = Masking(start=0.15, end=0.15)


@dataclass
class Loop:
    """One run on one process."""

    config: PretrainConfig
    state: State
    sequences: Sequences
    held_out: Tensor
    """Sequences to report the loss on. Shape: (rows, length), int64; no rows where nothing is held out."""
    pieces: Pieces
    processes: Processes
    log: Log
    tokenizer: PreTrainedTokenizerBase
    losses: list[Tensor] = field(default_factory=list)
    """Of the steps since the last line of the log."""
    bf16: bool = field(init=False)
    """Whether it computes in bfloat16."""

    def __post_init__(self) -> None:
        self.bf16 = has_bf16() if self.config.bf16 is None else self.config.bf16

    def run(self) -> None:
        """Train until the budget is spent.

        Raises:
            KeyboardInterrupt: the user or the system asked to stop; everything done is kept.
            ConfigError: the loss is no longer a number.
        """
        config, progress = self.config, self.state.progress
        network = self.processes.shared(self.state.network)
        falling = schedule.decaying(config.optimizer, schedule.fraction(config, progress))
        if config.compile:
            self._compile(network)
        clock = Clock(before=progress.seconds, tokens=progress.tokens)
        with stop_requests() as asked:
            while (done := schedule.fraction(config, progress)) < 1:
                if not falling and schedule.decaying(config.optimizer, done):
                    self._keep(BEFORE_DECAY)
                    falling = True
                self._step(network, done)
                progress.seconds, stop = self.processes.agreed(clock.seconds(), bool(asked))
                self._tell(clock, done, last=stop or schedule.fraction(config, progress) >= 1)
                if stop:
                    raise KeyboardInterrupt

    def _tell(self, clock: Clock, done: float, *, last: bool) -> None:
        """Checkpoint and log, where it is time for them."""
        keep = last or clock.kept.due(self.config.checkpoint_minutes * 60)
        if not keep and not clock.logged.due(self.config.log_seconds):
            return
        loss = self._mean_loss()
        minutes = self.config.export_minutes
        if minutes is not None and clock.exported.due(minutes * 60) and self.processes.first:
            self.state.export(self.config.output / "encoders" / f"{self.state.progress.step:07}", self.tokenizer)
        held_out = self.held_out_loss() if keep else None
        if self.processes.first:
            speed = clock.speed(self.state.progress.tokens)
            masked = schedule.masked_share(self.config.masking, done)
            rate = schedule.rate(self.config.optimizer, done)
            self.log.add(self.state.progress, loss=loss, held_out=held_out, masked=masked, rate=rate, speed=speed)
        if keep:
            # After the line: a kill between the two costs steps, which are done again, and never a line.
            self._keep(CHECKPOINT)

    def _mean_loss(self) -> float:
        """Of the steps since the last call; one that is no number stops the run, and earlier checkpoints stay."""
        loss = float(torch.stack(self.losses).mean())
        self.losses.clear()
        if not math.isfinite(loss):
            remedy = "lower optimizer.lr and optimizer.matrix_lr, and begin anew in another output folder"
            told = f"the loss became {loss} by step {self.state.progress.step}; {remedy}"
            raise ConfigError(self.config.output, told)
        return loss

    def _step(self, network: nn.Module, done: float) -> None:
        state, config = self.state, self.config
        for group in (group for optimizer in state.optimizers for group in optimizer.param_groups):
            group["lr"] = group["initial_lr"] * schedule.rate(config.optimizer, done)
        parts, share = self._batch(done), schedule.masked_share(config.masking, done)
        count = sum(map(len, parts))
        total = torch.zeros((), device=self.processes.device)
        for number, rows in enumerate(parts):
            with self.processes.apart(network, last=number == len(parts) - 1):
                seed = self._seed(number)
                # For dropout, where the encoder has any.
                torch.manual_seed(seed)
                # Every sequence counts the same, also in a last part that is shorter.
                loss = self._loss(network, rows, config.masking, share, seed) * (len(rows) / count)
                loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.optimizer.clip)
        for optimizer in state.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state.progress.step += 1
        state.follow(config.optimizer.ema)
        self.losses.append(total)

    def _batch(self, done: float) -> list[Tensor]:
        """This process's sequences of the next step, in parts that fit one forward pass."""
        config, progress, processes = self.config, self.state.progress, self.processes
        length, own = self._size(done)
        start = progress.drawn.get(length, 0)
        progress.drawn[length] = start + own * processes.count
        progress.tokens += own * processes.count * length
        first = start + own * processes.rank
        rows = self.sequences.take(length, range(first, first + own))
        return list(rows.split(max(1, config.micro_tokens // length)))

    def _size(self, done: float) -> tuple[int, int]:
        """The length of the next step's sequences, and how many of them are this process's."""
        length = schedule.stage(self.config.lengths, done)
        return length, max(1, schedule.stage(self.config.batch_tokens, done) // length // self.processes.count)

    def _compile(self, network: nn.Module) -> None:
        """Show the compiler every shape that is still to come; its minutes are none of the budget's, nor of the warm-up's."""
        config, now = self.config, schedule.fraction(self.config, self.state.progress)
        stages = [start for start, _ in (*config.lengths, *config.batch_tokens) if start > now]
        shapes: set[tuple[int, int]] = set()
        for length, own in map(self._size, [now, *stages]):
            most = max(1, config.micro_tokens // length)
            shapes |= {(length, size) for size in (min(own, most), own % most) if size}
        for length, size in sorted(shapes):
            rows = self.sequences.take(length, range(size))
            with self.processes.apart(network, last=True):
                self._loss(network, rows, config.masking, config.masking.start, 0).backward()
            for optimizer in self.state.optimizers:
                optimizer.zero_grad(set_to_none=True)

    def _seed(self, number: int) -> int:
        """What is hidden in a part depends on the seed, the step, the part and the process alone."""
        place = (self.state.progress.step * 4096 + number) * 4096 + self.processes.rank
        return (self.config.seed * (1 << 48) + place) % (1 << 63)

    def _loss(self, network: nn.Module, rows: Tensor, masking: Masking, share: float, seed: int) -> Tensor:
        """Of one part, with what the seed says hidden."""
        shown, chosen = hide(rows, self.pieces, masking, share, torch.Generator(rows.device).manual_seed(seed))
        with torch.autocast(rows.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            loss: Tensor = network(shown, chosen, rows)
        return loss

    @torch.no_grad()
    def held_out_loss(self) -> float | None:
        """With the averaged weights, on held-out text, 15% of the words masked; the same words at every call."""
        if not len(self.held_out):
            return None
        network = self.state.network
        network.eval()
        with self.state.averaged():
            losses = [
                self._loss(network, rows, HELD_OUT, HELD_OUT.start, number)
                for number, rows in enumerate(self._held_out_parts())
            ]
        network.train()
        return float(torch.stack(losses).mean())

    def _held_out_parts(self) -> Iterator[Tensor]:
        # Whole parts only: every compiled shape costs a minute of compiling.
        size = max(1, self.config.micro_tokens // self.held_out.shape[1])
        yield from (part for part in self.held_out.split(size) if len(part) == size or len(self.held_out) < size)

    def _keep(self, name: str) -> None:
        if self.processes.first:
            self.state.save(self.config.output / name)
