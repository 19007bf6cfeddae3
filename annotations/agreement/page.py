"""An agreement as one self-contained HTML page: the measures, every disagreement, and all readings side by side.

It computes nothing and needs nothing from outside, no script included. What a browser holds in the cells `.text` of one
annotator, without the elements of class `tag`, is the document's text, as in `annotations.pages.render`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from string import Template

from annotations.agreement.disagreements import Disagreement
from annotations.agreement.measures import DEFINITIONS, TITLES
from annotations.agreement.overview import Agreement, LayerAgreement
from annotations.agreement.readings import Shared
from annotations.agreement.text import cells, given, paired, remarks, several, summary, wide
from annotations.document import Document, Label, Span
from annotations.pages.markup import Break, Close, Open, heading, walk
from annotations.pages.render import closing, exact, legend, opening, safe, style
from annotations.schema import Kind, Layer, Schema

MANY = 4

Numbered = tuple[int, Disagreement]


def agreement_page(found: Agreement, schema: Schema, title: str) -> Iterator[str]:
    """Pieces of the page; join them, or write them one by one as UTF-8. One document in memory at a time.

    Disagreements are numbered from 1; number 12 is `#i12` in the list and `#r12` in the text.
    """
    template = files("annotations.pages").joinpath("page.html").read_text("utf-8")
    own = files("annotations.agreement").joinpath("agreement.css").read_text("utf-8")
    head, tail = template.split("$documents")
    rules = style(schema) + own + "".join(_hiding(number) for number in range(len(schema.layers)))
    aside = "".join(_aside(found, schema))
    yield Template(head).substitute(title=safe(title), style=rules, legend=aside)
    yield from _measuring(found)
    numbered: dict[str, list[Numbered]] = {}
    for number, item in enumerate(found.disagreements, 1):
        numbered.setdefault(item.document, []).append((number, item))
    for number, document in enumerate(found.documents, 1):
        yield from _article(document, numbered.get(document.first.id, []), schema, number)
    if not found.documents:
        yield '<p class="empty">No document was read by two annotators.</p>\n'
    yield tail


def _hiding(number: int) -> str:
    """The rules by which a layer's box hides its disagreements, in the list and in the text."""
    off, mark = f"body:has(#show-{number}:not(:checked))", f".dispute.k{number}"
    hidden = f"{off} li.k{number}, {off} {mark} > .number, {off} tr{mark} .number {{display:none}}\n"
    return f"{hidden}{off} {mark} {{border:0}}\n"


def _aside(found: Agreement, schema: Schema) -> Iterator[str]:
    size = several(len(found.disagreements), "disagreement")
    yield f'<nav class="disputes" aria-label="Disagreements">\n<fieldset class="filters"><legend>{size}</legend>\n'
    for number, name in enumerate(schema.layers):
        here = sum(item.layer == name for item in found.disagreements)
        box = f'<input type="checkbox" id="show-{number}" checked>'
        yield f"<label>{box}{safe(name)}: {here}</label>\n"
    yield '<label><input type="checkbox" id="only">hide paragraphs that all read alike</label>\n</fieldset>\n<ol>\n'
    titles = {document.first.id: heading(document.first) for document in found.documents}
    for number, item in enumerate(found.disagreements, 1):
        yield from _item(number, item, titles[item.document], schema)
    yield "</ol>\n</nav>\n<details><summary>Labels</summary>\n"
    yield from legend(schema)
    yield "</details>\n"


def _item(number: int, item: Disagreement, title: str, schema: Schema) -> Iterator[str]:
    layer = schema.layers[item.layer]
    index = list(schema.layers).index(item.layer)
    yield f'<li class="k{index}" id="i{number}"><a href="#r{number}"><span class="number">{number}</span> '
    yield f'{safe(item.layer)}, <span dir="auto">{safe(title)}</span></a>\n<p class="said">'
    for who, labels in item.labels.items():
        said = " ".join(_chip(label, item, layer, index) for label in labels) or "nothing"
        yield f'<span><span dir="auto">{safe(who)}</span>: {said}</span> '
    yield '</p>\n<p class="context" dir="auto">'
    yield f"{_line(item.before)}<b>{_line(item.text)}</b>{_line(item.after)}</p></li>\n"


