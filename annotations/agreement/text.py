"""Agreement as plain text for a terminal. It computes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from annotations.agreement.disagreements import plain
from annotations.agreement.measures import DEFINITIONS, TITLES, Measure, Measures
from annotations.agreement.overview import Agreement, LayerAgreement

FEW = 20

Row = tuple[str, ...]


def agreement_text(found: Agreement) -> str:
    """Per layer its measures, labels and pairs, each with its 95% interval; then every disagreement in context."""
    counted = dict.fromkeys(name for layer in found.layers.values() for name in _names(layer))
    parts = [_head(found), *("\n".join(_layer(name, layer)) for name, layer in found.layers.items())]
    parts.append("\n".join(f"{TITLES[name]}: {DEFINITIONS[name]}" for name in counted))
    listed = [f"{number}  {item}" for number, item in enumerate(found.disagreements, 1)]
    parts.append("\n".join([several(len(listed), "disagreement"), *listed]))
    return "\n\n".join(parts)


def _names(layer: LayerAgreement) -> Iterator[str]:
    yield from layer.measures
    for measures in layer.labels.values():
        yield from measures


def _head(found: Agreement) -> str:
    lines = [
        f"{', '.join(found.annotators)}: {several(len(found.documents), 'document')} read by two or more",
        *remarks(found),
    ]
    return plain("\n".join(lines))


def remarks(found: Agreement) -> Iterator[str]:
    """How the measures and intervals came about, one sentence each."""
    if len(found.annotators) > 2:
        yield "F1, same label and kappa are means over all pairs of annotators."
    yield (
        f"Intervals: 95%, percentile bootstrap by article ({found.resamples} resamples, seed {found.seed}); "
        "all documents of an article are drawn together."
    )
    if any(0 < layer.articles < FEW for layer in found.layers.values()):
        yield f"With fewer than about {FEW} articles such intervals are too narrow."


def several(count: int, noun: str) -> str:
    """`1 document`, `2 documents`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def summary(layer: LayerAgreement) -> str:
    """What a layer's measures rest on, in words."""
    head = f"{layer.kind}, {several(layer.documents, 'document')} of {several(layer.articles, 'article')}"
    if layer.incomplete:
        head += f"; {several(layer.incomplete, 'sentence')} not labelled by everyone"
    if layer.alone:
        head += f"; annotated by one alone and left out: {', '.join(layer.alone)}"
    return head


def _layer(name: str, layer: LayerAgreement) -> Iterator[str]:
    yield f"{name} ({plain(summary(layer))})"
    rows = [(TITLES[key], *cells(measure)) for key, measure in layer.measures.items()]
    yield from table([("measure", "value", "95% interval", "items", ""), *rows])
    for rows in (wide("label", given(layer), layer.marked), wide("pair", paired(layer), {})):
        if len(rows) > 1:
            yield ""
            yield from table(rows)


def given(layer: LayerAgreement) -> dict[str, Measures]:
    """The labels that anybody gave."""
    return {label: each for label, each in layer.labels.items() if any(measure.items for measure in each.values())}


def paired(layer: LayerAgreement) -> dict[str, Measures]:
    """The pairs by name."""
    return {" and ".join(pair): each for pair, each in layer.pairs.items()}


def cells(measure: Measure) -> Row:
    """Value, interval, items and note."""
    return (*measure.shown, str(measure.items), measure.note)


def wide(head: str, rows: Mapping[str, Measures], marked: Mapping[str, Mapping[str, int]]) -> list[Row]:
    """One row for each label or pair: its measures, the items of the first, and how often each annotator gave the label."""
    titles = [TITLES[name] for name in next(iter(rows.values()), {})]
    who = list(next(iter(marked.values()), ()))
    lines: list[Row] = [(head, *titles, "items", *map(plain, who))]
    for name, each in rows.items():
        values = [
            "{} ({})".format(*measure.shown) if measure.interval else measure.shown[0] for measure in each.values()
        ]
        items = str(next(iter(each.values())).items)
        lines.append((plain(name), *values, items, *map(str, marked.get(name, {}).values())))
    return lines


def table(rows: Sequence[Row]) -> list[str]:
    """Lines with the columns under one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
