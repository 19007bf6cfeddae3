"""Messages between the service and the processes that tag: lists of tuples, pickled, each list behind its length.

Both ends are processes of one service. It knows bytes, not what the messages say.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator, Sequence
from typing import Any

Message = tuple[Any, ...]
HEAD = struct.Struct("!I")
"""A list's length in bytes."""


def packed(messages: Sequence[Message]) -> bytes:
    """A list of messages as bytes."""
    content = pickle.dumps(list(messages), protocol=pickle.HIGHEST_PROTOCOL)
    return HEAD.pack(len(content)) + content


class Unpacking:
    """Bytes as they come, and the messages that are whole."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that end with these bytes."""
        self._waiting += data
        while len(self._waiting) >= HEAD.size:
            end = HEAD.size + HEAD.unpack_from(self._waiting)[0]
            if len(self._waiting) < end:
                return
            content = bytes(self._waiting[HEAD.size : end])
            del self._waiting[:end]
            yield from pickle.loads(content)
