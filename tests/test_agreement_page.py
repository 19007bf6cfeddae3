"""The page of an agreement: exact texts in every column, everything escaped, links that lead somewhere; in a browser too."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import test_page_browser as browser
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.agreement.overview import agreement
from annotations.agreement.page import agreement_page
from annotations.document import Document, Label, Labels, Span
from annotations.schema import Kind, Schema

NAMES = {"GROUP": {"color": "#d62728"}, 'a "<b>" & c': {"color": "#000000"}}
KINDS = {"entity": "spans", "stance": "sentences", "verdict": "document", "event": "spans", "tone": "sentences"}
SCHEMA = Schema.build({"layers": {name: {"kind": kind, "labels": NAMES} for name, kind in KINDS.items()}}, where="test")
HOSTILE = "</td></table><script>document.title='pwned'</script><img src=x onerror=alert(1)>\"'&amp;"
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in order, ids are unique; collects cells, links and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.articles: list[list[str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), "an attribute is given twice"
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [found["id"]] if found.get("id") else []
        self.links += [found["href"]] if found.get("href") else []
        if tag == "article":
            self.rows = []
        if tag == "tr":
            self.rows.append([])
        if found.get("class") == "text":
            self.rows[-1].append("")
        if tag not in VOID:
            self.stack.append((tag, found))
        if tag == "i" and "control" in str(found.get("class")):
            self.words.append("")

    def handle_endtag(self, tag: str) -> None:
        opened, found = self.stack.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"
        if tag == "i" and found.get("class") == "control" and not self.words.pop():
            self.rows[-1][-1] += chr(int(str(found["title"])[2:], 16))
        if tag == "article":
            texts = [row for row in self.rows if row]
            self.articles.append(["".join(column) for column in zip(*texts, strict=True)])

    def handle_data(self, data: str) -> None:
        classes = [str(found.get("class")) for _, found in self.stack]
        if "text" in classes and not any("tag" in name.split() for name in classes):
            self.rows[-1][-1] += data
            if "control" in classes:
                self.words[-1] += data


def page_of(readings: dict[str, list[Document]]) -> str:
    return "".join(agreement_page(agreement(readings, SCHEMA, resamples=100), SCHEMA, HOSTILE))


LETTERS = st.one_of(
    st.sampled_from("\r\n\t \0\x1b\x85\u2028\u202e\ud800<>&\"'\u00a0;."),
    st.characters(exclude_categories=()),
    st.sampled_from("abcאב"),
)


@st.composite
def readings(draw: st.DrawFn) -> dict[str, list[Document]]:
    texts = draw(st.lists(st.text(LETTERS, max_size=30), max_size=2))
    found: dict[str, list[Document]] = {}
    for who in ("ann", HOSTILE, "x")[: draw(st.integers(2, 3))]:
        found[who] = []
        for number, text in enumerate(texts):
            labels: dict[str, Labels] = {}
            for name, layer in SCHEMA.layers.items():
                label = st.sampled_from(layer.names)
                cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=6)))
                if layer.kind is Kind.DOCUMENT:
                    labels[name] = Label(label=draw(label))
                else:
                    labels[name] = tuple(
                        Span(start=start, end=end, label=draw(label))
                        for start, end in pairwise(cuts)
                        if draw(st.booleans())
                    )
            kept = {name: value for name, value in labels.items() if draw(st.integers(0, 3))}
            found[who].append(Document(id=f"{number}{HOSTILE}", text=text, target=HOSTILE, labels=kept))
    return found


@settings(max_examples=60)
@given(readings())
def test_every_column_holds_the_text_and_every_disagreement_is_linked_both_ways(
    given_readings: dict[str, list[Document]],
) -> None:
    found = agreement(given_readings, SCHEMA, resamples=100)
    page = Page("".join(agreement_page(found, SCHEMA, HOSTILE)))
    assert page.articles == [[document.first.text] * len(document.by) for document in found.documents]
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    for number, _ in enumerate(found.disagreements, 1):
        assert f"#i{number}" in page.links and f"#r{number}" in page.links
    for item in found.disagreements:
        assert len(item.labels) > 1


def test_nothing_escapes_and_nothing_comes_from_outside() -> None:
    marked = (Span(start=0, end=5, label='a "<b>" & c'),)
    first = Document(id=HOSTILE, text=HOSTILE, target=HOSTILE, labels={"entity": marked}, source={"title": HOSTILE})
    page = page_of({HOSTILE: [first], "<i>": [first.with_labels({"entity": ()})]})
    read = Page(page)
    assert not read.tags & {"script", "img", "iframe", "object", "link", "form", "base"}
    assert not [name for _, name, _ in read.attributes if name.startswith("on") or name in ("src", "style", "action")]
    assert all(link.startswith("#") for link in read.links)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "url(" not in page and "@import" not in page
    assert read.articles == [[HOSTILE, HOSTILE]]


def test_a_document_that_nobody_shares_is_said_so() -> None:
    alone = Document(id="one", text="Alone.", labels={})
    page = page_of({"ann": [alone], "bob": []})
    assert "No document was read by two annotators." in page
    assert "Read by ann alone" in page


def test_marks_are_where_the_disagreement_is() -> None:
    text = "Ada left Rome."
    first = Document(id="a", text=text, labels={"entity": (Span(start=9, end=13, label="GROUP"),)})
    page = page_of({"ann": [first], "bob": [first.with_labels({"entity": ()})]})
    number = '<a class="tag number" href="#i1" title="disagreement 1">\u00a01\u00a0</a>'
    assert f'<span class="dispute k0">{number}Rome</span>' in page, "marked for who marked nothing"
    assert re.search(rf'Ada left <span class="dispute k0" id="r1">{number}<mark [^>]*>Rome<', page)


MEASURE = """<script>
addEventListener("load", () => {
  const cells = row => [...row.querySelectorAll("td")].map(cell => cell.getBoundingClientRect());
  const row = document.querySelector("tr:has(.text .dispute)"), [one, other] = cells(row);
  const agreed = document.querySelector(".readings tr.agreed:not(.verdicts)");
  const link = document.querySelector('a[href="#r1"]'), place = document.querySelector("#r1");
  const shown = element => element.getClientRects().length > 0;
  link.focus();
  const measured = {
    inner: innerWidth, scroll: document.documentElement.scrollWidth, title: document.title,
    beside: other.left >= one.right && Math.abs(other.top - one.top) < 1,
    below: other.top >= one.bottom - 1 && Math.abs(other.left - one.left) < 1,
    focused: document.activeElement === link, linked: place.closest(".text") !== null,
    names: getComputedStyle(row.querySelector("td"), "::before").content,
    before: [shown(document.querySelector("li.k1")), shown(agreed), shown(place.querySelector(".number"))],
  };
  document.querySelectorAll("#show-1, #only").forEach(box => box.click());
  measured.after = [shown(document.querySelector("li.k1")), shown(agreed), shown(place.querySelector(".number"))];
  parent.document.querySelector("#measured").textContent = JSON.stringify(measured);
});
</script>"""


@pytest.fixture
def page(tmp_path: Path, schema: Schema) -> Path:
    """Two people's stances on the same article, one of two paragraphs in dispute."""
    text = f"The Taliban denied it. Kabul fell.\n\n{html.unescape('&#1040;')} long paragraph without any quarrel. " * 3
    labels: dict[str, Any] = {"stance": (Span(start=0, end=22, label="denies"),), "document": Label(label="denies")}
    first = Document(id=HOSTILE * 2, text=text, target="A claim. " * 20, labels=labels)
    other = first.with_labels({**labels, "stance": (Span(start=0, end=22, label="supports"),)})
    found = agreement({"ann": [first], "bob-with-a-very-long-name@example.org": [other]}, schema, resamples=100)
    path = tmp_path / "agreement.html"
    path.write_text("".join(agreement_page(found, schema, "Agreement")), "utf-8", newline="")
    return path


@browser.pytestmark
@pytest.mark.parametrize("width", [390, 1280])
def test_readings_stand_beside_one_another_or_on_a_phone_below(
    page: Path, tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "MEASURE", MEASURE)
    measured = browser._measure(page, tmp_path, width)
    assert measured["inner"] == width
    assert measured["scroll"] <= width
    assert measured["title"] == "Agreement"
    assert (measured["beside"], measured["below"]) == (width > 700, width < 700)
    assert (measured["names"] == '"ann"') == (width < 700)
    assert measured["focused"] and measured["linked"]
    assert measured["before"] == [True, True, True]
    assert measured["after"] == [False, False, False]


@browser.pytestmark
@pytest.mark.parametrize("width", [500, 1280])
def test_screenshot_is_not_blank(page: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    browser._browse(tmp_path, f"--window-size={width},900", f"--screenshot={picture}", page.as_uri())
    assert len(set(browser._rows(picture.read_bytes())[1])) > 200
