"""Time in a pretraining run, and requests to stop it. It knows the clock and signals, not the run."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Timer:
    """When something was done last."""

    last: float = field(default_factory=time.monotonic)

    def due(self, seconds: float) -> bool:
        """Whether that is so long ago; then it counts as done now."""
        now = time.monotonic()
        if now - self.last < seconds:
            return False
        self.last = now
        return True


@dataclass
class Clock:
    """The times of one run."""

    before: float
    """Seconds of training before this start."""
    tokens: int
    """Seen when the speed was last asked for."""
    began: float = field(default_factory=time.monotonic)
    asked: float = field(default_factory=time.monotonic)
    kept: Timer = field(default_factory=Timer)
    logged: Timer = field(default_factory=Timer)
    exported: Timer = field(default_factory=Timer)

    def seconds(self) -> float:
        """Of training in all."""
        return self.before + time.monotonic() - self.began

    def speed(self, tokens: int) -> float:
        """Tokens a second since the last call."""
        now = time.monotonic()
        found = (tokens - self.tokens) / max(now - self.asked, 1e-9)
        self.tokens, self.asked = tokens, now
        return found


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Signals that ask to stop, collected instead of raised, so that no step is left half done."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {kind: signal.signal(kind, lambda kind, _: asked.append(kind)) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
