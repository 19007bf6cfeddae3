"""The pages of a report and of a comparison as text: what is in them, that nothing in the data escapes, that parts may lack."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_values import KINDS, TEXTS, analysis, large
from test_run_comparison import GOLD, SCHEMA, result, spoilt

from annotations.pages.colors import contrast, mix, rgb
from training.reports.comparison import compare_results
from training.reports.pages.comparison import comparison_page, write_comparison_page
from training.reports.pages.elements import colours
from training.reports.pages.error_list import task_link
from training.reports.pages.report import report_page, write_page

ASSETS = ROOT / "training" / "reports" / "pages"
HOSTILE = [
    "</script><script>alert(1)</script>",
    "</script\n",
    "</SCRIPT/",
    "<!-- <script ",
    '"><img src=x onerror="alert(1)">',
    "]]>\u2028\u2029",
    "\x00\ud800\x1b",
]
VOID = {"meta", "input", "br", "wbr"}
Values = dict[str, Any]


class Reader(HTMLParser):
    """Elements with their attributes, texts of scripts and styles, and all other text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[dict[str, str | None], str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.raw.append((self.elements[-1][1], data))
        else:
            self.text.append(data)

    @property
    def shape(self) -> Counter[tuple[str, ...]]:
        """How many elements of each name and set of attributes there are."""
        return Counter((tag, *sorted(attributes)) for tag, attributes in self.elements)

    def data(self) -> list[Any]:
        found = [text for attributes, text in self.raw if attributes.get("type") == "application/json"]
        # A browser ends the element at `</script ` too, which Python's parser does not.
        assert not any(sign in text for text in found for sign in "<>&\u2028\u2029")
        return [json.loads(text) for text in found]


def comparison(*spoil: int) -> Values:
    """SAVE.json of two results."""
    results = {"A": result(GOLD), "B": result(spoilt(GOLD, set(spoil)))}
    pairs = compare_results(results, GOLD, SCHEMA)
    named = {name: {"path": found.name, "rounds": [*found.rounds]} for name, found in results.items()}
    shown = {"command": "test", "results": named, "colors": {}, "remarks": ["one"]}
    return {**shown, "pairs": [pair.to_dict() for pair in pairs]}


COMPARED = comparison(0, 5)


def renamed(value: Any, names: dict[str, str]) -> Any:
    """Every text of the data through `names`, whether it is a key or a value."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


texts = st.one_of(st.sampled_from(HOSTILE), st.text(min_size=1, max_size=8))


NAMES = [
    "runs/checkpoint",
    "a-1",
    "article-1",
    "PERSON",
    "PLACE",
    "entity",
    "seen",
    "better than majority",
    "gold.json",
]
NAMES += [*TEXTS, "1 document left out: a-7", "1 sentence has no predicted label", "The Taliban holds Kabul."]


@given(st.lists(texts, min_size=len(NAMES), max_size=len(NAMES)))
@example(HOSTILE * 2)
def test_no_text_of_the_data_becomes_markup(given_texts: list[str]) -> None:
    """The page has the same elements and attributes whatever the texts are, and the texts themselves come through exactly."""
    plain = analysis()
    names = {old: f"{place}{new}" for place, (old, new) in enumerate(zip(NAMES, given_texts, strict=False))}
    changed = renamed(plain, names)
    page, same = Reader(report_page(changed)), Reader(report_page(plain))
    assert _without_marks(page.shape) == _without_marks(same.shape)
    [values] = page.data()
    assert [row[2] for row in values["sentences"]] == [names[text] for text in TEXTS]
    assert values["layers"][0]["labels"] == [names["PERSON"], names["PLACE"]]


def _without_marks(shape: Counter[tuple[str, ...]]) -> Counter[tuple[str, ...]]:
    """Texts of another length have marks elsewhere, names with `_` may break there."""
    return Counter({key: number for key, number in shape.items() if key not in (("span", "class"), ("wbr",))})


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_text_of_a_comparison_becomes_markup(hostile: str) -> None:
    names = {"supports": f"supports{hostile}", "article-0": hostile, "A": f"A{hostile}", "entity": f"e{hostile}"}
    page, same = Reader(comparison_page(renamed(COMPARED, names))), Reader(comparison_page(COMPARED))
    assert page.shape == same.shape
    assert page.data()[0]["sides"] == ["gold", f"A{hostile}", "B"]


@pytest.mark.parametrize("page", [report_page(analysis()), comparison_page(COMPARED)], ids=["report", "comparison"])
def test_the_page_needs_nothing_and_allows_nothing_from_outside(page: str) -> None:
    read = Reader(page)
    for tag, attributes in read.elements:
        assert not {"src", "srcset", "style", "action", "data", "poster", "background"} & set(attributes), tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag not in ("link", "base", "iframe", "object", "embed", "img", "image", "use")
        address = attributes.get("href") or "#"
        assert address.startswith("#") or address == "http://localhost:8080/projects/1/data?task=17"
    assert set(re.findall(r"https?:[^\s\"&]*", page)) <= {"http://localhost:8080/projects/1/data?task=17"}
    assert "url(" not in page and "@import" not in page
    policy = next(each["content"] for tag, each in read.elements if each.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none'") and "unsafe" not in policy
    running = [text for attributes, text in read.raw if attributes.get("type") != "application/json"]
    assert len(running) == 2, "one style and one script"
    for text in running:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


@pytest.mark.parametrize("page", [report_page(analysis()), comparison_page(COMPARED)], ids=["report", "comparison"])
def test_every_part_is_named_and_every_link_leads_somewhere(page: str) -> None:
    elements = Reader(page).elements
    keys = [each["id"] for _, each in elements if "id" in each]
    assert len(keys) == len(set(keys))
    for tag, attributes in elements:
        for name in ("aria-labelledby", "for"):
            assert name not in attributes or attributes[name] in keys
        if (attributes.get("href") or "").startswith("#"):
            assert str(attributes["href"])[1:] in keys
        if tag in ("select", "input"):
            assert ("label", attributes["id"]) in [(each, own.get("for")) for each, own in elements]
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
    assert [tag for tag, _ in elements].count("main") == 1
    assert [tag for tag, _ in elements].count("h1") == 1


NULLABLE = ["overall", "curve", "calibration", "errors", "confusion", "not_represented"]
UNKNOWN = ["version", "training", "task_url", "standpoint"]
EMPTY = ["per_label", "tables", "slices", "baselines", "remarks"]


@settings(max_examples=40)
@given(
    st.sets(st.sampled_from(NULLABLE + EMPTY)),
    st.sets(st.sampled_from(UNKNOWN)),
    st.booleans(),
)
def test_any_part_may_be_missing(parts: set[str], unknown: set[str], without: bool) -> None:
    values: Values = analysis()
    values["about"] |= dict.fromkeys(unknown)
    for layer in values["layers"].values():
        layer |= {part: [] if part in EMPTY else None for part in parts}
    if without:
        for name in ("documents", "sentences", "errors"):
            values[name]["rows"] = []
    page = report_page(values)
    text = " ".join(Reader(page).text)
    assert "no probabilities" in text
    assert ("No errors." in text) == without
    assert ("task=17" in page) == (not without and "task_url" not in unknown)


def test_intervals_temperature_and_accuracy_may_be_missing() -> None:
    values = analysis()
    entity = values["layers"]["entity"]
    entity["calibration"] |= {"temperature": None, "bins": [], "confidence": None, "accuracy": None}
    for name in ("f1", "precision", "recall", "macro_f1"):
        entity["overall"][name] = {"value": 0.5, "low": None, "high": None}
    page = report_page(values)
    assert "Expected calibration error" in page
    text = " ".join(Reader(page).text)
    assert not re.search(r"\b(None|nan)\b", text)


def test_what_is_shown_are_the_numbers_of_the_data() -> None:
    values = analysis()
    entity = values["layers"]["entity"]
    entity["overall"]["f1"] = {"value": 0.1234, "low": 0.0561, "high": 0.3456}
    entity["errors"]["all"]["missed"] = 1234
    page = report_page(values)
    assert '0.123 <span class="interval">0.056–0.346</span>' in page
    assert f'data-pick="0,{KINDS.index("missed")},,">1,234' in re.sub(r' data-says="[^"]*"', "", page)
    for text in (
        "seqeval’s report, strict IOB2",
        "lenient",
        "the highest micro F1",
        "<caption>all labels, micro averages",
        "</svg>micro F1</li>",
        "Confusion",
        "unseen",
        "majority",
        "Gold that the tokens cannot",
    ):
        assert text in page


def test_many_articles_are_cut_to_the_weakest_and_the_errors_to_the_first() -> None:
    page = report_page(large(200))
    assert "the 50 with the lowest F1 of 100" in page
    assert 'class="name">g-0<' in page and 'class="name">g-60<' not in page
    read = Reader(page)
    assert [tag for tag, _ in read.elements].count("li") < 60
    assert len(read.data()[0]["errors"]) == 600
    assert "The first 25 of 600 errors" in page


def test_several_rounds_are_told_apart_and_summed() -> None:
    values = analysis()
    values["about"]["rounds"] = ["seed-0", "seed-1"]
    entity = values["layers"]["entity"]
    entity["overall"]["by_round"] = [0.61, 0.59]
    entity["tables"] = [{**entity["tables"][0], "round": name} for name in values["about"]["rounds"]]
    text = " ".join(Reader(report_page(values)).text)
    for said in (
        "F1 by round: 0.610, 0.590",
        "strict IOB2, seed-1",
        "counted over all 2 rounds",
        "made in 1 of 2 rounds",
    ):
        assert said in text


def test_only_web_addresses_become_links() -> None:
    assert task_link("https://x/{task}", "a b/../c?d") == "https://x/a%20b%2F..%2Fc%3Fd"
    assert task_link("javascript:alert({task})", 1) is None
    assert task_link(None, 1) is None and task_link("https://x/{task}", None) is None


def test_writing_makes_the_folder_and_the_whole_file(tmp_path: Path) -> None:
    write_page(analysis(), tmp_path / "new" / "report.html")
    write_comparison_page(COMPARED, tmp_path / "new" / "compared.html")
    assert (tmp_path / "new" / "report.html").read_text("utf-8") == report_page(analysis())
    assert (tmp_path / "new" / "compared.html").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_texts_that_utf8_cannot_hold_are_still_written(tmp_path: Path) -> None:
    values = copy.deepcopy(analysis())
    values["sentences"]["rows"][0][2] = "\ud800 Omar \x00 left"
    write_page(values, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "‹U+D800›" in page
    assert Reader(page).data()[0]["sentences"][0][2] == "\ud800 Omar \x00 left"


def test_a_comparison_shows_verdicts_counts_and_changed_errors() -> None:
    page = comparison_page(COMPARED)
    for layer in COMPARED["pairs"][0]["layers"]:
        assert layer["conclusion"] in page
    [values] = Reader(page).data()
    changed = sum(len(layer["errors"]["changed"]) for layer in COMPARED["pairs"][0]["layers"])
    assert len(values["errors"]) == changed > 0
    assert "A fixes" in page and "A introduces" in page


def test_a_comparison_has_the_schemas_colours() -> None:
    layer, *_ = (one["layer"] for one in COMPARED["pairs"][0]["layers"])
    label, *_ = COMPARED["pairs"][0]["layers"][0]["errors"]["by_label"]
    page = comparison_page({**COMPARED, "colors": {layer: {label: "#123456"}}})
    rule = colours([[{"name": label, "color": "#123456"}]]).split("}")[0]
    assert rule in page and rule not in comparison_page(COMPARED)


def test_colours_can_be_read() -> None:
    css = (ASSETS / "report.css").read_text("utf-8")
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{([^}]*)\}", css))
    heats = [tuple(map(int, found)) for found in re.findall(r"--heat: (\d+), (\d+), (\d+)", css)]
    for theme, heat in zip((light, dark), heats, strict=True):
        colour = {name: rgb(value) for name, value in theme.items()}
        for ground in ("paper", "panel"):
            assert contrast(colour["ink"], colour[ground]) >= 7
            assert contrast(colour["quiet"], colour[ground]) >= 4.5
        for line in ("first", "second", "third"):
            assert contrast(colour[line], colour["paper"]) >= 3
        darkest = mix(type(colour["ink"])(*heat), colour["paper"], 0.42)
        assert contrast(colour["ink"], darkest) >= 4.5
