"""One layer's part of report.html: scores, error kinds, confusion, curves, calibration, slices, baselines, lost gold.

It knows a layer of report.json as plain values, any of which may be missing. It computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from annotations.pages.render import safe
from training.reports.pages.elements import (
    NOTHING,
    Values,
    count,
    estimate,
    folded,
    named,
    remarks,
    section,
    several,
    share,
    table,
)
from training.reports.pages.pictures import parts, pictured
from training.reports.pages.probability_section import probabilities
from training.reports.pages.slice_section import baselines, slices
from training.reports.span_errors import ERRORS

KINDS = tuple(kind.value for kind in ERRORS)
EXAMPLES = 50
ITEMS = {"spans": "gold span", "sentences": "labelled sentence", "document": "gold label"}


def layer_section(name: str, layer: Values, place: int) -> str:
    """The section of the layer that stands in this place of the schema."""
    size = f"{several(layer['items'], ITEMS[layer['kind']])} in {several(layer['documents'], 'document')}"
    groups = f", {several(layer['groups'], 'group')}" if layer["groups"] else ""
    inside = [f"<p>{safe(size + groups)}</p>\n", remarks(layer["remarks"])]
    if layer["documents"]:
        inside += [*_scores(layer, place), *_errors(layer, place), *_confusion(layer, place)]
        inside += [*probabilities(layer, place), *slices(layer), *baselines(layer)]
    return section(f"layer-{place}", name, "".join([*inside, *_not_represented(layer)]))


def _scores(layer: Values, place: int) -> Iterator[str]:
    overall = layer["overall"]
    if overall is None:
        return
    yield "<h3>Scores</h3>\n"
    rows = [
        [
            named(layer, place, each["label"]),
            pictured(each["f1"]),
            estimate(each["precision"]),
            estimate(each["recall"]),
            count(each["support"]),
            count(each["predicted"]),
        ]
        for each in layer["per_label"]
    ]
    support, predicted = (sum(each[key] for each in layer["per_label"]) for key in ("support", "predicted"))
    average = f"<b>{safe(layer['average'])} average</b>"
    means = [pictured(overall["f1"]), estimate(overall["precision"]), estimate(overall["recall"])]
    rows.append([average, *means, count(support), count(predicted)])
    if layer["average"] != "macro":
        rows.append(["<b>macro average</b>", pictured(overall["macro_f1"]), "", "", "", ""])
    if overall["accuracy"]:
        rows.append(["<b>accuracy</b>", pictured(overall["accuracy"]), "", "", "", ""])
    yield table(
        "By label, with 95% bootstrap intervals by group of documents; the picture runs from 0 to 1",
        ["label", "F1", "precision", "recall", "gold", "predicted"],
        rows,
        kind="scores",
    )
    if len(overall["by_round"]) > 1:
        yield f"<p>F1 by round: {', '.join(map(share, overall['by_round']))}.</p>\n"
    yield from _library_tables(layer)


def _library_tables(layer: Values) -> Iterator[str]:
    titles = {
        "strict": "seqeval’s report, strict IOB2",
        "lenient": "seqeval’s report, default mode (lenient)",
        "sklearn": "scikit-learn’s report",
    }
    several_rounds = len(layer["tables"]) > 1
    shown = []
    for each in layer["tables"]:
        of = f", {each['round']}" if several_rounds else ""
        for key, title in titles.items():
            if found := each.get(key):
                name = safe(title + of)
                text = f'<pre tabindex="0" role="region" aria-label="{name}">{safe(found["text"])}</pre>\n'
                shown.append(folded(name, text))
    yield folded("The libraries’ own reports, by round", "".join(shown)) if several_rounds else "".join(shown)


def _summed(layer: Values) -> str:
    """Says so where one gold label is counted several times."""
    rounds = len(layer["overall"]["by_round"]) if layer["overall"] else 1
    return f"; counted over all {rounds} rounds" if rounds > 1 else ""


def _errors(layer: Values, place: int) -> Iterator[str]:
    found = layer["errors"]
    if found is None:
        return
    kinds = [kind for kind in KINDS if layer["kind"] == "spans" or kind in ("type", "missed")]
    numbers = {name: place for place, name in enumerate(each["name"] for each in layer["labels"])}

    def row(head: str, counts: Values, label: str | None) -> list[str]:
        shown = {kind: counts[kind] for kind in ("correct", *kinds)}
        cells = [_of_kind(counts[kind], kind, place, label, numbers) for kind in kinds]
        return [head + parts(shown), count(counts["correct"]), *cells]

    rows = [row(named(layer, place, label), counts, label) for label, counts in found["labels"].items()]
    yield "<h3>Kinds of errors</h3>\n"
    names = enumerate(("correct", *kinds))
    keys = "".join(f'<li><span class="patch part{at}"></span>{name}</li>' for at, name in names)
    yield f'<ul class="key">{keys}</ul>\n'
    caption = "Matched one to one, by gold label" + (
        "; spurious ones by predicted label" if "spurious" in kinds else ""
    )
    yield table(caption, ["label", "correct", *kinds], [*rows, row("<b>all</b>", found["all"], None)], kind="counts")


def _of_kind(number: int, kind: str, place: int, label: str | None, numbers: Mapping[str, int]) -> str:
    """How many errors of a kind a label has, or all labels have; the number leads to them."""
    if not number:
        return '<span class="zero">0</span>'
    side = "" if label is None else str(numbers.get(label, ""))
    gold, predicted = ("", side) if kind == "spurious" else (side, "")
    says = kind if label is None else f"{kind}, {'predicted' if kind == 'spurious' else 'gold'} {label}"
    return _button(number, (place, KINDS.index(kind), gold, predicted), says)


def _button(number: int, pick: tuple[object, ...], says: str) -> str:
    """A number that the page's script makes a button: layer, kind, gold and predicted label, "n" where there is none."""
    return f'<span class="pick" data-pick="{",".join(map(str, pick))}" data-says="{safe(says)}">{number:,}</span>'


