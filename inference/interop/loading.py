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
from inference.engines import artefacts
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
    artefacts: tuple[tuple[str, str], ...] = ()
    """Names and content hashes of what may run its encoder: another artefact may give other labels."""

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
        return cls(str(path), engine, checkpoint_files.version(path), _artefacts(path, engine))

    @property
    def schema(self) -> Schema:
        """The layers and labels, without loading the weights."""
        return checkpoint_files.label_schema(self.path)

    def tagger(self) -> Tagger:
        """The tagger, loaded once in each process.

        Raises:
            CheckpointError: the folder is not here, or holds other weights or artefacts than when it was named.
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
    if _artefacts(source.path, source.engine) != source.artefacts:
        raise CheckpointError(source.path, "holds other artefacts of engines than when it was named; name it again")
    return Tagger.load(source.path, engine=source.engine)


def _artefacts(path: str | Path, engine: str) -> tuple[tuple[str, str], ...]:
    """Those that the engine asked for may take."""
    return tuple(pair for pair in artefacts.present(path).items() if engine in (AUTO, pair[0]))
