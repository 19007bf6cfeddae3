"""The page on which a text is pasted and seen tagged. It knows schemas, and needs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from string import Template

from annotations.document import Document, Label, Labels, Span
from annotations.pages.render import article, legend, safe, sheet
from annotations.schema import Schema
from inference.service.messages import DocumentIn
from inference.service.models import Loaded

TARGET = """<label for="target">Target</label>
<textarea id="target" rows="2" dir="auto" aria-describedby="about-target"></textarea>
<p class="hint" id="about-target">The claim that the text is read against; without one, names alone are marked.</p>
"""
TOKEN = '<label for="token">Token</label>\n<input id="token" type="password" autocomplete="off" required>\n'


class Page:
    """The page of the model that answers; made once for each."""

    def __init__(self) -> None:
        self._made: tuple[str, bytes, str] = ("", b"", "")

    def html(self, model: Loaded, *, needs_token: bool) -> tuple[bytes, str]:
        """The page, and the content security policy that lets it load and run nothing but itself."""
        if self._made[0] != model.version:
            self._made = (model.version, *_render(model, needs_token))
        return self._made[1:]


def fragment(item: DocumentIn, answer: bytes, schema: Schema) -> bytes:
    """A document that was answered in code points as the page shows it: HTML in which its text is escaped."""
    labels: dict[str, Labels] = {
        layer: tuple(Span.model_validate(one) for one in found)
        if isinstance(found, list)
        else Label.model_validate(found)
        for layer, found in json.loads(answer)["labels"].items()
    }
    document = Document(id=item.id or "text", text=item.text, target=item.target, labels=labels)
    return "".join(article(document, schema, 1)).encode()


def _render(model: Loaded, needs_token: bool) -> tuple[bytes, str]:
    schema = model.work.schema
    style, script = sheet(schema) + _file("page.css"), _file("page.js")
    filled = Template(_file("page.html")).substitute(
        style=style,
        script=script,
        legend="".join(legend(schema)),
        target=TARGET if schema.targeted else "",
        token=TOKEN if needs_token else "",
        version=safe(model.version),
    )
    allowed = {"style-src": _hash(style), "script-src": _hash(script), "connect-src": "'self'"}
    refused = ("default-src", "base-uri", "form-action", "frame-ancestors")
    policy = "; ".join([*(f"{name} 'none'" for name in refused), *(f"{name} {what}" for name, what in allowed.items())])
    return filled.encode(), policy


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return files("inference.service").joinpath(name).read_text("utf-8")
