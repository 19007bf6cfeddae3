"""A layer's probabilities in report.html: scores by threshold, precision and recall, reliability, temperature scaling.

It knows a layer of report.json as plain values. It computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from annotations.pages.render import safe
from training.reports.pages.elements import Values, count, estimate, folded, named, sentence, several, share, table
from training.reports.pages.pictures import Line, curve, reliability


def probabilities(layer: Values, place: int) -> Iterator[str]:
    """Pieces of the part on probabilities, which says so where there are none."""
    found, calibration = layer["curve"], layer["calibration"]
    if found is None and calibration is None:
        yield "<h3>Probabilities</h3>\n<p>The predictions carry no probabilities: no curve and no calibration.</p>\n"
        return
    yield "<h3>Probabilities</h3>\n"
    figures = "".join([*_curve_figures(layer, found), *_calibration_figure(calibration)])
    yield f'<div class="figures">\n{figures}</div>\n'
    if found:
        best = found["best"]
        yield (
            f"<p>Dropping predictions below {best['threshold']:.2f} gives the highest {layer['average']} F1, {best['f1']:.3f} "
            f"(precision {best['precision']:.3f}, recall {best['recall']:.3f}), chosen on these same documents.</p>\n"
        )
        yield folded("Precision and recall by threshold, all numbers", "".join(_curve_tables(layer, place, found)))
    if calibration:
        yield from _calibration_text(calibration)


def _curve_figures(layer: Values, found: Values | None) -> Iterator[str]:
    if not found:
        return
    every, f1 = found["all"], f"{layer['average']} F1"
    styles = {"precision": "first", "recall": "second", "f1": "third"}
    lines = [
        Line(f1 if key == "f1" else key, [*zip(every["threshold"], every[key], strict=True)], style)
        for key, style in styles.items()
    ]
    first, last = ({key: every[key][end] for key in ("threshold", *styles)} for end in (0, -1))
    says = "; ".join(
        f"at threshold {end['threshold']:.2f} precision {end['precision']:.3f}, recall {end['recall']:.3f}, {f1} {end['f1']:.3f}"
        for end in (first, last)
    )
    yield curve(
        lines,
        says=f"By threshold: {says}.",
        across="threshold",
        up="score",
        name=f"Scores by threshold ({layer['average']} averages)",
    )
    points = [*zip(every["recall"], every["precision"], strict=True)]
    yield curve(
        [Line("all labels", points, "first")],
        says=f"Precision against recall: {says}.",
        across="recall",
        up="precision",
        name=f"Precision and recall ({layer['average']} averages)",
    )


def _curve_tables(layer: Values, place: int, found: Values) -> Iterator[str]:
    for label, points in {"": found["all"], **found["labels"]}.items():
        columns = ("threshold", "precision", "recall", "f1", "kept")
        rows = [
            [f"{threshold:.2f}", share(precision), share(recall), share(f1), count(kept)]
            for threshold, precision, recall, f1, kept in zip(*(points[key] for key in columns), strict=True)
        ]
        name = named(layer, place, label) if label else f"all labels, {layer['average']} averages"
        yield table(name, ["threshold", "precision", "recall", "F1", "predictions kept"], rows, kind="counts")


def _calibration_figure(found: Values | None) -> Iterator[str]:
    if not found or not found["bins"]:
        return
    series = {"as predicted": found["bins"]}
    if scaled := _useful(found):
        series[scaled["title"]] = scaled["bins"]
    worst = max(found["bins"], key=lambda each: abs(each["accuracy"] - each["confidence"]))
    says = (
        f"Reliability: expected calibration error {found['ece']['value']:.3f}; the bin furthest from the diagonal has "
        f"confidence {worst['confidence']:.3f} and accuracy {worst['accuracy']:.3f}."
    )
    yield reliability(series, says=says, name="Reliability: how often a prediction is right")


def _useful(found: Values) -> Values | None:
    """Temperature scaling with a title, where it is of use: bins of one that is not would look like praise."""
    scaled = found["temperature"]
    if not scaled or scaled["problem"]:
        return None
    # Documents that were learned from play no part in it.
    some = f" ({several(scaled['items'], 'prediction')})" if scaled["items"] != found["items"] else ""
    return {**scaled, "title": f"with temperature scaling{some}"}


def _calibration_text(found: Values) -> Iterator[str]:
    without = f"; {several(found['without'], 'prediction')} without" if found["without"] else ""
    mean = ""
    if found["confidence"] is not None and found["accuracy"] is not None:
        mean = f" Mean confidence {share(found['confidence'])}, accuracy {share(found['accuracy'])}."
    items = f"{several(found['items'], 'prediction')} with a probability"
    yield f"<p>Expected calibration error (ECE) {estimate(found['ece'])}, {items}{without}.{mean}</p>\n"
    if scaled := found["temperature"]:
        written = f" Written to {scaled['written']}." if scaled["written"] else ""
        yield f"<p>{sentence(scaled['conclusion'])}{safe(written)}</p>\n"
    tables = [_bins("Reliability, all numbers", found["bins"])]
    if scaled := _useful(found):
        tables.append(_bins(f"Reliability {scaled['title']}", scaled["bins"]))
    yield folded("Reliability, all numbers", "".join(tables))


def _bins(title: str, bins: Sequence[Values]) -> str:
    rows = [
        [
            f"{each['low']:.2f}–{each['high']:.2f}",
            count(each["count"]),
            share(each["confidence"]),
            share(each["accuracy"]),
        ]
        for each in bins
    ]
    return table(title, ["bin", "predictions", "mean confidence", "accuracy"], rows, kind="counts")
