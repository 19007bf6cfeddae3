"""A layer's scores in report.html by article, length, position and names, and beside simple baselines.

It knows a layer of report.json as plain values. It computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from annotations.pages.render import safe
from training.reports.pages.elements import Values, count, estimate, folded, interval, sentence, share, signed, table
from training.reports.pages.pictures import bar, pictured, widest

ROWS = 50
"""Rows of a slice that the page shows; report.json has all of them."""
FEW = 10
"""More articles than these are folded."""


def slices(layer: Values) -> Iterator[str]:
    """Pieces of the part on kinds of documents and names."""
    if layer["slices"]:
        yield "<h3>Where it is good, and where not</h3>\n"
    for each in layer["slices"]:
        yield from _slice(each)


def _slice(found: Values) -> Iterator[str]:
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    said = ""
    if len(rows) > ROWS:
        said = f"; the {ROWS} with the lowest F1 of {len(rows):,}, all of which are in report.json"
        rows = sorted(rows, key=lambda row: row["f1"])[:ROWS]
    accuracy = any(row["accuracy"] is not None for row in rows)
    shown = [
        [
            f'<bdi class="name">{safe(str(row["name"]))}</bdi>',
            share(row["f1"]) + interval(row["low"], row["high"]) + bar(row["f1"], row["low"], row["high"]),
            share(row["precision"]),
            share(row["recall"]),
            *([share(row["accuracy"])] if accuracy else []),
            count(row["items"]),
            count(row["predicted"]),
            count(row["documents"]),
        ]
        for row in rows
    ]
    head = ["", "F1", "precision", "recall", *(["accuracy"] if accuracy else []), "gold", "predicted", "documents"]
    note = f"{found['title'][:1].upper()}{found['title'][1:]}" + (f" ({found['note']})" if found["note"] else "")
    text = table(safe(note + said), head, shown, kind="scores")
    many = found["by"] == "group" and len(rows) > FEW
    yield folded(f"{safe(note)}: {len(found['rows']):,} rows", text) if many else text


def baselines(layer: Values) -> Iterator[str]:
    """Pieces of the part on baselines; nothing where there are none."""
    if not layer["baselines"]:
        return
    overall = layer["overall"] or {"f1": None, "accuracy": None}
    scale = widest(end for each in layer["baselines"] for end in each["difference"].values())
    rows = [["<b>this result</b>", pictured(overall["f1"]), estimate(overall["accuracy"]), ""]]
    rows += [
        [
            f"{safe(each['name'])} <small>{safe(each['learned_from'] or '')}</small>",
            pictured(each["f1"]),
            estimate(each["accuracy"]),
            estimate(each["difference"], sign=True) + apart(each["difference"], scale),
        ]
        for each in layer["baselines"]
    ]
    yield "<h3>Beside simple baselines</h3>\n"
    caption = f"The differences’ picture runs from {signed(-scale)} to {signed(scale)}; the line in it is 0"
    yield table(caption, ["", "macro F1", "accuracy", "this result minus it"], rows, kind="scores")
    lines = "".join(f"<li>{sentence(each['conclusion'])}</li>\n" for each in layer["baselines"])
    yield f"<ul>\n{lines}</ul>\n"


def apart(found: Values, scale: float) -> str:
    """A difference with its interval as a picture around 0."""
    return bar(found["value"], found["low"], found["high"], bounds=(-scale, scale))