def _confusion(layer: Values, place: int) -> Iterator[str]:
    found = layer["confusion"]
    if found is None or not found["labels"]:
        return
    names = [each["name"] for each in layer["labels"]]
    *labels, _ = found["labels"]
    keys = [*(str(names.index(label)) for label in labels), "n"]
    rows = []
    for gold, (label, counts) in enumerate(zip(found["labels"], found["counts"], strict=True)):
        total = sum(counts)
        cells = [
            _cell(number, total, (place, "", keys[gold], keys[predicted]), (label, other))
            for predicted, (other, number) in enumerate(zip(found["labels"], counts, strict=True))
        ]
        if total or gold < len(labels):
            rows.append([named(layer, place, label) if gold < len(labels) else safe(label), *cells])
    yield "<h3>Confusion</h3>\n"
    caption = "Rows are gold, columns predicted; the more colour, the larger the share of its row" + _summed(layer)
    heads = [safe(label).replace("_", "_<wbr>") for label in found["labels"]]
    yield table(caption, ["gold", *heads], rows, kind="matrix")


def _cell(number: int, total: int, pick: tuple[object, ...], labels: tuple[str, str]) -> str:
    """One number of the matrix, on a ground as dark as its share of the row; away from the diagonal it leads to its errors."""
    step = -(-10 * number // total) if total else 0
    same, nothing = pick[2] == pick[3], pick[2:] == ("n", "n")
    shown = NOTHING if nothing else f"{number:,}"
    if number and not same:
        shown = _button(number, pick, f"gold {labels[0]}, predicted {labels[1]}")
    return f'<span class="cell heat{step}{" same" if same and not nothing else ""}">{shown}</span>'


def _not_represented(layer: Values) -> Iterator[str]:
    found = layer["not_represented"]
    if found is None or not found["count"]:
        return
    yield "<h3>Gold that the tokens cannot represent</h3>\n"
    yield f"<p>{several(found['count'], 'gold label')}; nothing can find these, so recall cannot reach 1.</p>\n"
    if found["what"]:
        lines = "".join(f'<li dir="auto">{safe(each)}</li>\n' for each in found["what"][:EXAMPLES])
        more = f"<p>The first {EXAMPLES} of {len(found['what']):,}.</p>\n" if len(found["what"]) > EXAMPLES else ""
        yield folded("Which", f"<ul>\n{lines}</ul>\n{more}")
