"""Errors in their sentences as a list that a browser filters: the data for `report.js`, and the first ones as plain HTML.

It knows marks on stretches of text, said by gold and by one or more results. What `_item` writes, `report.js` writes too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from annotations.pages.render import safe
from training.reports.pages.elements import chip, embedded, several

FIRST = 25
"""Errors that are on the page without its script."""
_WEB = re.compile(r"https?://", re.IGNORECASE)

Row = Sequence[Any]
Place = tuple[int, int, int]
"""Start, end and label."""


@dataclass(frozen=True)
class ErrorList:
    """All that the list shows. Rows are plain lists, since there may be hundreds of thousands of errors."""

    sides: Sequence[str]
    """`gold`, then each result."""
    layers: Sequence[Mapping[str, Any]]
    """`name`, `labels` (names), `whole`: whether a label stands on all of the text shown, and `targeted`."""
    kinds: Sequence[str]
    changes: Sequence[str]
    """In words, what may have become of an error; empty where one result is shown."""
    documents: Sequence[Row]
    """Id, group, task, link to the task, target; what is unknown is None."""
    sentences: Sequence[Row]
    """Place in `documents`, offset in the document, text."""
    errors: Sequence[Row]
    """Places in `layers`, `kinds`, `changes` (or None) and `sentences`, number of rounds, and for each side its marks:
    start, end, label, score (or None); a mark on the whole text has start and end None."""
    rounds: int = 1


def task_link(pattern: str | None, task: object) -> str | None:
    """The address of a task, from one with `{task}` in it; None where either is unknown, or it is no web address."""
    if pattern is None or task is None or not _WEB.match(pattern):
        return None
    return pattern.replace("{task}", quote(str(task), safe=""))


def error_list(found: ErrorList, name: str, heading: str) -> str:
    """The whole part of a page: filters, list and data. `name` is unlike that of any other list on the page."""
    first = "".join(_item(found, row) for row in found.errors[:FIRST])
    total = len(found.errors)
    shown = min(total, FIRST)
    rest = f"The first {shown:,} of {several(total, 'error')}; the others, and filters, need JavaScript."
    note = f"<noscript><p>{rest}</p></noscript>\n" if total > shown else ""
    none = '<p class="empty">No errors.</p>\n' if not total else ""
    return (
        f'<section class="errors" id="{name}" aria-labelledby="{name}-heading">\n'
        f'<h2 id="{name}-heading" tabindex="-1">{safe(heading)}</h2>\n{_filters(found, name)}{note}{none}'
        f'<p class="status" id="{name}-status" role="status" aria-live="polite"></p>\n<ol class="list">\n{first}</ol>\n'
        f'<p><button type="button" class="more" hidden>Show more</button></p>\n'
        f'<script type="application/json" class="data">{embedded(_data(found))}</script>\n</section>\n'
    )


def _data(found: ErrorList) -> dict[str, Any]:
    return {
        "sides": list(found.sides),
        "layers": list(found.layers),
        "kinds": list(found.kinds),
        "changes": list(found.changes),
        "documents": found.documents,
        "sentences": found.sentences,
        "errors": found.errors,
        "rounds": found.rounds,
    }


def _filters(found: ErrorList, name: str) -> str:
    """Shown by the script, without which they would do nothing."""
    layers = [(str(place), layer["name"]) for place, layer in enumerate(found.layers)]
    kinds, changes = (
        [(str(place), each) for place, each in enumerate(names)] for names in (found.kinds, found.changes)
    )
    scored = any(mark[3] is not None for row in found.errors for marks in row[5] for mark in marks)
    orders = [("text", "text order"), ("sure", "surest first")]
    fields = [
        _select(f"{name}-layer", "Layer", [("", "all layers"), *layers]) if len(layers) > 1 else "",
        _labels(found, f"{name}-label"),
        _select(f"{name}-change", "Change", [("", "all changes"), *changes]) if changes else "",
        _select(f"{name}-kind", "Kind", [("", "all kinds"), *kinds]),
        f'<div class="field wide"><label for="{name}-text">Text, document or article</label>'
        f'<input type="search" id="{name}-text" autocomplete="off" spellcheck="false"></div>\n',
        _select(f"{name}-order", "Order", orders) if scored else "",
    ]
    return (
        f'<form class="filters" role="search" aria-label="Filter the errors" hidden>\n{"".join(fields)}'
        '<p class="picked" hidden><span></span></p>\n<div class="field"><button type="reset">Show all</button></div>\n</form>\n'
    )


def _select(key: str, label: str, options: Iterable[tuple[str, str]]) -> str:
    chosen = "".join(f'<option value="{safe(value)}">{safe(text)}</option>' for value, text in options)
    return f'<div class="field"><label for="{key}">{label}</label><select id="{key}">{chosen}</select></div>\n'


def _labels(found: ErrorList, key: str) -> str:
    groups = []
    for place, layer in enumerate(found.layers):
        options = "".join(
            f'<option value="{place}-{number}">{safe(label)}</option>' for number, label in enumerate(layer["labels"])
        )
        groups.append(f'<optgroup label="{safe(layer["name"])}">{options}</optgroup>')
    options = '<option value="">all labels</option>' + "".join(groups)
    return f'<div class="field"><label for="{key}">Label</label><select id="{key}">{options}</select></div>\n'


def _item(found: ErrorList, row: Row) -> str:
    layer, kind, change, sentence, rounds, sides = row
    document, _, _ = found.sentences[sentence]
    badges = "" if change is None else f'<span class="badge change">{safe(found.changes[change])}</span> '
    badges += f'<span class="badge">{safe(found.kinds[kind])}</span> '
    head = f'{badges}<span class="layer">{safe(found.layers[layer]["name"])}</span>'
    spoken = "".join(_side(found, layer, sentence, name, marks) for name, marks in zip(found.sides, sides, strict=True))
    text = "".join(_sentence(found, layer, sentence, sides))
    where = _where(found, layer, found.documents[document], rounds)
    return (
        f'<li class="error"><h3>{head}</h3><dl class="sides">{spoken}</dl>'
        f'<p class="sentence" dir="auto">{text}</p><p class="where">{where}</p></li>\n'
    )


def _side(found: ErrorList, layer: int, sentence: int, name: str, marks: Sequence[Row]) -> str:
    """What one side says here: label, words, probability."""
    _, offset, text = found.sentences[sentence]
    said = []
    for start, end, label, score in marks:
        words = "" if start is None or found.layers[layer]["whole"] else _words(text, start - offset, end - offset)
        sure = "" if score is None else f' <span class="score">{score:.2f}</span>'
        said.append(chip(found.layers[layer]["labels"][label], layer, label) + words + sure)
    spoken = ", ".join(said) or '<span class="nothing">nothing</span>'
    return f"<div><dt>{safe(name)}</dt><dd>{spoken}</dd></div>"


def _words(text: str, start: int, end: int) -> str:
    return f" <bdi>“{safe(text[max(0, start) : max(0, end)])}”</bdi>"


def _sentence(found: ErrorList, layer: int, sentence: int, sides: Sequence[Sequence[Row]]) -> Iterator[str]:
    """The text with every mark in it: gold is underlined, what a result says is shaded, and each is named where it ends."""
    _, offset, text = found.sentences[sentence]
    if found.layers[layer]["whole"]:
        yield safe(text)
        return
    said: dict[Place, list[int]] = {}
    for side, marks in enumerate(sides):
        for start, end, label, _ in marks:
            place = (max(0, start - offset), min(len(text), end - offset), label)
            said.setdefault(place, []).append(side)
    over = sorted(said, key=lambda place: (place[0], -place[1]))
    cuts = sorted({0, len(text), *(edge for place in over for edge in place[:2])})
    for start, end in pairwise(cuts):
        inside = [place for place in over if place[0] <= start and end <= place[1]]
        yield "".join(f'<span class="{_style(layer, place, said[place])}">' for place in inside)
        yield safe(text[start:end]) + "</span>" * len(inside)
        for place in reversed(inside):
            if place[1] == end:
                names = ", ".join(found.sides[side] for side in said[place])
                label = found.layers[layer]["labels"][place[2]]
                yield f'<span class="tag l{layer}-{place[2]}">\u00a0{safe(names)}\u00a0{safe(label)}\u00a0</span>'


def _style(layer: int, place: Place, sides: Sequence[int]) -> str:
    signs = (" gold" if 0 in sides else "") + (" said" if any(sides) else "")
    return f"mark l{layer}-{place[2]}{signs}"


def _where(found: ErrorList, layer: int, document: Row, rounds: int) -> str:
    identity, group, task, link, target = document
    said = [f"<bdi>{safe(identity)}</bdi>"]
    if group is not None and group != identity:
        said.append(f"<bdi>{safe(group)}</bdi>")
    if target is not None and found.layers[layer]["targeted"]:
        said.append(f"target: <bdi>{safe(target)}</bdi>")
    if found.rounds > 1:
        said.append(f"made in {rounds} of {found.rounds} rounds")
    if link is not None:
        said.append(f'<a href="{safe(link)}" rel="noreferrer">task {safe(str(task))} in Label Studio</a>')
    elif task is not None:
        said.append(f"task {safe(str(task))}")
    return " · ".join(said)
