"""The pages of scores in a real browser: they fit, are quiet, filter, need no mouse, and stay quick when large."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from chromium import launched, needs_chromium
from playwright.sync_api import Browser, BrowserContext, Page, expect
from report_values import TEXTS, analysis, large
from test_report_page import COMPARED, renamed

from training.reports.pages.comparison import write_comparison_page
from training.reports.pages.report import write_page

pytestmark = needs_chromium
HOSTILE = """</script </script><!-- <script <img src=x onerror='document.title = "pwned"'>\u202e\x00\x1b & 🙂"""
NAMES = ["report", "hostile", "comparison"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages that the tests look at, but the large one."""
    place = tmp_path_factory.mktemp("pages")
    write_page(analysis(), place / "report.html")
    values = renamed(analysis(), {"PERSON": "A_VERY_LONG_LABEL_" * 4})
    values["sentences"]["rows"][0][2] = TEXTS[0] + HOSTILE * 20
    values["documents"]["rows"][0][:2] = ["id" * 90, HOSTILE]
    values["about"]["name"] = "runs/" + "long" * 60 + HOSTILE
    write_page(values, place / "hostile.html")
    write_comparison_page(COMPARED, place / "comparison.html")
    return place


@pytest.fixture
def said() -> list[str]:
    """Everything a page logs or asks the network for."""
    return []


def window(context: BrowserContext, path: Path, said: list[str]) -> Page:
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    return page


@pytest.fixture
def report(browser: Browser, folder: Path, said: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield window(context, folder / "report.html", said)
    context.close()
    assert said == []


@pytest.mark.parametrize("name", NAMES)
def test_pages_fit_are_quiet_and_follow_the_scheme(browser: Browser, folder: Path, said: list[str], name: str) -> None:
    context = browser.new_context()
    page = window(context, folder / f"{name}.html", said)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 28)")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    assert page.locator("li.error").count() > 0
    assert page.title() != "pwned"
    context.close()
    assert said == []


@pytest.mark.parametrize("name", NAMES)
def test_without_the_script_the_first_errors_are_the_same(
    browser: Browser, folder: Path, said: list[str], name: str
) -> None:
    shown = []
    for script in (True, False):
        context = browser.new_context(java_script_enabled=script)
        page = window(context, folder / f"{name}.html", said)
        shown.append(page.locator("li.error").evaluate_all("found => found.slice(0, 25).map(item => item.innerHTML)"))
        assert page.locator("form.filters").first.is_visible() == script
        context.close()
    assert shown[0] == shown[1] != []
    assert said == []


def expect_items(page: Page, *names: str) -> None:
    """Waits: the list is filled a moment after the event."""
    expect(page.locator("li.error h3")).to_have_text([*names], use_inner_text=True)


def test_every_filter_changes_what_is_shown(report: Page) -> None:
    status = report.locator("#errors-status")
    expect(report.locator("li.error")).to_have_count(7)
    report.select_option("#errors-layer", label="stance")
    expect_items(report, "type stance", "missed stance")
    assert not report.locator("#errors-label optgroup").first.is_visible()
    report.select_option("#errors-kind", label="missed")
    expect(status).to_have_text("1 shown of 1 found, of 7 in all")
    report.click("text=Show all")
    expect(status).to_have_text("7 shown of 7")
    report.select_option("#errors-label", label="PLACE")
    expect_items(report, "type entity", "boundary and type entity", "missed entity")
    report.click("text=Show all")
    report.fill("#errors-text", "HERAT")
    expect(report.locator("li.error")).to_have_count(2)
    report.fill("#errors-text", "article-1")
    expect(report.locator("li.error")).to_have_count(4)
    report.fill("#errors-text", "nowhere")
    expect(status).to_have_text("None of 7 errors is like this.")
    report.click("text=Show all")
    report.select_option("#errors-order", label="surest first")
    for place, name in enumerate(["boundary entity", "spurious entity", "type stance"]):
        expect(report.locator("li.error h3").nth(place)).to_have_text(name, use_inner_text=True)


def test_spans_are_marked_exactly_and_tasks_are_linked(report: Page) -> None:
    first = report.locator("li.error").first
    assert first.locator(".mark.gold").all_inner_texts() == ["Mullah ", "Omar"]
    assert first.locator(".mark.said").all_inner_texts() == ["Omar"]
    assert [tag.split() for tag in first.locator(".tag").all_inner_texts()] == [
        ["predicted", "PERSON"],
        ["gold", "PERSON"],
    ]
    assert first.locator("a").get_attribute("href") == "http://localhost:8080/projects/1/data?task=17"
    crossing = report.locator("li.error", has_text="boundary and type").first
    assert crossing.locator(".sentence").inner_text().startswith("Hekmatyar was")
    copied = crossing.locator(".sentence").evaluate(
        "node => { const copy = node.cloneNode(true); copy.querySelectorAll('.tag').forEach(tag => tag.remove());"
        " return copy.textContent; }"
    )
    assert copied == TEXTS[1]


