"""An analysis as files: report.txt, report.json, report.md, report.html. It knows layout and no statistics."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from annotations.schema import Kind
from annotations.storage import fingerprint, write_text
from inference.verification import package
from training.reports.analysis import Analysis, LayerAnalysis
from training.reports.pages.report import write_page
from training.reports.report import COLUMNS, cell
from training.reports.span_errors import OUTCOMES
from training.run_directory import now, packages

TEXT, JSON, MARKDOWN, PAGE = "report.txt", "report.json", "report.md", "report.html"
SHOWN = 12


def write_report(analysis: Analysis, folder: Path, *, command: str, task_url: str | None = None) -> None:
    """Write the four files, each whole or not at all."""
    values = analysis.to_dict(about(analysis, command, task_url))
    write_text(folder / TEXT, text(analysis) + "\n")
    write_text(folder / MARKDOWN, markdown(analysis, values["about"]) + "\n")
    write_text(folder / JSON, compact(values))
    write_page(values, folder / PAGE)


def about(analysis: Analysis, command: str, task_url: str | None) -> dict[str, Any]:
    """What the numbers are of, and what made them."""
    source, training = analysis.source, analysis.source.training
    return {
        "name": source.name,
        "kind": source.kind,
        "version": source.version,
        "command": command,
        "created": now(),
        "standpoint": package(),
        "python": platform.python_version(),
        "packages": packages(),
        "data": {
            "files": [*source.files],
            "fingerprint": fingerprint(analysis.gold),
            "documents": len(analysis.gold),
            "groups": len({document.fold for document in analysis.gold}),
        },
        "training": {"files": [*training.files], "documents": training.documents} if training else None,
        "rounds": [*source.rounds],
        "resamples": analysis.resamples,
        "level": 95,
        "task_url": task_url,
    }


def compact(values: Mapping[str, Any]) -> str:
    """JSON with a line for each top-level key and, in tables, for each row: quick to read for programs, and diffable."""
    lines = [f"{_json(name)}: {_value(value)}" for name, value in values.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: Any) -> str:
    if not (isinstance(value, dict) and set(value) == {"columns", "rows"}):
        return _json(value)
    rows = ",\n".join(map(_json, value["rows"]))
    return f'{{"columns": {_json(value["columns"])}, "rows": [\n{rows}\n]}}'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def text(analysis: Analysis) -> str:
    """What evaluators know: seqeval's tables, strict and lenient, and scikit-learn's, for each round; then remarks."""
    several = len(analysis.texts) > 1
    rounds = [f"# {name}\n\n{report.text()}" if several else report.text() for name, report in analysis.texts.items()]
    notes = [
        *analysis.remarks,
        *(f"{name}: {told}" for name, layer in analysis.layers.items() for told in layer.remarks),
    ]
    remarks = ["\n".join(["Remarks:", *(f"- {remark}" for remark in notes)])] if notes else []
    return "\n\n".join([_title(analysis), *rounds, *remarks])


def _title(analysis: Analysis) -> str:
    return f"{analysis.source.name} scored on {', '.join(analysis.source.files)}."


def markdown(analysis: Analysis, told: Mapping[str, Any]) -> str:
    """For a pull request: scores with intervals, errors by kind, and what to know of them."""
    data, rounds = told["data"], told["rounds"]
    seeds = (
        f" Means over {len(rounds)} rounds ({', '.join(rounds)}); counts are summed over them."
        if len(rounds) > 1
        else ""
    )
    parts = [
        f"# Report of {cell(analysis.source.name)}",
        f"Command: `{told['command']}`",
        f"{data['documents']} documents in {data['groups']} groups of {', '.join(data['files'])} (fingerprint "
        f"{data['fingerprint']}). In brackets: 95% bootstrap intervals by group, {analysis.resamples} resamples.{seeds}",
    ]
    parts += ["\n".join(_layer(name, layer)) for name, layer in analysis.layers.items()]
    if analysis.remarks:
        parts.append("\n".join(["## Remarks", "", *(f"- {remark}" for remark in analysis.remarks)]))
    return "\n\n".join(parts)


def _layer(name: str, layer: LayerAnalysis) -> Iterator[str]:
    items = layer.items
    yield f"## {cell(name)} ({layer.layer.kind.value}), {items.documents} documents, {layer.gold_items} gold items"
    yield ""
    if overall := layer.overall:
        rest = f", accuracy {overall.accuracy}" if overall.accuracy else f", macro F1 {overall.macro_f1}"
        yield f"{_average(layer).capitalize()} F1 **{overall.f1}**, precision {overall.precision}, recall {overall.recall}{rest}."
        yield ""
        yield from _labels(layer)
        yield from _outcomes(layer)
        yield from _told(layer)
    yield from (f"- {remark}" for remark in layer.remarks)


def _average(layer: LayerAnalysis) -> str:
    return "micro" if layer.layer.kind is Kind.SPANS else "macro"


def _labels(layer: LayerAnalysis) -> Iterator[str]:
    yield f"| | {' | '.join(COLUMNS)} | support | predicted |"
    yield "|---|---|---|---|---:|---:|"
    for row in layer.per_label:
        yield f"| {cell(row.label)} | {row.precision} | {row.recall} | {row.f1} | {row.support} | {row.predicted:.1f} |"
    yield ""


def _outcomes(layer: LayerAnalysis) -> Iterator[str]:
    found = layer.outcomes()
    if found is None:
        return
    yield f"| | {' | '.join(OUTCOMES)} |"
    yield "|---|" + "---:|" * len(OUTCOMES)
    for label, counts in [("all", found["all"]), *found["labels"].items()]:
        yield f"| {cell(label)} | {' | '.join(str(counts[name]) for name in OUTCOMES)} |"
    yield ""


def _told(layer: LayerAnalysis) -> Iterator[str]:
    """The rest in sentences."""
    if layer.curves and (best := layer.curves.all.best()):
        yield (
            f"- highest {_average(layer)} F1 by threshold: {best['f1']:.3f} at {best['threshold']:.3f} "
            f"(precision {best['precision']:.3f}, recall {best['recall']:.3f}; chosen on these documents)"
        )
    if layer.calibration:
        found = layer.calibration.found
        yield f"- expected calibration error {found.ece}: mean probability {found.confidence:.3f}, {found.accuracy:.3f} right"
    if layer.temperature:
        yield f"- {layer.temperature.conclusion()}"
    yield from (f"- {baseline.conclusion()}" for baseline in layer.baselines)
    for cut in layer.slices:
        if len(cut.rows) > 1 and (cut.by != "group" or len(cut.rows) <= SHOWN):
            scores = ", ".join(f"{cell(str(row[0]))} {row[7]:.3f} ({row[2]})" for row in cut.rows if row[2])
            yield f"- F1 {cut.title} (gold items): {scores}"
    if layer.lost:
        yield f"- gold that could not be represented: {len(layer.lost)}"
