"""The page in a real browser: fits phone and desk, follows the colour scheme, holds the text, filters, runs nothing."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from chromium import CHROMIUM, needs_chromium

from annotations.document import Document, Label, Labels, Span
from annotations.pages.render import html_page
from annotations.schema import Schema

pytestmark = needs_chromium
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
HOSTILE = """<script>document.title = "pwned"</script><img src=x onerror='document.title = "pwned"'>&amp;\r\n"""
EVERYTHING = "".join(map(chr, range(0x700))) + "\r\r\n\n\u2028\u2029\ud800\ufffe\ufeff𝒜👩‍👩‍👧 " + "long" * 200
MEASURE = """<script>
addEventListener("load", () => {
  const texts = [...document.querySelectorAll(".text")].map(text => {
    const copy = text.cloneNode(true);
    copy.querySelectorAll(".tag").forEach(tag => tag.remove());
    copy.querySelectorAll("i.control").forEach(sign => {
      if (!sign.textContent) sign.textContent = String.fromCharCode(parseInt(sign.title.slice(2), 16));
    });
    return [...Array(copy.textContent.length).keys()].map(index => copy.textContent.charCodeAt(index));
  });
  const mark = document.querySelector("mark"), style = () => getComputedStyle(mark).backgroundColor;
  const tag = () => getComputedStyle(mark.querySelector(".tag")).display;
  const measured = {
    inner: innerWidth, scroll: document.documentElement.scrollWidth, title: document.title, texts,
    scrolling: [...document.querySelectorAll(".text")].map(text => text.scrollWidth > text.clientWidth),
    paper: getComputedStyle(document.body).backgroundColor, before: [style(), tag()],
  };
  document.querySelectorAll("input").forEach(box => box.click());
  measured.after = [style(), tag()];
  parent.document.querySelector("#measured").textContent = JSON.stringify(measured);
});
</script>"""
# A window is never narrower than 500 pixels without a screenshot; a frame is.
FRAME = """<!DOCTYPE html><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<pre id="measured"></pre><iframe style="border: 0; width: {width}px; height: 800px" srcdoc="{source}"></iframe>"""


def _documents() -> list[Document]:
    prose = "In Afghanistan, the Taliban’s advance drew support. “We deny it,” he said.\n\nالمتحدث باسم طالبان نفى ذلك."
    labels: dict[str, Labels] = {
        "entity": (
            Span(start=3, end=14, label="LOCATION", score=0.9),
            Span(start=20, end=27, label="MILITANT_GROUP", score=0.8),
        ),
        "stance": (Span(start=0, end=51, label="supports"), Span(start=52, end=75, label="denies")),
        "document": Label(label="neutral", score=0.5),
    }
    return [
        Document(id="prose", text=prose * 6, target="A claim. " * 10, labels=labels, source={"title": "A headline"}),
        Document(id="hostile" * 40, text=HOSTILE, target="x" * 300, source={"title": HOSTILE}),
        Document(id="everything", text=EVERYTHING, labels={"entity": (Span(start=0, end=0x700, label="DATE"),)}),
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    schema = Schema.load("configs/schema.yaml")
    path.write_text("".join(html_page(_documents(), schema, "Tagged articles")), "utf-8", newline="")
    return path


def _browse(folder: Path, *options: str) -> str:
    """Run the browser once, with a new profile, and end all of it when it takes too long."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, errors
    return output


def _measure(page: Path, folder: Path, width: int, *options: str) -> dict[str, Any]:
    source, count = POLICY.subn("", page.read_text("utf-8"))
    assert count == 1
    frame = folder / "frame.html"
    framed = FRAME.format(width=width, source=html.escape(source.replace("</body>", MEASURE + "</body>")))
    frame.write_text(framed, "utf-8", newline="")
    dumped = _browse(folder, "--window-size=1400,900", *options, "--dump-dom", frame.as_uri())
    found = re.search(r'<pre id="measured">(.+?)</pre>', dumped, re.DOTALL)
    assert found, dumped[-2000:]
    measured = json.loads(html.unescape(found[1]))
    assert isinstance(measured, dict)
    return measured


def _rows(picture: bytes) -> tuple[int, list[bytes]]:
    """Width of a PNG and its rows of bytes, still filtered: equal rows mean that nothing changes between them."""
    assert picture.startswith(b"\x89PNG")
    width, height = int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
    packed, place = b"", 8
    while place < len(picture):
        size, kind = int.from_bytes(picture[place : place + 4], "big"), picture[place + 4 : place + 8]
        packed += picture[place + 8 : place + 8 + size] if kind == b"IDAT" else b""
        place += size + 12
    raw = zlib.decompress(packed)
    stride = len(raw) // height
    return width, [raw[row * stride : (row + 1) * stride] for row in range(height)]


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize(
    ("scheme", "paper"), [(1, "rgb(255, 255, 255)"), (0, "rgb(22, 24, 28)")], ids=["light", "dark"]
)
def test_page_fits_and_follows_the_scheme(page: Path, tmp_path: Path, width: int, scheme: int, paper: str) -> None:
    measured = _measure(page, tmp_path, width, f"--blink-settings=preferredColorScheme={scheme}")
    assert measured["inner"] == width
    assert measured["scroll"] <= width
    assert measured["scrolling"][:2] == [False, False], "prose has to wrap"
    assert measured["paper"] == paper


def test_browser_holds_the_exact_text_runs_none_of_it_and_filters(page: Path, tmp_path: Path) -> None:
    measured = _measure(page, tmp_path, 1280)
    texts = [b"".join(unit.to_bytes(2, "little") for unit in units) for units in measured["texts"]]
    assert texts == [document.text.encode("utf-16-le", "surrogatepass") for document in _documents()]
    assert measured["title"] == "Tagged articles"
    assert measured["before"][1] == "inline"
    assert measured["after"] == ["rgba(0, 0, 0, 0)", "none"]


@pytest.mark.parametrize("width", [400, 1280])
def test_screenshot_is_not_blank(page: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / "page.png"
    _browse(tmp_path, f"--window-size={width},900", f"--screenshot={picture}", page.as_uri())
    found, rows = _rows(picture.read_bytes())
    assert found == width
    assert len(set(rows)) > 300
