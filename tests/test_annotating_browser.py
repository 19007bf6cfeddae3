"""An annotator at work in a real browser on a real server: what is suggested, what is drawn, what comes back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from chromium import launched, needs_chromium
from conftest import ROOT, Staff
from playwright.sync_api import Page
from service_help import make_checkpoint
from test_ml_backend import COMMAND, start, write_serve

from annotations.document import Document, Label, Labels, Span
from annotations.labelstudio.policy import Policy
from annotations.schema import Schema
from annotations.sentences import sentences
from annotations.storage import read_jsonl
from inference.config import TaggerConfig

pytestmark = needs_chromium
SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")
TEXT = (
    "🙂 The Taliban 🇦🇫 condemned ISIS-K.\r\n\r\n"
    "Officials in Kabul 👩‍👩‍👧 declined to comment. “We deny it,” a spokesman said.\r\n"
)
DOCUMENT = Document(id="seen-1", text=TEXT, target="The Taliban fight ISIS-K.", group="seen")
# Where the words on the page are: the text node that holds them, and their rectangle in it.
FIND = """words => {
  const box = document.querySelector(".lsf-htx-richtext, .htx-richtext");
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const at = node.data.indexOf(words);
    if (at < 0) continue;
    const range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, at + words.length);
    const {left, right, top, bottom} = range.getBoundingClientRect();
    return {left, right, middle: (top + bottom) / 2};
  }
}"""
MARKED = """() => [...document.querySelectorAll(".htx-highlight")].map(mark => mark.textContent)"""


@pytest.fixture
def page(staff: Staff) -> Iterator[Page]:
    """A browser window in which the administrator is logged in."""
    with launched() as browser:
        window = browser.new_page(viewport={"width": 1280, "height": 800})
        window.set_default_timeout(180_000)
        window.goto(f"{staff.local.url}/user/login/")
        window.fill("input[name=email]", "admin@example.org")
        window.fill("input[name=password]", staff.local.password)
        window.click("button[type=submit]")
        window.wait_for_url(re.compile(r"^(?!.*/login)"))
        yield window


def suggested(document: Document) -> Document:
    start = document.text.index("Taliban")
    labels: dict[str, Labels] = {
        "entity": (Span(start=start, end=start + 7, label="MILITANT_GROUP", score=0.93),),
        "stance": tuple(Span(start=s, end=e, label="neutral", score=0.6) for s, e in sentences(document.text)),
        "document": Label(label="denies", score=0.55),
    }
    return document.with_labels(labels)


def draw(page: Page, words: str) -> None:
    """Select words with the mouse, from their first edge to their last."""
    place = page.evaluate(FIND, words)
    page.mouse.move(place["left"] + 1, place["middle"])
    page.mouse.down()
    page.mouse.move((place["left"] + place["right"]) / 2, place["middle"], steps=5)
    page.mouse.move(place["right"] - 1, place["middle"], steps=5)
    page.mouse.up()


def test_an_annotator_mends_a_suggestion(staff: Staff, page: Page, tmp_path: Path) -> None:
    from annotations.labelstudio.pull import pull
    from annotations.labelstudio.push import Suggestions, open_project, push

    def tag(documents: Iterable[Document]) -> Iterator[Document]:
        return map(suggested, documents)

    project, _ = open_project(staff.admin, SCHEMA, title="Seen in a browser")
    push(staff.admin, project, lambda: [DOCUMENT], SCHEMA, suggestions=Suggestions("v1", tag))
    (task,) = staff.admin.tasks(project)
    page.goto(f"{staff.local.url}/projects/{project}/data?task={task.id}")
    page.wait_for_selector(".htx-highlight")
    assert page.evaluate(MARKED).count("Taliban") == 1
    assert len(page.evaluate(MARKED)) >= 4, "the stance of every sentence is suggested as well"

    page.get_by_text("LOCATION", exact=True).click()
    draw(page, "Kabul")
    page.wait_for_function("() => [...document.querySelectorAll('.htx-highlight')].some(m => m.textContent == 'Kabul')")
    if folder := os.environ.get("STANDPOINT_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "label-studio.png")
    with page.expect_response(re.compile(r"/api/tasks/\d+/annotations")) as answer:
        page.get_by_role("button", name="Submit").click()
    assert answer.value.ok

    pulled = pull(staff.admin, project, tmp_path / "pulled", SCHEMA, Policy())
    (found,) = read_jsonl(pulled.documents, SCHEMA)
    kabul = TEXT.index("Kabul")
    assert found.text == TEXT
    drawn = Span(start=kabul, end=kabul + 5, label="LOCATION")
    assert found.spans("entity") == (*_bare(suggested(DOCUMENT).spans("entity")), drawn)
    assert found.spans("stance") == _bare(suggested(DOCUMENT).spans("stance"))
    assert found.labels["document"] == Label(label="denies")
    assert pulled.report.repairs == []


def _bare(spans: Iterable[Span]) -> tuple[Span, ...]:
    return tuple(span.model_copy(update={"score": None}) for span in spans)


def test_opening_a_task_brings_the_models_suggestions(
    staff: Staff, page: Page, tmp_path: Path, encoders: Callable[[str], Path], config: TaggerConfig
) -> None:
    from annotations.labelstudio.push import open_project, push

    tagger = make_checkpoint(tmp_path / "tagger", encoders("modernbert"), config, 1)
    settings = write_serve(tmp_path, tagger, encoders("modernbert"))
    backend = start([COMMAND, "serve", "--label-studio", str(settings)], tmp_path / "log.txt")
    try:
        project, _ = open_project(staff.admin, SCHEMA, title="Suggested on opening")
        staff.admin.connect_backend(project, backend.url, interactive=True)
        push(staff.admin, project, lambda: [DOCUMENT], SCHEMA)
        (task,) = staff.admin.tasks(project)
        page.goto(f"{staff.local.url}/projects/{project}/data?task={task.id}")
        page.wait_for_selector(".htx-highlight")
        (prediction,) = staff.admin._sdk.tasks.get(str(task.id)).predictions
        spans = [item["value"] for item in prediction.result if "start" in item["value"]]
        assert len(spans) >= 3, "every sentence at least is given a stance"
        shown = "".join(page.evaluate(MARKED))
        assert all(word in shown for word in ("Taliban", "Kabul", "spokesman"))
    finally:
        assert backend.stop() == 0, backend.log.read_text()
