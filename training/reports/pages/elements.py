"""Pieces of HTML that every page of scores is made of: numbers, tables, folded parts, the page itself with its policy.

It knows HTML. It does not know what a report or a comparison contains.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from annotations.pages.colors import Rgb, mix, readable, rgb
from annotations.pages.render import DARK, LIGHT, SPAN_SHARE, safe
from annotations.schema import PALETTE, UNSET

NOTHING = "–"

_UNSAFE_IN_SCRIPT = re.compile("[<>&\u007f-\u009f\u2028\u2029\ud800-\udfff]")

Values = Mapping[str, Any]
Labels = Sequence[Values]


def share(value: float | None) -> str:
    """A score to three digits."""
    return NOTHING if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """A difference of scores, with its sign."""
    return NOTHING if value is None else f"{value:+.3f}".replace("-", "−")


def count(value: float | None) -> str:
    """A number of things; a mean over rounds may be broken."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def several(number: int, noun: str) -> str:
    """The number and the noun, which takes an s."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def interval(low: float | None, high: float | None, *, sign: bool = False) -> str:
    """Both ends, quietly; nothing where there is no interval."""
    if low is None or high is None:
        return ""
    ends = f"{signed(low)} to {signed(high)}" if sign else f"{share(low)}–{share(high)}"
    return f' <span class="interval">{ends}</span>'


def estimate(found: Values | None, *, sign: bool = False) -> str:
    """A score and its interval."""
    if found is None:
        return NOTHING
    value = signed(found["value"]) if sign else share(found["value"])
    return f"{value}{interval(found['low'], found['high'], sign=sign)}"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """A table that scrolls by itself where it is too wide. Caption, head and cells are HTML; the first cell heads its row."""
    heads = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>\n"
        for first, *rest in rows
    )
    label = safe(re.sub(r"<[^>]*>", "", caption))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table class="{kind}">\n'
        f"<caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def folded(summary: str, inside: str) -> str:
    """A part that opens when it is asked for. Both are HTML."""
    return f"<details><summary>{summary}</summary>\n{inside}</details>\n"


def remarks(sentences: Iterable[str]) -> str:
    """Sentences that a reader has to know, as a list; nothing where there are none."""
    lines = "".join(f'<li dir="auto">{safe(sentence)}</li>\n' for sentence in sentences)
    return f'<ul class="remarks">\n{lines}</ul>\n' if lines else ""


def chip(name: str, layer: int, label: int) -> str:
    """A label in its colour; its name is the sign that counts."""
    return f'<bdi class="chip l{layer}-{label}">{safe(name)}</bdi>'


def named(layer: Values, place: int, label: str) -> str:
    """A label's name in the colour that its layer gives it; plain where the layer does not know it."""
    names = [each["name"] for each in layer["labels"]]
    return chip(label, place, names.index(label)) if label in names else safe(label)


def section(key: str, heading: str, inside: str) -> str:
    """A part of the page that can be linked to as `#key`. The heading is plain text, `inside` is HTML."""
    return (
        f'<section id="{key}" aria-labelledby="{key}-heading">\n<h2 id="{key}-heading">{safe(heading)}</h2>\n'
        f"{inside}</section>\n"
    )


def sentence(text: str) -> str:
    """Begins with a capital letter and ends with a full stop."""
    return safe(text[:1].upper() + text[1:].removesuffix(".")) + "."


def colours(layers: Iterable[Labels]) -> str:
    """Rules `.l0-2` for each label of each layer, readable on light and dark ground; a palette where none is set."""
    found = [
        (f"l{place}-{number}", rgb(_colour(label.get("color"), number)))
        for place, labels in enumerate(layers)
        for number, label in enumerate(labels)
    ]
    light, dark = ("".join(_rule(key, colour, paper) for key, colour in found) for paper in (LIGHT, DARK))
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _colour(given: str | None, number: int) -> str:
    return PALETTE[number % len(PALETTE)] if given in (None, UNSET) else str(given)


def _rule(key: str, colour: Rgb, paper: Rgb) -> str:
    tint, edge = mix(colour, paper, SPAN_SHARE), readable(colour, paper, 3)
    name = colour
    for ground in (tint, paper):
        name = readable(name, ground, 4.5)
    return f".{key}{{--tint:{tint.hex};--edge:{edge.hex};--name:{name.hex}}}\n"


def embedded(values: Any) -> str:
    """JSON for a `script` element of a page: no text in it can end the element or say anything to the parser."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE_IN_SCRIPT.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def page(title: str, *, navigation: str, main: str, colours: str) -> str:
    """The whole page. It loads nothing, and its policy lets only its own style and script run.

    The policy is a Content Security Policy with hashes (https://www.w3.org/TR/CSP3/#grammardef-hash-source).
    """
    style = _asset("report.css") + colours
    script = _asset("report.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    values = {"title": safe(title), "policy": policy, "style": style, "script": script}
    return Template(_asset("report.html")).substitute(values, navigation=navigation, main=main)


def _asset(name: str) -> str:
    return files("training.reports.pages").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