def test_numbers_lead_to_their_errors(report: Page) -> None:
    report.get_by_role("button", name="2: gold PERSON, predicted PLACE; show these errors").click()
    expect_items(report, "type entity", "boundary and type entity")
    assert report.locator(".picked").inner_text() == "Only gold PERSON, predicted PLACE"
    assert report.evaluate("document.activeElement.id") == "errors-heading"
    report.get_by_role("button", name="1: missed; show these errors").first.click()
    expect_items(report, "missed entity")
    assert not report.locator(".picked").is_visible()


def focus(page: Page, key: str) -> None:
    """One step on, to the element with this id."""
    page.keyboard.press("Tab")
    found = "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]"
    assert page.evaluate(found) == [key, "solid"], "focus has to be seen"


def test_all_filters_with_the_keyboard_alone(report: Page) -> None:
    status = report.locator("#errors-status")
    report.keyboard.press("Tab")
    assert report.evaluate("document.activeElement.className") == "skip"
    links = [report.keyboard.press("Tab") or report.evaluate("document.activeElement.innerText") for _ in range(5)]
    assert links == ["Overview", "entity", "stance", "document", "7 errors"]
    report.keyboard.press("Enter")
    focus(report, "errors-layer")
    report.keyboard.type("stance")
    expect(status).to_have_text("2 shown of 2 found, of 7 in all")
    focus(report, "errors-label")
    report.keyboard.type("denies")
    expect(report.locator("li.error")).to_have_count(2)
    focus(report, "errors-kind")
    report.keyboard.type("missed")
    expect(report.locator("li.error")).to_have_count(1)
    focus(report, "errors-text")
    report.keyboard.type("farah")
    expect(status).to_have_text("1 shown of 1 found, of 7 in all")
    focus(report, "errors-order")
    report.keyboard.press("Tab")
    report.keyboard.press("Enter")
    expect(status).to_have_text("7 shown of 7")
    report.keyboard.press("Tab")
    assert "task=17" in str(report.evaluate("document.activeElement.href"))


def test_a_search_still_waiting_does_not_take_the_focus_from_the_list(report: Page) -> None:
    focused = report.evaluate(
        """async () => {
            const after = milliseconds => new Promise(done => setTimeout(done, milliseconds));
            const search = document.getElementById("errors-text");
            search.value = "farah";
            search.dispatchEvent(new Event("input", {bubbles: true}));
            search.form.reset();
            await after(20);
            document.querySelector("li.error a").focus();
            await after(400);
            return document.activeElement.href ?? "none";
        }"""
    )
    assert "task=17" in focused


def test_landmarks_headings_and_names(report: Page) -> None:
    for role in ("banner", "navigation", "main", "search"):
        assert report.get_by_role(role).count() == 1  # type: ignore[arg-type]
    levels = [int(name[1]) for name in report.locator("h1, h2, h3").evaluate_all("found => found.map(h => h.tagName)")]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    for control in ("Layer", "Label", "Kind", "Order", "Text, document or article"):
        assert report.get_by_label(control, exact=True).count() == 1
    assert report.locator("[aria-live=polite]").count() == 1
    pictures = report.get_by_role("img")
    assert pictures.count() == 3
    assert all("0." in str(label) for label in pictures.evaluate_all("found => found.map(f => f.ariaLabel)"))


def test_a_comparison_filters_by_what_became_of_an_error(browser: Browser, folder: Path, said: list[str]) -> None:
    context = browser.new_context()
    page = window(context, folder / "comparison.html", said)
    page.select_option("#errors-0-change", label="A introduces")
    expect(page.locator("#errors-0-status")).to_have_text(re.compile("^None of"))
    page.select_option("#errors-0-change", label="A fixes")
    page.select_option("#errors-0-layer", label="stance")
    sides = page.locator("li.error").first.locator("dt").all_inner_texts()
    assert sides == ["gold", "A", "B"]
    assert page.locator("li.error").first.locator("h3").inner_text() == "A fixes missed stance"
    context.close()
    assert said == []


def test_ten_thousand_documents_load_and_filter(browser: Browser, tmp_path: Path, said: list[str]) -> None:
    write_page(large(10_000), tmp_path / "large.html")
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = window(context, tmp_path / "large.html", said)
    status = page.locator("#errors-status")
    expect(status).to_have_text("50 shown of 30,000")
    assert page.evaluate("document.querySelectorAll('*').length") < 4000
    page.fill("#errors-text", "kunduz")
    expect(status).to_have_text("50 shown of 3,000 found, of 30,000 in all")
    page.select_option("#errors-layer", label="stance")
    expect(status).to_have_text("50 shown of 1,000 found, of 30,000 in all")
    page.get_by_role("button", name="Show 50 more").focus()
    page.keyboard.press("Enter")
    expect(status).to_have_text("100 shown of 1,000 found, of 30,000 in all")
    assert page.evaluate("[...document.querySelectorAll('li.error h3')].indexOf(document.activeElement)") == 50
    page.fill("#errors-text", "g-4999")
    expect(status).to_have_text("2 shown of 2 found, of 30,000 in all")
    context.close()
    assert said == []
