"""SAVE.html of `standpoint compare`: verdicts, differences with their intervals, errors fixed and introduced.

It knows the values of SAVE.json. It computes nothing and knows no documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from annotations.pages.render import safe
from annotations.storage import write_text
from training.reports.changed_errors import FIXED, INTRODUCED, KEPT, MISSED, SPURIOUS
from training.reports.pages.elements import (
    NOTHING,
    Values,
    chip,
    colours,
    count,
    interval,
    page,
    remarks,
    section,
    several,
    share,
    signed,
    table,
)
from training.reports.pages.error_list import ErrorList, Row, error_list
from training.reports.pages.pictures import bar, widest
from training.reports.pages.report import navigation

KINDS = (MISSED, SPURIOUS)


def write_comparison_page(values: Values, path: Path) -> None:
    """Write the page of a comparison, the plain values of SAVE.json, whole or not at all."""
    write_text(path, comparison_page(values))


def comparison_page(values: Values) -> str:
    """The page as one string."""
    pairs = values["pairs"]
    names = [f"{pair['first']} and {pair['second']}" for pair in pairs]
    labels = _all_labels(pairs)
    main = [*_about(values), *(_pair(pair, labels, place) for place, pair in enumerate(pairs))]
    links = [
        link
        for place, name in enumerate(names)
        for link in ((f"pair-{place}", name), (f"errors-{place}", f"{name}: errors"))
    ]
    return page(
        f"Comparison of {several(len(values['results']), 'result')}",
        navigation=navigation(links),
        main="".join(main),
        colours=colours(
            [{"name": label, "color": values["colors"].get(layer, {}).get(label)} for label in each]
            for layer, each in labels.items()
        ),
    )


def _all_labels(pairs: Sequence[Values]) -> dict[str, list[str]]:
    """Layer to its labels, over all pairs, so that a label has one colour on the page."""
    found: dict[str, dict[str, None]] = {}
    for layer in (layer for pair in pairs for layer in pair["layers"]):
        found.setdefault(layer["layer"], {}).update(dict.fromkeys(layer["errors"]["by_label"]))
    return {layer: list(labels) for layer, labels in found.items()}


def _about(values: Values) -> Iterator[str]:
    yield '<dl class="about">\n'
    for name, result in values["results"].items():
        rounds = f" ({', '.join(result['rounds'])})" if len(result["rounds"]) > 1 else ""
        yield f'<div><dt>{safe(name)}</dt><dd dir="auto">{safe(result["path"] + rounds)}</dd></div>\n'
    yield f'<div><dt>Command</dt><dd dir="auto">{safe(values["command"])}</dd></div>\n</dl>\n'
    yield remarks(values["remarks"])
    if len(values["pairs"]) > 1:
        yield f"<p>{len(values['pairs'])} pairs are compared: of twenty intervals, one misses by chance.</p>\n"


def _pair(pair: Values, labels: Mapping[str, Sequence[str]], place: int) -> str:
    one, other = pair["first"], pair["second"]
    inside = [_verdicts(pair), _differences(pair), _counts(pair, labels), remarks(pair["remarks"])]
    found = errors_of(pair, labels)
    shown = section(f"pair-{place}", f"{one} and {other}", "".join(inside))
    return shown + error_list(found, f"errors-{place}", f"Errors that {one} fixes or introduces, beside {other}")


def _verdicts(pair: Values) -> str:
    lines = "".join(f"<li>{safe(layer['conclusion'])}</li>\n" for layer in pair["layers"])
    return f'<ul class="verdicts">\n{lines}</ul>\n' if lines else "<p>Nothing could be compared.</p>\n"


def _differences(pair: Values) -> str:
    if not pair["layers"]:
        return ""
    one, other = pair["first"], pair["second"]
    ends = [[layer["difference"], *(layer["interval"] or ())] for layer in pair["layers"]]
    scale = widest(end for each in ends for end in each)
    rows = [_difference(layer, one, other, scale) for layer in pair["layers"]]
    caption = (
        f"Paired bootstrap by group of documents; the picture runs from {signed(-scale)} ({safe(other)} is better) to "
        f"{signed(scale)} ({safe(one)} is better), the line in it is 0"
    )
    head = ["layer", f"{one} − {other}, 95% interval", one, other, "measure", f"{one} higher in", "documents", "groups"]
    return table(caption, list(map(safe, head)), rows, kind="scores")


def _difference(layer: Values, one: str, other: str, scale: float) -> list[str]:
    low, high = layer["interval"] or (None, None)
    picture = bar(layer["difference"], low, high, bounds=(-scale, scale))
    better = NOTHING if layer["better"] is None else f"{layer['better']:.1%}"
    return [
        safe(layer["layer"]),
        signed(layer["difference"]) + interval(low, high, sign=True) + picture,
        share(layer["scores"][one]["mean"]),
        share(layer["scores"][other]["mean"]),
        safe(layer["measure"]),
        better,
        count(layer["documents"]),
        count(layer["groups"]),
    ]


def _counts(pair: Values, labels: Mapping[str, Sequence[str]]) -> str:
    one, other = pair["first"], pair["second"]
    places = list(labels)
    rows = []
    for layer in pair["layers"]:
        name, errors = layer["layer"], layer["errors"]
        place = places.index(name)
        rows.append([f"<b>{safe(name)}</b>", *_numbers(errors)])
        rows += [
            [chip(label, place, labels[name].index(label)), *_numbers(each)]
            for label, each in errors["by_label"].items()
            if any(each.values())
        ]
    caption = (
        "Errors: each gold label missed counts one, and so does each span that is not gold. Of a result with several seeds, "
        "what more than half of them say counts"
    )
    head = ["", f"{one} fixes", f"{one} introduces", f"{one} makes fewer", f"both {one} and {other} make"]
    return table(caption, list(map(safe, head)), rows, kind="counts") if rows else ""


def _numbers(errors: Values) -> list[str]:
    fixed, introduced, kept = (errors[key] for key in (FIXED, INTRODUCED, KEPT))
    apart = f"{fixed - introduced:+,}".replace("-", "−") if fixed != introduced else "0"
    return [count(fixed), count(introduced), apart, count(kept)]


def errors_of(pair: Values, labels: Mapping[str, Sequence[str]]) -> ErrorList:
    """The changed errors of a pair as the list shows them."""
    sides = ("gold", pair["first"], pair["second"])
    documents: dict[tuple[Any, ...], int] = {}
    sentences: dict[tuple[Any, ...], int] = {}
    rows: list[Row] = []
    for layer in pair["layers"]:
        for error in layer["errors"]["changed"]:
            known = (error["document"], None, error["task"], None, error["target"])
            document = documents.setdefault(known, len(documents))
            around = error["sentence"]
            sentence = sentences.setdefault((document, around["start"], around["text"]), len(sentences))
            rows.append(_row(error, layer, list(labels), labels[layer["layer"]], sides, sentence))
    shown = [{"name": name, "labels": each, **_nature(pair, name)} for name, each in labels.items()]
    return ErrorList(
        sides=sides,
        layers=shown,
        kinds=KINDS,
        changes=(f"{pair['first']} fixes", f"{pair['first']} introduces"),
        documents=list(documents),
        sentences=list(sentences),
        errors=rows,
    )


def _nature(pair: Values, name: str) -> dict[str, bool]:
    kind = next((layer["kind"] for layer in pair["layers"] if layer["layer"] == name), "spans")
    return {"whole": kind != "spans", "targeted": kind != "spans"}


def _row(
    error: Values, layer: Values, layers: Sequence[str], labels: Sequence[str], sides: Sequence[str], sentence: int
) -> Row:
    marks = [
        [[mark["start"], mark["end"], labels.index(mark["label"]), None] for mark in error["said"][side]]
        for side in sides
    ]
    change = (FIXED, INTRODUCED).index(error["change"])
    return [layers.index(layer["layer"]), KINDS.index(error["kind"]), change, sentence, 1, marks]
