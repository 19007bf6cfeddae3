"""What people see of labelled documents: exact text, well-formed markup, nothing from outside, nothing executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.document import Document, Label, Labels, Span
from annotations.errors import SchemaError
from annotations.pages.colors import contrast, rgb
from annotations.pages.render import html_page
from annotations.pages.terminal import terminal
from annotations.schema import Kind, Schema

SGR = re.compile(r"\x1b\[[0-9;]*m")
VOID = {"meta", "input", "br"}


def _labels(*names: str) -> dict[str, dict[str, str]]:
    return {name: {"color": color} for name, color in zip(names, ("#d62728", "#000000", "#ffffff"), strict=False)}


def _schema(**kinds: str) -> Schema:
    layers = {name: {"kind": kind, "labels": _labels("GROUP", 'a "<b>" & c')} for name, kind in kinds.items()}
    return Schema.build({"layers": layers}, where="test")


SCHEMA = _schema(entity="spans", stance="sentences", verdict="document", event="spans", tone="sentences")
SIMPLE = _schema(entity="spans", stance="sentences", verdict="document")


class Mark(NamedTuple):
    """A stretch of text inside one element of a layer; `first` says that its span begins here."""

    key: str
    first: bool
    start: int
    end: int
    title: str


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in order; collects texts, marks and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[tuple[str, dict[str, str | None], int]] = []
        self.texts: list[str] = []
        self.marks: list[Mark] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.tags: list[str] = []
        self.data: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert not self.stack, "elements left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), "an attribute is given twice"
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if found.get("class") == "text":
            self.texts.append("")
        if tag not in VOID:
            self.stack.append((tag, found, len(self.texts[-1]) if self.texts else 0))

    def handle_endtag(self, tag: str) -> None:
        opened, attributes, start = self.stack.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"
        classes = (attributes.get("class") or "").split()
        if tag == "i" and "control" in classes and start == len(self.texts[-1]):
            self.texts[-1] += chr(int((attributes["title"] or "")[2:], 16))
        if tag == "mark" or "sentence" in classes:
            key = next(name for name in classes if re.fullmatch(r"l\d+-\d+", name))
            title = attributes["title"] or ""
            self.marks.append(Mark(key, "first" in classes, start, len(self.texts[-1]), title))

    def handle_data(self, data: str) -> None:
        classes = [str(attributes.get("class")) for _, attributes, _ in self.stack]
        if self.stack:
            self.data.setdefault(classes[-1] if classes[-1] != "None" else self.stack[-1][0], []).append(data)
        if "text" in classes and "tag" not in classes:
            self.texts[-1] += data


def _page(*documents: Document, schema: Schema = SCHEMA, title: str = "Title") -> str:
    return "".join(html_page(documents, schema, title))


def _spans(page: Page, schema: Schema, layer: str) -> list[tuple[int, int, str]]:
    """The spans of a layer as the page marks them, pieces put together again."""
    index = list(schema.layers).index(layer)
    spans: list[tuple[int, int, str]] = []
    for mark in sorted((mark for mark in page.marks if mark.key.startswith(f"l{index}-")), key=lambda mark: mark.start):
        label = schema.layers[layer].names[int(mark.key.partition("-")[2])]
        if mark.first:
            spans.append((mark.start, mark.end, label))
        else:
            start, end, previous = spans[-1]
            assert (end, previous) == (mark.start, label), "a piece does not follow its beginning"
            spans[-1] = (start, mark.end, label)
    return spans


LETTERS = st.one_of(
    st.sampled_from("\r\n\t \0\x1b\x9b\x85\u2028\u2029\u202e\u2067\ud800<>&\"'\u00a0;#[]"),
    st.characters(exclude_categories=()),
    st.sampled_from("abcאبת"),
)
TEXTS = st.text(LETTERS, max_size=40)
NAMES = TEXTS.map(lambda text: "id" + re.sub(r"[\ud800-\udfff]", "", text))


@st.composite
def documents(draw: st.DrawFn, schema: Schema = SCHEMA) -> Document:
    text = draw(TEXTS)
    labels: dict[str, Labels] = {}
    scores = st.none() | st.floats(0, 1)
    for name, layer in schema.layers.items():
        if not draw(st.booleans()):
            continue
        names = st.sampled_from(layer.names)
        if layer.kind is Kind.DOCUMENT:
            labels[name] = Label(label=draw(names), score=draw(scores))
            continue
        cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
        labels[name] = tuple(
            Span(start=start, end=end, label=draw(names), score=draw(scores))
            for start, end in pairwise(cuts)
            if draw(st.booleans())
        )
    return Document(id=draw(NAMES), text=text, target=draw(st.none() | TEXTS), labels=labels)


@given(st.lists(documents(), max_size=3), TEXTS)
@settings(deadline=None)
def test_page_is_well_formed_and_holds_every_text_and_span_exactly(found: list[Document], title: str) -> None:
    source = _page(*found, title=title)
    source.encode("utf-8")
    assert not re.search(r"[\x00\r]", source)
    page = Page(source)
    assert page.texts == [document.text for document in found]
    for document in found:
        alone = Page(_page(document))
        for layer in SCHEMA.of_kind(Kind.SPANS) | SCHEMA.of_kind(Kind.SENTENCES):
            expected = [(span.start, span.end, span.label) for span in document.spans(layer)]
            assert _spans(alone, SCHEMA, layer) == expected


@given(documents())
@settings(deadline=None)
def test_terminal_sends_nothing_but_text_and_colours(document: Document) -> None:
    plain = terminal(document, SCHEMA, colour=False)
    coloured = terminal(document, SCHEMA)
    assert SGR.sub("", coloured) == plain
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", plain)
    assert all(line.count("\x1b") % 2 == 0 for line in coloured.split("\n")), "a colour runs on past its line"
    plain.encode("utf-8")


def test_spans_that_cross_are_nested_and_tagged_once() -> None:
    labels = {
        "entity": (Span(start=0, end=5, label="GROUP", score=0.5),),
        "event": (Span(start=3, end=8, label="GROUP"),),
        "stance": (Span(start=4, end=9, label="GROUP"),),
    }
    document = Document(id="x", text="abcdefghi", labels=labels)
    source = _page(document)
    page = Page(source)
    assert _spans(page, SCHEMA, "entity") == [(0, 5, "GROUP")]
    assert _spans(page, SCHEMA, "event") == [(3, 8, "GROUP")]
    assert page.data["tag"] == ["\u00a0stance: GROUP\u00a0", "\u00a0entity: GROUP\u00a0", "\u00a0event: GROUP\u00a0"]
    assert 'title="entity: GROUP 0.50"' in source
    shown = terminal(document, SCHEMA, colour=False)
    assert "[abc[d…]…]<stance: GROUP> […[…e…] entity: GROUP][…fgh event: GROUP]i" in shown.splitlines()


def test_terminal_shows_labels_in_words_and_colours() -> None:
    text = "The Taliban said so.\r\nNo."
    labels: dict[str, Labels] = {
        "entity": (Span(start=4, end=11, label="GROUP"),),
        "stance": (Span(start=0, end=20, label="GROUP"),),
        "verdict": Label(label="GROUP", score=0.914),
    }
    document = Document(id="x-1", text=text, target="a claim", labels=labels, source={"title": "Headline"})
    assert terminal(document, SIMPLE, colour=False).splitlines() == [
        "Headline",
        "x-1",
        "target: a claim",
        "verdict: GROUP 0.91",
        "entity: 1 GROUP",
        "stance: 1 GROUP",
        "",
        "<GROUP> The [Taliban GROUP] said so.",
        "No.",
    ]
    assert "\x1b[48;2;214;39;40;38;2;255;255;255mTaliban\x1b[0m" in terminal(document, SIMPLE)


def test_terminal_shows_escape_sequences_instead_of_sending_them() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eabc"
    document = Document(id=evil, text=evil, target=evil, source={"title": "a\n" + evil})
    shown = terminal(document, SIMPLE, colour=False)
    assert "‹U+001B›]0;owned‹U+0007›‹U+001B›[2J‹U+009B›31m‹U+202E›abc" in shown.splitlines()
    assert shown.splitlines()[0].startswith("a‹U+000A›")


def test_nothing_in_a_document_becomes_markup() -> None:
    evil = """</style></title><script>alert("1")</script><img src='http://x.example/a' onerror="x">&amp;"""
    document = Document(id=evil, text=evil, target=evil, source={"title": evil + "!"})
    source = _page(document, title=evil)
    page = Page(source)
    assert page.texts == [evil]
    assert page.data["dd"][0] == evil
    assert page.data["h2"][-1] == evil + "!"
    assert page.data["h1"] == page.data["title"] == [evil]
    assert not {"script", "img", "link", "iframe", "object"} & set(page.tags)


def test_page_asks_for_nothing_outside() -> None:
    document = Document(id="x", text="see https://example.org/ @import", source={"url": "https://example.org/"})
    source = _page(document, schema=Schema.load("configs/schema.yaml"))
    page = Page(source)
    loads = {"src", "href", "srcset", "action", "data", "poster", "background", "style"}
    assert not [item for item in page.attributes if item[1] in loads]
    style = "".join(page.data["style"])
    assert "@import" not in style and "url(" not in style
    assert not [item for item in page.attributes if item[1].startswith("on")]


def test_paragraphs_choose_their_own_direction_and_the_page_names_its_language() -> None:
    page = Page(_page(Document(id="x", text="one\n\nשתיים\r\nthree")))
    assert [item for item in page.attributes if item[0] == "p" and item[1] == "dir"] == [("p", "dir", "auto")] * 3
    assert ("html", "lang", "en") in page.attributes


def test_unannotated_is_told_from_empty() -> None:
    source = _page(Document(id="x", text="a", labels={"entity": ()}), schema=SIMPLE)
    assert "<dt>entity</dt><dd><span>none</span></dd>" in source
    assert "<dt>stance</dt><dd><span>not annotated</span></dd>" in source


def test_documents_are_read_one_at_a_time() -> None:
    begun = 0

    def endless() -> Iterator[Document]:
        nonlocal begun
        while True:
            begun += 1
            yield Document(id=f"d{begun}", text="text " * 100)

    seen = 0
    for piece in html_page(endless(), SIMPLE, "many"):
        seen += piece.count("</article>")
        assert begun - seen <= 1
        assert len(piece) < 20_000
        if seen == 50:
            break


def test_no_documents_and_empty_texts_are_pages_too() -> None:
    assert "No documents." in _page()
    assert Page(_page(Document(id="x", text=""))).texts == [""]


def test_labels_outside_the_schema_are_refused() -> None:
    document = Document(id="x", text="a", labels={"entity": (Span(start=0, end=1, label="GROPU"),)})
    with pytest.raises(SchemaError, match="did you mean 'GROUP'"):
        _page(document)
    with pytest.raises(SchemaError, match="did you mean 'GROUP'"):
        terminal(document, SCHEMA)


def test_every_label_of_a_text_layer_can_be_hidden_without_a_script() -> None:
    source = _page(schema=Schema.load("configs/schema.yaml"))
    boxes = [value for tag, name, value in Page(source).attributes if tag == "input" and name == "id"]
    assert len(boxes) == 9 + 3
    assert all(f"body:has(#{box}:not(:checked)) .text .{box}{{" in source for box in boxes)


@given(st.integers(0, 0xFFFFFF))
@settings(deadline=None, max_examples=30)
def test_any_colour_stays_readable_in_light_and_dark(number: int) -> None:
    values = {"layers": {"entity": {"kind": "spans", "labels": {"A": {"color": f"#{number:06x}"}}}}}
    source = _page(schema=Schema.build(values, where="test"))
    themes = re.findall(r"--paper: (#\w+); --ink: (#\w+); --quiet: (#\w+)", source)
    colors = re.findall(r"\.l0-0\{--tint:(#\w+);--wash:(#\w+);--edge:(#\w+);--name:(#\w+)\}", source)
    assert len(themes) == len(colors) == 2
    for (paper, ink, quiet), (tint, wash, edge, name) in zip(themes, colors, strict=True):
        assert contrast(rgb(quiet), rgb(paper)) >= 4.5
        assert contrast(rgb(edge), rgb(paper)) >= 3
        for ground in (paper, tint, wash):
            assert contrast(rgb(ink), rgb(ground)) >= 7
            assert contrast(rgb(name), rgb(ground)) >= 4.5
