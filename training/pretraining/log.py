"""The log of a pretraining run: a line of JSON every few seconds, the same for people, and a curve as a picture.

It knows numbers, not networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.storage import replacing
from training.pretraining.config import PretrainConfig
from training.pretraining.curve import draw
from training.pretraining.schedule import Progress, fraction

LOG, CURVE = "log.jsonl", "curve.svg"

Line = dict[str, Any]


@dataclass
class Log:
    """What is told of one run, in a file and to whoever waits."""

    config: PretrainConfig
    say: Callable[[str], None]

    @property
    def path(self) -> Path:
        """The file."""
        return self.config.output / LOG

    def resume(self, progress: Progress) -> None:
        """Forget lines about steps that a kill undid."""
        if self.path.exists():
            kept = [line for line in read(self.path) if line["step"] <= progress.step]
            with replacing(self.path) as out:
                out.writelines(json.dumps(line) + "\n" for line in kept)

    def add(
        self,
        progress: Progress,
        *,
        loss: float,
        held_out: float | None,
        masked: float,
        rate: float,
        speed: float,
    ) -> None:
        """One line: loss in nats a masked token, share of tokens masked, share of the peak rates, tokens a second."""
        line: Line = {"step": progress.step, "tokens": progress.tokens, "seconds": round(progress.seconds, 3)}
        line |= {"loss": loss, "masked": round(masked, 4), "rate": round(rate, 4), "speed": round(speed)}
        if held_out is not None:
            line["held_out"] = held_out
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        self.say(self._sentence(progress, line))
        if held_out is not None or fraction(self.config, progress) >= 1:
            draw(read(self.path), self.config.output / CURVE)

    def _sentence(self, progress: Progress, line: Line) -> str:
        done = fraction(self.config, progress)
        left = progress.seconds * (1 - done) / done / 60 if done else 0.0
        tokens = f"{progress.tokens / 1e6:.1f} M tokens"
        held_out = f"  held-out {line['held_out']:.3f}" if "held_out" in line else ""
        told = f"step {progress.step:,}  {tokens}  loss {line['loss']:.3f}{held_out}  {line['speed']:,} tokens/s"
        return f"{told}  {max(0.0, left):.1f} min left"


def read(path: Path) -> list[Line]:
    """The lines of a log; one cut short by a kill is left out."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
