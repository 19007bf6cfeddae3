"""Keeps the process's memory flat: glibc gives every thread an arena of its own, and returns little of what is freed.

It knows the C library, if it is glibc; elsewhere it does nothing.
"""

from __future__ import annotations

import ctypes
import sys
import threading

ARENA_MAX = -8
"""`M_ARENA_MAX` of <malloc.h>; see mallopt(3)."""
ARENAS = 2
TRIM_SECONDS = 10.0


def few_arenas() -> None:
    """Let all threads that are yet to start share two arenas; best called before there are any."""
    if (library := _glibc()) is not None:
        library.mallopt(ARENA_MAX, ARENAS)


def trim() -> None:
    """Return what is free, as after a long document or a model that has gone."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def keep_trimmed() -> threading.Event:
    """Trim every few seconds, from a thread of its own, until the event is set."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(TRIM_SECONDS):
            trim()

    threading.Thread(target=work, name="trim", daemon=True).start()
    return ended


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
