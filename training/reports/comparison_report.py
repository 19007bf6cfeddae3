"""Runs a comparison from folders to table: which gold counts, and where the table goes. It knows no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase

from annotations.document import Document
from annotations.errors import DocumentError, InputError
from annotations.reading import annotated_documents
from annotations.schema import Schema
from training.reports.comparison import compare_results, markdown
from training.reports.pages.comparison import write_comparison_page
from training.reports.pairs import joint_schema
from training.reports.results import Result, read_results
from training.run_directory import write_table


def run(
    paths: Sequence[Path],
    *,
    gold: Sequence[Path] = (),
    schema: Path | None = None,
    command: str,
    save: Path | None = None,
) -> str:
    """Compare every pair of results, write table and page to `save` where asked for, return the text.

    Raises:
        InputError: fewer than two results, a folder without one, no gold, or nothing in common.
    """
    if not 2 <= len(paths) <= len(ascii_uppercase):
        raise DocumentError("results", f"two to {len(ascii_uppercase)} can be compared, {len(paths)} given")
    results = dict(zip(ascii_uppercase, read_results(paths), strict=False))
    joint = joint_schema(results.values(), Schema.load(schema) if schema else None)
    truth, remarks = (annotated_documents(gold, joint)[0], []) if gold else told_gold(results)
    pairs = compare_results(results, truth, joint)
    remarks = [*(f"{name}: {remark}" for name, result in results.items() for remark in result.remarks), *remarks]
    legend = [f"- {name}: {result.name} ({_rounds(result)})" for name, result in results.items()]
    about = [
        f"Command: `{command}`",
        "\n".join(legend),
        f"{len(truth)} gold documents{' of ' + ', '.join(map(str, gold)) if gold else ''}. Intervals: paired bootstrap by "
        "group of documents, 2000 resamples; the seeds of a result are averaged in each.",
        *(["\n".join(f"- {remark}" for remark in remarks)] if remarks else []),
    ]
    text = markdown(pairs, about)
    if save:
        named = {name: {"path": result.name, "rounds": [*result.rounds]} for name, result in results.items()}
        colors = {
            name: {label: spec.color for label, spec in layer.labels.items()} for name, layer in joint.layers.items()
        }
        values = {
            "command": command,
            "results": named,
            "colors": colors,
            "remarks": remarks,
            "pairs": [pair.to_dict() for pair in pairs],
        }
        write_table(save, text, values)
        write_comparison_page(values, save.with_name(save.name + ".html"))
    return text


def _rounds(result: Result) -> str:
    return "one run" if [*result.rounds] == ["run"] else ", ".join(name.replace("-", " ") for name in result.rounds)


def told_gold(results: Mapping[str, Result]) -> tuple[list[Document], list[str]]:
    """The gold that the results' own folders name, the first one's where two differ; and what to know of it.

    Raises:
        DocumentError: none of them names any that can be read.
    """
    found: dict[str, Document] = {}
    remarks: list[str] = []
    problems: list[str] = []
    for name, result in results.items():
        try:
            documents, changed = _gold_of(result)
        except InputError as error:
            problems += [f"{name}, {result.name}: {problem}" for problem in error.problems]
            continue
        remarks += [f"{name}: {remark}" for remark in changed]
        if other := _merged(found, documents):
            told = "gold labels differ from those of an earlier result, which count; name others with --gold"
            remarks.append(f"{name}: in {other} documents the {told}")
    if not found:
        raise DocumentError("gold", [*problems, "name the annotated files with --gold FILE"])
    return [*found.values()], [*remarks, *(f"no gold from {problem}" for problem in problems)]


def _gold_of(result: Result) -> tuple[list[Document], list[str]]:
    if result.gold is None or result.schema is None:
        raise DocumentError(result.name, "does not tell what it was scored on")
    return result.gold.read(result.schema)


def _merged(found: dict[str, Document], documents: Sequence[Document]) -> int:
    """Add what is new, layer by layer; returns in how many documents a layer is labelled in another way."""
    other = 0
    for document in documents:
        before = found.get(document.id)
        if before is None or (before.text, before.target) != (document.text, document.target):
            found.setdefault(document.id, document)
            continue
        shared = set(before.labels) & set(document.labels)
        other += any(before.labels[layer] != document.labels[layer] for layer in shared)
        found[document.id] = before.with_labels({**document.labels, **before.labels})
    return other
