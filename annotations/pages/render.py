"""Labelled Documents as one self-contained HTML page, to be read by people. It knows the schema; nothing of models.

The text comes out exactly as it is: what a browser holds in `.text`, without the elements of class `tag`, is the
document's text. HTML cannot hold NUL and lone surrogates: each is an empty `<i class="control" title="U+0000">`, which
shows its number. Other control characters are kept inside such an element. Carriage returns are written `&#13;`, since
a parser would turn bare ones into line feeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from string import Template

from annotations.document import Document, Label
from annotations.pages.colors import Rgb, mix, readable, rgb
from annotations.pages.markup import Break, Close, Open, heading, scored, summaries, tag, visible, walk
from annotations.schema import Kind, Layer, Schema

# Page background and text, as page.html has them.
LIGHT, DARK = rgb("#ffffff"), rgb("#16181c")
SPAN_SHARE, SENTENCE_SHARE = 0.18, 0.09

_LOST = re.compile(r"[\x00\ud800-\udfff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\r": "&#13;"}
_SPECIAL = re.compile(r"[&<>\"'\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def html_page(documents: Iterable[Document], schema: Schema, title: str) -> Iterator[str]:
    """Pieces of one HTML page that needs nothing from outside, no script included; one document in memory at a time.

    Join the pieces, or write them one by one as UTF-8.

    Raises:
        SchemaError: while iterating, at a document with layers or labels that the schema does not declare.
    """
    template = files("annotations.pages").joinpath("page.html").read_text("utf-8")
    head, tail = template.split("$documents")
    yield Template(head).substitute(title=safe(title), style=style(schema), legend="".join(legend(schema)))
    number = 0
    for number, document in enumerate(documents, 1):
        schema.check(document)
        yield from article(document, schema, number)
    if not number:
        yield '<p class="empty">No documents.</p>\n'
    yield tail


def article(document: Document, schema: Schema, number: int) -> Iterator[str]:
    """One document of a page, the `number`th, to stand on a page with the rules of `sheet`."""
    yield f'<article aria-labelledby="d{number}">\n<header>\n'
    yield f'<h2 id="d{number}" dir="auto">{safe(heading(document))}</h2>\n'
    if heading(document) != document.id:
        yield f'<p class="id">{safe(document.id)}</p>\n'
    yield "<dl>\n"
    if document.target is not None:
        yield f'<div class="claim"><dt>target</dt><dd dir="auto">{safe(document.target)}</dd></div>\n'
    for index, (name, layer) in enumerate(schema.layers.items()):
        if layer.kind is Kind.DOCUMENT:
            yield _verdict(name, document.labels.get(name), f"l{index}", layer)
    for name, summary in summaries(document, schema):
        counts = ", ".join(f"<span>{safe(count)}</span>" for count in summary)
        yield f'<div class="counts"><dt>{name}</dt><dd>{counts}</dd></div>\n'
    yield '</dl>\n</header>\n<div class="text" lang=""><p dir="auto">'
    yield from _text(document, schema)
    yield "</p></div>\n</article>\n"


def _verdict(name: str, label: object, prefix: str, layer: Layer) -> str:
    shown = "not annotated"
    if isinstance(label, Label):
        number = layer.names.index(label.label)
        shown = f'<span class="verdict {prefix}-{number}">{safe(scored(label))}</span>'
    return f"<div><dt>{name}</dt><dd>{shown}</dd></div>\n"


def _text(document: Document, schema: Schema) -> Iterator[str]:
    names = {name: index for index, name in enumerate(schema.layers)}
    for event in walk(document, schema):
        match event:
            case str(text):
                yield exact(text)
            case Break():
                yield '</p><p dir="auto">'
            case Open():
                yield opening(event, schema, names[event.layer])
            case Close():
                yield closing(event, schema)


def opening(event: Open, schema: Schema, index: int) -> str:
    """A mark's start tag; `index` is the layer's place in the schema. A sentence's label stands before it."""
    layer = schema.layers[event.layer]
    classes = f"l{index}-{layer.names.index(event.span.label)}" + (" first" if event.first else "")
    title = safe(f"{event.layer}: {scored(event.span)}")
    if layer.kind is Kind.SPANS:
        return f'<mark class="{classes}" title="{title}">'
    before = _tag(tag(schema, event.layer, event.span.label)) if event.first else ""
    return f'<span class="sentence {classes}" title="{title}">{before}'


