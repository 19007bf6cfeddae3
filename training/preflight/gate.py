"""What training refuses of its data before it writes anything, and what it warns of, in the words of `standpoint check`.

It knows documents and the schema, not models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from annotations.document import Document
from annotations.errors import DocumentError
from annotations.schema import Schema
from training.preflight.config import Finding
from training.preflight.data import (
    Data,
    conflict_problems,
    conflict_warnings,
    leakage_warnings,
    missing_problems,
    rare,
    tally,
)


def usable(learned: Sequence[Document], schema: Schema, scored: Sequence[Document] = ()) -> list[str]:
    """What somebody should know of documents to learn from: labels with hardly an example, contradictory labels, `leaks`.

    Raises:
        DocumentError: there is none, a layer is annotated in none of them, or two annotate one text's spans differently.
    """
    data = Data(learned=[*learned])
    if problems := [*missing_problems(data, schema), *conflict_problems(learned, schema)]:
        raise DocumentError("training data", [_sentence(problem) for problem in problems])
    return [*(_sentence(finding) for finding in _warnings(data, schema)), *leaks(learned, scored)]


def leaks(learned: Sequence[Document], scored: Sequence[Document] = ()) -> list[str]:
    """How what is scored, now or in a fold, may be known from what is learned: one text in several groups, groups on both sides.

    Near-duplicates are looked for by `standpoint check` alone, as that takes time.
    """
    return [_sentence(finding) for finding in leakage_warnings(Data(learned=[*learned], scored=[*scored]))]


def _warnings(data: Data, schema: Schema) -> Iterator[Finding]:
    tallies = tally(data, schema)
    for name, layer in schema.layers.items():
        yield from rare(name, layer, tallies[name], many=False)
    yield from conflict_warnings(data.learned, schema)


def _sentence(finding: Finding) -> str:
    return f"{finding.where}: {finding.what}"
