"""report.html: report.json as one page that needs nothing from outside. It computes nothing and knows no documents.

What the page shows is documented with report.json; any part that is missing there is named on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from annotations.pages.render import safe
from annotations.storage import write_text
from training.reports.pages.elements import Values, colours, count, estimate, page, remarks, section, several, table
from training.reports.pages.error_list import ErrorList, Row, error_list, task_link
from training.reports.pages.layer_section import KINDS, layer_section
from training.reports.pages.pictures import pictured

ERRORS = "errors"


def write_page(analysis: Mapping[str, Any], path: Path) -> None:
    """Write the report page of `analysis`, the plain values of report.json, whole or not at all."""
    write_text(path, report_page(analysis))


def report_page(analysis: Values) -> str:
    """The page as one string; characters that UTF-8 cannot hold are shown by name."""
    layers = analysis["layers"]
    main = [
        *_about(analysis["about"]),
        remarks(analysis["remarks"]),
        _overview(layers),
        *(layer_section(name, layer, place) for place, (name, layer) in enumerate(layers.items())),
        error_list(errors_of(analysis), ERRORS, "Every error in its sentence"),
    ]
    links = [(f"layer-{place}", name) for place, name in enumerate(layers)]
    links.append((ERRORS, several(len(analysis["errors"]["rows"]), "error")))
    return page(
        f"Report: {analysis['about']['name']}",
        navigation=navigation([("overview", "Overview"), *links]),
        main="".join(main),
        colours=colours(layer["labels"] for layer in layers.values()),
    )


def navigation(links: list[tuple[str, str]]) -> str:
    """Links to parts of the page: identifier and text."""
    return "<ul>\n" + "".join(f'<li><a href="#{key}">{safe(text)}</a></li>\n' for key, text in links) + "</ul>\n"


def _about(about: Values) -> Iterator[str]:
    data, training, rounds = about["data"], about["training"], about["rounds"]
    size = f"{several(data['documents'], 'document')} in {several(data['groups'], 'group')}"
    said = {
        "What": f"{about['kind']}" + (f", version {about['version']}" if about["version"] else ""),
        "Scored on": f"{', '.join(data['files'])}: {size}",
        "Learned from": "not known",
        "Rounds": ", ".join(rounds) if len(rounds) > 1 else "",
        "Intervals": f"{about['level']}%, bootstrap by group of documents, {about['resamples']:,} resamples",
        "Made by": " ".join(filter(None, ("Standpoint", about["standpoint"]))) + f", {about['created']}",
        "Command": about["command"],
    }
    if training:
        said["Learned from"] = f"{', '.join(training['files'])}: {several(training['documents'], 'document')}"
    lines = "".join(
        f'<div><dt>{name}</dt><dd dir="auto">{safe(text)}</dd></div>\n' for name, text in said.items() if text
    )
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items() if version)
    versions = f"Python {about['python']}, {packages}; data {data['fingerprint']}"
    yield f'<dl class="about">\n{lines}<div><dt>Versions</dt><dd>{safe(versions)}</dd></div>\n</dl>\n'


def _overview(layers: Mapping[str, Values]) -> str:
    rows = [_overview_row(name, layer, place) for place, (name, layer) in enumerate(layers.items())]
    shown = table(
        "Every layer, with 95% intervals; the picture runs from 0 to 1",
        ["layer", "score", "measure", "accuracy", "gold", "documents"],
        rows,
        kind="scores",
    )
    return section("overview", "Overview", shown)


def _overview_row(name: str, layer: Values, place: int) -> list[str]:
    overall = layer["overall"]
    link = f'<a href="#layer-{place}">{safe(name)}</a>'
    size = [count(layer["items"]), count(layer["documents"])]
    if overall is None:
        return [link, "not scored", "", "", *size]
    accuracy = estimate(overall["accuracy"]) if overall["accuracy"] else ""
    return [link, pictured(overall["f1"]), f"{safe(layer['average'])} F1", accuracy, *size]


def errors_of(analysis: Values) -> ErrorList:
    """The errors of report.json as the list shows them."""
    layers = analysis["layers"]
    pattern = analysis["about"]["task_url"]
    documents = [
        [identity, group, task, task_link(pattern, task), target]
        for identity, group, task, target in analysis["documents"]["rows"]
    ]
    shown = [
        {
            "name": name,
            "labels": [each["name"] for each in layer["labels"]],
            "whole": layer["kind"] != "spans",
            "targeted": layer["targeted"],
        }
        for name, layer in layers.items()
    ]
    rows = [_row(dict(zip(analysis["errors"]["columns"], row, strict=True))) for row in analysis["errors"]["rows"]]
    return ErrorList(
        sides=("gold", "predicted"),
        layers=shown,
        kinds=KINDS,
        changes=(),
        documents=documents,
        sentences=analysis["sentences"]["rows"],
        errors=rows,
        rounds=len(analysis["about"]["rounds"]),
    )


def _row(error: Values) -> Row:
    gold = [error["gold_start"], error["gold_end"], error["gold_label"], None]
    predicted = [error["predicted_start"], error["predicted_end"], error["predicted_label"], error["score"]]
    sides = [[side] if side[2] is not None else [] for side in (gold, predicted)]
    return [error["layer"], error["kind"], None, error["sentence"], error["rounds"], sides]
