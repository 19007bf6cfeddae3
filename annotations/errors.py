"""The one exception tree: what went wrong and what to do next. It knows no file format and prints nothing.

StandpointError
├── InputError          something the user gave is wrong; carries every problem found, exit status 2
│   ├── ConfigError     a YAML file or an override
│   ├── SchemaError     labels or layers that the schema does not declare
│   ├── DocumentError   documents, exports, raw articles
│   └── CheckpointError a folder that should hold a model or an encoder
├── TrainingError       a run that cannot go on: its loss is no number, its disk is full; exit status 2
├── JobError            an archive job that cannot go on: its disk is full, its workers die; exit status 2
└── ServerError         a Label Studio server that does not answer as it should
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

SHOWN = 20


class StandpointError(Exception):
    """Base of every error that Standpoint raises on purpose."""


class InputError(StandpointError):
    """Something the user gave is wrong. `problems` holds one sentence for each thing to mend."""

    def __init__(self, where: object, problems: str | Sequence[str]) -> None:
        self.where = str(where)
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(self._message())

    def _message(self) -> str:
        if len(self.problems) == 1:
            return f"{self.where}: {self.problems[0]}"
        shown = [f"  - {problem}" for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            shown.append(f"  … and {len(self.problems) - SHOWN} more")
        return "\n".join([f"{self.where}: {len(self.problems)} problems", *shown])


class ConfigError(InputError):
    """A configuration that cannot be used."""


class SchemaError(InputError):
    """Layers or labels that the schema does not declare, or a schema that contradicts itself."""


class DocumentError(InputError):
    """Documents, exports or articles that cannot be read as such."""


class CheckpointError(InputError):
    """A model or encoder folder that is incomplete, foreign or unreachable."""


class TrainingError(StandpointError):
    """A run that cannot go on; what it had saved is untouched."""


class JobError(StandpointError):
    """An archive job that cannot go on; the shards that it had finished are kept."""


class ServerError(StandpointError):
    """A Label Studio server that is down, refuses, or answers something unexpected."""


def to_install(extra: str) -> str:
    """What brings the packages of an extra. On the package index `standpoint` is somebody else's project."""
    return f"pip install '.[{extra}]' in Standpoint's folder"


def first_line(error: BaseException) -> str:
    """What another library's error says, on one line; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint to append to a message: the closest known word, or all of them when none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(known)}" if known else "nothing is allowed here"