def _chip(label: Label, item: Disagreement, layer: Layer, index: int) -> str:
    words = f" “{safe(item.words(label))}”" if item.words(label) else ""
    return f'<span class="verdict l{index}-{layer.names.index(label.label)}">{safe(label.label)}{words}</span>'


def _line(text: str) -> str:
    """White space folded, but kept at both ends."""
    folded = " ".join(text.split())
    return safe((" " if text[:1].isspace() else "") + folded + (" " if text[-1:].isspace() and folded else ""))


def _measuring(found: Agreement) -> Iterator[str]:
    yield '<section class="measuring">\n<h2>Agreement between '
    yield ", ".join(f'<span dir="auto">{safe(who)}</span>' for who in found.annotators) + "</h2>\n"
    for remark in remarks(found):
        yield f"<p>{safe(remark)}</p>\n"
    for name, layer in found.layers.items():
        yield f"<h2>{safe(name)}</h2>\n<p>{safe(summary(layer))}</p>\n"
        yield from _layer_tables(layer)
    for document, who in found.single:
        yield f'<p>Read by {safe(who)} alone and left out: <span dir="auto">{safe(document)}</span></p>\n'
    yield "</section>\n"


def _layer_tables(layer: LayerAgreement) -> Iterator[str]:
    yield '<div class="scroll"><table class="measures">\n<thead><tr>'
    yield "".join(f'<th scope="col">{head}</th>' for head in ("measure", "value", "95% interval", "items"))
    yield "</tr></thead>\n<tbody>\n"
    for key, measure in layer.measures.items():
        value, bounds, items, note = cells(measure)
        extra = f' <span class="note">({safe(note)})</span>' if note else ""
        row = f'<th scope="row" title="{safe(DEFINITIONS[key])}">{safe(TITLES[key])}</th><td>{value}</td>'
        yield f"<tr>{row}<td>{bounds}{extra}</td><td>{items}</td></tr>\n"
    yield "</tbody></table></div>\n"
    for rows in (wide("label", given(layer), layer.marked), wide("pair", paired(layer), {})):
        if len(rows) > 1:
            yield from _wide_table(rows)


def _wide_table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    head, *body = rows
    yield '<div class="scroll"><table class="measures">\n<thead><tr>'
    yield "".join(f'<th scope="col">{safe(cell)}</th>' for cell in head) + "</tr></thead>\n<tbody>\n"
    for name, *values in body:
        yield f'<tr><th scope="row">{safe(name)}</th>' + "".join(f"<td>{safe(v)}</td>" for v in values) + "</tr>\n"
    yield "</tbody></table></div>\n"


def _article(document: Shared, items: Sequence[Numbered], schema: Schema, number: int) -> Iterator[str]:
    first = document.first
    yield f'<article aria-labelledby="d{number}"{"" if items else " class=agreed"}>\n<header>\n'
    yield f'<h2 id="d{number}" dir="auto">{safe(heading(first))}</h2>\n'
    if heading(first) != first.id:
        yield f'<p class="id">{safe(first.id)}</p>\n'
    if first.target is not None:
        yield f'<dl><div class="claim"><dt>target</dt><dd dir="auto">{safe(first.target)}</dd></div></dl>\n'
    many = len(document.by) >= MANY
    yield f'</header>\n<div{" class=scroll tabindex=0" if many else ""}><table class="readings{" many" if many else ""}">\n'
    heads = "".join(f'<th scope="col" dir="auto">{safe(who)}</th>' for who in document.by)
    yield f"<thead><tr>{heads}</tr></thead>\n<tbody>\n"
    for name in schema.of_kind(Kind.DOCUMENT):
        yield from _verdicts(document, name, items, schema)
    yield from _paragraphs(document, items, schema)
    yield "</tbody></table></div>\n</article>\n"


