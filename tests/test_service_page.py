"""The service's page in a real browser: a text pasted, tagged and read without a mouse, on desk and phone, hostile texts too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chromium import launched, needs_chromium
from playwright.sync_api import Browser, Page, expect
from service_help import ADMIN, TARGET, USER, Running, in_thread, make_checkpoint

from inference.config import TaggerConfig
from inference.service.access import Access

pytestmark = needs_chromium
HOSTILE = """<script>document.title = "pwned"</script><img src=x onerror='document.title = "pwned"'> & 🙂\nطالبان"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path], config: TaggerConfig) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("page") / "tagger", encoders("modernbert"), config, 1)


@pytest.fixture(scope="module")
def service(checkpoint: Path) -> Iterator[Running]:
    with in_thread(checkpoint, ["limits.characters=3000"]) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture
def said() -> list[str]:
    """Everything the page logs, and what it asks for elsewhere."""
    return []


@pytest.fixture
def page(browser: Browser, service: Running, said: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.set_default_timeout(60_000)
    made.on("console", lambda message: said.append(message.text))
    made.on("pageerror", lambda error: said.append(str(error)))
    made.on("request", lambda request: said.append(request.url) if not request.url.startswith(service.url) else None)
    made.goto(service.url)
    yield made
    context.close()


def test_a_text_is_tagged_without_a_mouse(page: Page, said: list[str]) -> None:
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.type("The Taliban met in Kabul.\nNobody was hurt.")
    page.keyboard.press("Tab")
    page.keyboard.type(TARGET)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("Done.")
    assert page.evaluate("document.activeElement.id") == "result"
    assert page.locator(".sentence").count() >= 2
    assert TARGET in page.locator("#result .claim").inner_text()
    page.locator("#text").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("Another text.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#result .sentence.first")).to_have_count(1)
    assert said == []


def test_problems_are_told_where_people_look(page: Page) -> None:
    page.locator("#text").fill("a" * 3001)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#state")).to_contain_text("3001 characters, at most 3000")
    assert page.locator("#result").inner_html() == ""
    assert page.locator("#state").get_attribute("role") == "status"


def test_hostile_text_is_only_text(page: Page, said: list[str]) -> None:
    page.locator("#text").fill(HOSTILE)
    page.locator("#target").fill(HOSTILE)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#state")).to_have_text("Done.")
    assert page.title() == "Standpoint" and said == []
    shown = page.locator("#result .text").evaluate(
        "text => { text.querySelectorAll('.tag').forEach(tag => tag.remove()); return text.textContent }"
    )
    assert shown == HOSTILE


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits_and_every_field_has_a_name(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("#text").fill("Kabul " * 50 + "x" * 300)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#state")).to_have_text("Done.")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("text", "target"):
        assert page.locator(f"label[for={name}]").is_visible()
    box = page.locator("button").bounding_box()
    assert box and box["height"] >= 40


def test_colours_follow_the_scheme_and_the_legend_hides_them(page: Page) -> None:
    page.locator("#text").fill("The Taliban met in Kabul. " * 10)
    page.keyboard.press("Control+Enter")
    mark = page.locator("#result mark").first
    ground = "mark => getComputedStyle(mark).backgroundColor"
    light = mark.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    assert mark.evaluate(ground) != light
    found = re.search(r"l\d+-\d+", mark.get_attribute("class") or "")
    assert found
    page.locator(f"#{found[0]}").focus()
    page.keyboard.press("Space")
    assert mark.evaluate(ground) == "rgba(0, 0, 0, 0)"


def test_a_token_is_asked_for_where_one_is_needed(checkpoint: Path, browser: Browser) -> None:
    with in_thread(checkpoint, access=Access([USER], [ADMIN])) as running:
        page = browser.new_page()
        page.goto(running.url)
        page.locator("#text").fill("Kabul.")
        page.locator("#token").fill("wrong")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#state")).to_contain_text("A bearer token is needed")
        page.locator("#token").fill(USER)
        page.keyboard.press("Control+Enter")
        expect(page.locator("#state")).to_have_text("Done.")
        page.close()


def test_nothing_from_outside_is_allowed(service: Running) -> None:
    with service.client() as client:
        reply = client.get("/")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", reply.text)
