"""A labelled Document as text for a terminal, in colour or plain. It knows nothing of pages.

Nothing in a document can steer the terminal: every control character, escape sequence and change of writing direction
is shown by name instead of being sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from annotations.document import Document, Label
from annotations.pages.colors import ink, rgb
from annotations.pages.markup import Break, Close, Open, heading, scored, summaries, tag, visible, walk
from annotations.schema import Kind, Schema

RESET = "\x1b[0m"
BOLD, DIM = "1", "2"
_LINE_END = re.compile(r"\r\n?|\u2028|\u2029")
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_INLINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def terminal(document: Document, schema: Schema, *, colour: bool = True) -> str:
    """A document with its labels, ending in a line end.

    A sentence is preceded by its label, `<supports>`; a span is followed by its own, `[Taliban MILITANT_GROUP]`. With
    `colour` these stand on the schema's colours (24-bit ANSI); the caller decides, by NO_COLOR and isatty.

    Raises:
        SchemaError: the document has layers or labels that the schema does not declare.
    """
    schema.check(document)
    brush = _Brush(schema, colour)
    return "\n".join([*_header(document, brush), "", _body(document, brush)]) + "\n"


class _Brush:
    """Paints text; without colour it leaves it as it is."""

    def __init__(self, schema: Schema, colour: bool) -> None:
        self.schema = schema
        self.colour = colour

    def paint(self, text: str, *codes: str) -> str:
        """Text between codes, line by line, so that no background runs on to the terminal's edge."""
        if not self.colour or not codes:
            return text
        start = f"\x1b[{';'.join(codes)}m"
        return "\n".join(f"{start}{line}{RESET}" if line else "" for line in text.split("\n"))

    def codes(self, layer: str, label: str) -> tuple[str, ...]:
        """A label's background, and black or white on it."""
        ground = rgb(self.schema.layers[layer].colors[label])
        front = ink(ground)
        return tuple(f"{where};2;{';'.join(map(str, color))}" for where, color in ((48, ground), (38, front)))


def _header(document: Document, brush: _Brush) -> Iterator[str]:
    yield brush.paint(_inline(heading(document)), BOLD)
    if heading(document) != document.id:
        yield brush.paint(_inline(document.id), DIM)
    if document.target is not None:
        yield f"{brush.paint('target:', DIM)} {_inline(document.target)}"
    for name in brush.schema.of_kind(Kind.DOCUMENT):
        label = document.labels.get(name)
        if isinstance(label, Label):
            shown = brush.paint(_inline(scored(label)), *brush.codes(name, label.label))
        else:
            shown = "not annotated"
        yield f"{brush.paint(f'{name}:', DIM)} {shown}"
    for name, summary in summaries(document, brush.schema):
        yield f"{brush.paint(f'{name}:', DIM)} {_inline(', '.join(summary))}"


def _body(document: Document, brush: _Brush) -> str:
    painted: list[tuple[str, ...]] = []
    pieces: list[str] = []
    for event in walk(document, brush.schema):
        match event:
            case str(text):
                pieces.append(brush.paint(_multiline(text), *(painted[-1] if painted else ())))
            case Open():
                pieces.append(_before(event, brush))
                spans = brush.schema.layers[event.layer].kind is Kind.SPANS
                painted.append(brush.codes(event.layer, event.span.label) if spans else ())
            case Close():
                painted.pop()
                pieces.append(_after(event, brush))
            case Break():
                pass
    return "".join(pieces)


def _before(event: Open, brush: _Brush) -> str:
    label = _inline(tag(brush.schema, event.layer, event.span.label))
    codes = brush.codes(event.layer, event.span.label)
    if brush.schema.layers[event.layer].kind is Kind.SENTENCES:
        return brush.paint(f"<{label}>", *codes) + " " if event.first else ""
    return brush.paint("[" if event.first else "[…", *codes)


def _after(event: Close, brush: _Brush) -> str:
    if brush.schema.layers[event.layer].kind is Kind.SENTENCES:
        return ""
    codes = brush.codes(event.layer, event.span.label)
    label = _inline(tag(brush.schema, event.layer, event.span.label))
    return brush.paint(f" {label}]" if event.last else "…]", BOLD, *codes)


def _multiline(text: str) -> str:
    return _UNSAFE.sub(_name, _LINE_END.sub("\n", text))


def _inline(text: str) -> str:
    return _UNSAFE_INLINE.sub(_name, text)


def _name(match: re.Match[str]) -> str:
    return visible(match[0])
