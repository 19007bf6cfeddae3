"""How torch's threads wait for each other. It is to be said before torch is loaded, so nothing here loads it."""

from __future__ import annotations

import os


def wait_briefly() -> None:
    """Let threads of OpenMP that wait go to sleep soon, unless the environment says otherwise.

    By default they spin. Where another process, or another thread of this one, wants the core, that takes it from the very thread
    that is waited for: training beside one busy process was twenty times slower.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