def _verdicts(document: Shared, name: str, items: Sequence[Numbered], schema: Schema) -> Iterator[str]:
    index = list(schema.layers).index(name)
    numbers = [number for number, item in items if item.layer == name]
    classes = f'class="verdicts dispute k{index}" id="r{numbers[0]}"' if numbers else 'class="verdicts"'
    yield f"<tr {classes}>"
    for who, reading in document.by.items():
        label = reading.labels.get(name)
        shown = "not annotated"
        if isinstance(label, Label):
            at = schema.layers[name].names.index(label.label)
            shown = f'<span class="verdict l{index}-{at}">{safe(label.label)}</span>'
        link = "".join(_number(number) for number in numbers)
        yield f'<td data-who="{safe(who)}">{link} {safe(name)}: {shown}</td>'
    yield "</tr>\n"


def _number(number: int) -> str:
    # The spaces do not break, so that a number stays with its text.
    return f'<a class="tag number" href="#i{number}" title="disagreement {number}">\u00a0{number}\u00a0</a>'


def _paragraphs(document: Shared, items: Sequence[Numbered], schema: Schema) -> Iterator[str]:
    """One table row for each paragraph, one cell for each reading."""
    marking = _Marking(items, schema)
    columns = [marking.paragraphs(who, reading) for who, reading in document.by.items()]
    for row in zip(*columns, strict=True):
        classes = [] if any('class="dispute' in cell for cell in row) else ["agreed"]
        classes += ["same"] if len(set(row)) == 1 else []
        yield f'<tr class="{" ".join(classes)}">'
        for who, cell in zip(document.by, row, strict=True):
            yield f'<td data-who="{safe(who)}"><div class="text" lang=""><p dir="auto">{cell}</p></div></td>'
        yield "</tr>\n"


class _Marking:
    """Writes a document's readings with their labels, and with a mark over each disagreement in spans or sentences.

    Such a mark is a span of one more layer, which goes before the layer it belongs to, so that `walk` puts it outside.
    """

    def __init__(self, items: Sequence[Numbered], schema: Schema) -> None:
        self.schema = schema
        self.index = {name: number for number, name in enumerate(schema.layers)}
        placed = [name for name, layer in schema.layers.items() if layer.kind is not Kind.DOCUMENT]
        self.regions = {_free(name, schema): name for name in placed}
        marks = {region: schema.layers[name] for region, name in self.regions.items()}
        self.marked = schema.model_copy(update={"layers": {**marks, **schema.layers}})
        self.items = [(number, item) for number, item in items if item.layer in placed]
        self.numbers = {(item.layer, item.start): number for number, item in self.items}
        self.linked: set[int] = set()

    def paragraphs(self, who: str, reading: Document) -> list[str]:
        """One annotator's text, paragraph by paragraph."""
        labels = dict(reading.labels)
        for region, name in self.regions.items():
            here = [item for _, item in self.items if item.layer == name and who in item.labels]
            labels[region] = tuple(Span(label=name, start=item.start, end=item.end) for item in here)
        found: list[list[str]] = [[]]
        for event in walk(reading.with_labels(labels), self.marked):
            if isinstance(event, Break):
                found.append([])
            else:
                found[-1].append(self._written(event))
        return ["".join(pieces) for pieces in found]

    def _written(self, event: Open | Close | str) -> str:
        if isinstance(event, str):
            return exact(event)
        if event.layer in self.regions:
            return self._region(event) if isinstance(event, Open) else "</span>"
        if isinstance(event, Open):
            return opening(event, self.schema, self.index[event.layer])
        return closing(event, self.schema)

    def _region(self, event: Open) -> str:
        name = self.regions[event.layer]
        number = self.numbers[name, event.span.start]
        target = "" if number in self.linked else f' id="r{number}"'
        self.linked.add(number)
        start = f'<span class="dispute k{self.index[name]}"{target}>'
        return start + (_number(number) if event.first else "")


def _free(name: str, schema: Schema) -> str:
    """A layer's name that the schema does not have."""
    while name in schema.layers:
        name += "_differs"
    return name