def closing(event: Close, schema: Schema) -> str:
    """A mark's end tag. A span's label stands behind it."""
    if schema.layers[event.layer].kind is not Kind.SPANS:
        return "</span>"
    return (_tag(tag(schema, event.layer, event.span.label)) if event.last else "") + "</mark>"


def _tag(label: str) -> str:
    # The spaces keep label and text apart for screen readers; they do not break, so a tag stays with its text.
    return f'<span class="tag" dir="auto">\u00a0{safe(label)}\u00a0</span>'


def legend(schema: Schema) -> Iterator[str]:
    """Every layer's labels in their colours, each with a box that hides it, and what they mean."""
    for index, (name, layer) in enumerate(schema.layers.items()):
        yield f"<fieldset>\n<legend>{name}</legend>\n<ul>\n"
        for number, label in enumerate(layer.labels):
            key = f"l{index}-{number}"
            box = "" if layer.kind is Kind.DOCUMENT else f'<input type="checkbox" id="{key}" checked>'
            yield f'<li><label class="key {key}">{box}{safe(label)}</label></li>\n'
        yield "</ul>\n"
        yield from _meanings(layer)
        yield "</fieldset>\n"


def _meanings(layer: Layer) -> Iterator[str]:
    yield f"<details><summary>What these mean</summary>\n<p>{_prose(layer.description)}</p>\n<dl>\n"
    for label, spec in layer.labels.items():
        excludes = f"<br>Not: {_prose(spec.excludes)}" if spec.excludes else ""
        yield f"<dt>{safe(label)}</dt><dd>{_prose(spec.marks)}{excludes}</dd>\n"
    yield "</dl></details>\n"


def _prose(text: str) -> str:
    """Guideline text, in which backticks quote examples."""
    return re.sub(r"`([^`]+)`", r"<i>\1</i>", safe(text))


def sheet(schema: Schema) -> str:
    """All rules of the page, the schema's colours among them, for another page that shows documents."""
    template = files("annotations.pages").joinpath("page.html").read_text("utf-8")
    return template.partition("<style>\n")[2].partition("$style")[0] + style(schema)


def style(schema: Schema) -> str:
    """The schema's colours, made readable on light and dark ground, and the rules by which the legend hides labels."""
    labels = [
        (f"l{index}-{number}", rgb(color))
        for index, layer in enumerate(schema.layers.values())
        for number, color in enumerate(layer.colors.values())
    ]
    light = "".join(_colors(key, color, LIGHT) for key, color in labels)
    dark = "".join(_colors(key, color, DARK) for key, color in labels)
    plain = "--tint:transparent;--wash:transparent;--edge:transparent;--hidden:none"
    hide = "".join(f"body:has(#{key}:not(:checked)) .text .{key}{{{plain}}}\n" for key, _ in labels)
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n{hide}"


def _colors(key: str, color: Rgb, paper: Rgb) -> str:
    """Grounds for spans (tint) and sentences (wash), a colour for lines and one for names on any of these grounds."""
    tint, wash = mix(color, paper, SPAN_SHARE), mix(color, paper, SENTENCE_SHARE)
    edge = readable(color, paper, 3)
    name = color
    for ground in (tint, wash, paper):
        name = readable(name, ground, 4.5)
    return f".{key}{{--tint:{tint.hex};--wash:{wash.hex};--edge:{edge.hex};--name:{name.hex}}}\n"


def exact(text: str) -> str:
    """Text for elements whose text has to come out exactly."""
    return _SPECIAL.sub(_content, text)


def safe(text: str) -> str:
    """Text for attributes, and for elements whose text need not come out exactly."""
    return _SPECIAL.sub(lambda match: _ESCAPES.get(match[0]) or visible(match[0]), text)


def _content(match: re.Match[str]) -> str:
    letter = match[0]
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    kept = "" if _LOST.match(letter) else letter
    return f'<i class="control" title="U+{ord(letter):04X}" data-shown="{visible(letter)}">{kept}</i>'
