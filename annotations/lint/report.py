"""Lints annotated files: runs every rule and reports the findings as text or JSON. It knows no rule and repairs nothing.

The table of codes is in `annotations.lint.findings`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from annotations.errors import InputError, did_you_mean
from annotations.lint.corpus import DEFAULT_LIMITS, Entry, Limits, entry, lint_corpus
from annotations.lint.documents import lint_document
from annotations.lint.findings import RULES, Finding
from annotations.lint.reading import Item, read_items
from annotations.schema import Schema


@dataclass(frozen=True)
class LintReport:
    """All findings, by file and document in the order of the files."""

    findings: Sequence[Finding]
    documents: int
    """How many tasks and lines were read."""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.is_error for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors

    def only(self, select: Sequence[str] = (), ignore: Sequence[str] = ()) -> LintReport:
        """The findings whose codes begin with one of `select` (all by default) and with none of `ignore`.

        Raises:
            InputError: naming everything that no code begins with.
        """
        problems = [
            f"no code begins with {prefix!r}; {did_you_mean(prefix, RULES)}"
            for prefix in (*select, *ignore)
            if not prefix or not any(code.startswith(prefix) for code in RULES)
        ]
        if problems:
            raise InputError("codes", problems)
        kept = [
            f for f in self.findings if f.code.startswith(tuple(select) or "") and not f.code.startswith(tuple(ignore))
        ]
        return LintReport(kept, self.documents)

    def failed(self, strict: bool = False) -> bool:
        """Whether there are errors; if `strict`, whether there are findings at all."""
        return bool(self.findings) if strict else self.errors > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the findings, and their numbers by severity and code."""
        codes = dict(sorted(Counter(finding.code for finding in self.findings).items()))
        counts = {"documents": self.documents, "errors": self.errors, "warnings": self.warnings, "codes": codes}
        return {"findings": [finding.to_dict() for finding in self.findings], "counts": counts}

    def to_json(self) -> str:
        """The same as JSON."""
        return _printable(json.dumps(self.to_dict(), ensure_ascii=False, indent=2))

    def __str__(self) -> str:
        lines = [line for file, found in groupby(self.findings, lambda f: f.file) for line in _file_text(file, found)]
        return _printable("\n".join([*lines, self._last_line()]))

    def _last_line(self) -> str:
        codes = self.to_dict()["counts"]["codes"]
        listed = ", ".join(f"{code} {RULES[code].name} {count}" for code, count in codes.items())
        head = f"{self.errors} errors, {self.warnings} warnings in {self.documents} documents"
        return f"{head}: {listed}" if listed else head


def lint_files(paths: Iterable[str | Path], schema: Schema, limits: Limits = DEFAULT_LIMITS) -> LintReport:
    """Lint Label Studio exports (.json) and JSON Lines of Documents (.jsonl) as one data set.

    Every annotation that was not skipped is linted as the file has it, before any repair. A broken document is reported
    and stops no other.

    Raises:
        DocumentError: naming every file that cannot be read, is no JSON, or holds no tasks or documents.
    """
    items = read_items(paths, schema)
    findings: list[Finding] = []
    entries: list[Entry] = []
    for item in items:
        marks, found = lint_document(item, schema)
        findings += found
        entries.append(entry(item, marks, schema))
    findings += lint_corpus(entries, schema, limits)
    return LintReport(_in_order(findings, items), len(items))


def _in_order(findings: Iterable[Finding], items: Sequence[Item]) -> list[Finding]:
    """By document in the order of the files, then by place; what is about the whole data set comes last."""
    order: dict[tuple[str | None, ...], int] = {}
    files: dict[str | None, int] = {}
    for item in items:
        where = item.where
        order.setdefault((where.file, where.document, where.task), len(order))
        files.setdefault(where.file, len(files))

    def key(finding: Finding) -> tuple[int, int, int, str]:
        place = order.get((finding.file, finding.document, finding.task), len(order))
        return files.get(finding.file, len(files)), place, -1 if finding.start is None else finding.start, finding.code

    return sorted(findings, key=key)


def _file_text(file: str | None, findings: Iterable[Finding]) -> Iterator[str]:
    yield file or "the whole data set"
    for (document, task), found in groupby(findings, lambda finding: (finding.document, finding.task)):
        parts = [document, f"(task {task})" if document and task else task]
        yield "  " + " ".join(part for part in parts if part) if any(parts) else ""
        yield from (f"    {line}" for line in _merged(found))
    yield ""


def _merged(findings: Iterable[Finding]) -> Iterator[str]:
    """One line for what several annotations of a document have in common."""
    same: dict[Finding, list[str]] = {}
    for finding in findings:
        names = same.setdefault(replace(finding, annotation=None, region=None), [])
        names += [_owner(finding)] if finding.annotation else []
    for finding, owners in same.items():
        place = "" if finding.start is None else f" {finding.start}–{finding.end}"
        head = f"{finding.code} {finding.rule.name}  {finding.layer or ''}{place}".rstrip()
        by = f"  ({'; '.join(owners)})" if owners else ""
        yield f"{head}{by}  {finding.message}"


def _owner(finding: Finding) -> str:
    region = f", region {finding.region}" if finding.region else ""
    return f"annotation {finding.annotation}{region}"


def _printable(text: str) -> str:
    """Lone surrogates, which JSON can carry and no stream can, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
