"""A checkpoint named by its folder and its content, which every process loads once, when it first needs it.

It knows folders and processes, not texts. What other libraries send to their workers is this name, never the weights.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from annotations.errors import CheckpointError
from annotations.schema import Schema
from inference import checkpoint_files
from inference.engines.choice import AUTO, ENGINES, check_name
from inference.tagger import Tagger

_IMPORTED_BY = os.getpid()


@dataclass(frozen=True)
class Source:
    """Where a tagger comes from; cheap to pickle, and equal for equal weights in one place."""

    path: str
    """Absolute."""
    engine: str
    version: str
    """The content hash that the folder had when it was named."""

    @classmethod
    def of(cls, path: str | Path, engine: str = AUTO) -> Source:
        """Name a checkpoint without loading it.

        Raises:
            CheckpointError: the folder holds no tagger.
            ConfigError: there is no such engine.
        """
        check_name(engine, (AUTO, *ENGINES))
        path = Path(path).resolve()
        checkpoint_files.label_schema(path)
        return cls(str(path), engine, checkpoint_files.version(path))

    @property
    def schema(self) -> Schema:
        """The layers and labels, without loading the weights."""
        return checkpoint_files.label_schema(self.path)

    def tagger(self) -> Tagger:
        """The tagger, loaded once in each process.

        Raises:
            CheckpointError: the folder is not here, or holds other weights than when it was named.
        """
        return _load(self, os.getpid())


@lru_cache(maxsize=2)
def _load(source: Source, process: int) -> Tagger:
    if process != _IMPORTED_BY:
        # A forked process has none of OpenMP's threads, and waits for them forever.
        torch.set_num_threads(1)
    if (found := checkpoint_files.version(source.path)) != source.version:
        why = f"holds other weights ({found}) than when it was named ({source.version}); name it again"
        raise CheckpointError(source.path, why)
    return Tagger.load(source.path, engine=source.engine)
