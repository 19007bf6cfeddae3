"""The spaCy component `standpoint`: entities into `doc.ents`, sentences into `doc.spans`, everything into `doc._.standpoint`.

It knows Docs and spans, not models. Importing it registers the factory, which is how spaCy finds components: by the entry
point `spacy_factories` in pyproject.toml. Nothing else imports it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import raise_error

from annotations.document import Document, claim, plain_labels
from annotations.document import Span as Marked
from annotations.errors import ConfigError, DocumentError, did_you_mean
from annotations.schema import Kind, Schema
from inference.interop.loading import Source
from inference.tagger import target_check

EXTENSION = "standpoint"
TARGET = "standpoint_target"
APART = "standpoint"
"""The group of `doc.spans` with the entities that are no whole tokens, widened to the tokens they touch."""


@Language.factory(
    "standpoint",
    assigns=["doc.ents", "doc.spans", "doc._.standpoint", "token.ent_iob", "token.ent_type"],
    default_config={"target": None, "layer": None, "engine": "auto"},
)
def factory(nlp: Language, name: str, checkpoint: str, target: str | None, layer: str | None, engine: str) -> Component:
    """Make the component; spaCy calls it, and keeps its settings in the pipeline's config."""
    return Component(name, Source.of(checkpoint, engine), target=target, layer=layer)


class Component:
    """Tags Docs with a checkpoint, which each process loads when the first Doc comes.

    `doc.ents` are the spans of one layer; `doc.spans[name]` those of every other layer of spans or sentences. A span that is
    no whole tokens is widened to the tokens it touches; an entity of that sort is in `doc.spans["standpoint"]` alone.
    `doc._.standpoint` is a plain dict, which spaCy can save: `target`; `labels`, layer to what the tagger answered, in
    characters (a list of dicts with start, end, label and score, or one with label and score); `unaligned`, layer to how many
    spans were widened. `doc._.standpoint_target`, set before, takes the place of the component's target.
    """

    def __init__(self, name: str, source: Source, *, target: str | None = None, layer: str | None = None) -> None:
        """`layer` is the layer of spans that becomes `doc.ents`; by default the first. Raises ConfigError for another."""
        self.name = name
        self.source = source
        self.target = target
        schema = source.schema
        self.layer = _entities(schema, layer)
        self._layers = frozenset(schema.layers)
        self._handle: Callable[..., Any] = raise_error
        for extension in (EXTENSION, TARGET):
            if not Doc.has_extension(extension):
                Doc.set_extension(extension, default=None)

    def set_error_handler(self, handler: Callable[..., Any]) -> None:
        """What to do with a Doc that cannot be tagged; spaCy calls it for `nlp.set_error_handler`."""
        self._handle = handler

    def get_error_handler(self) -> Callable[..., Any]:
        """The handler; spaCy asks for it."""
        return self._handle

    def __call__(self, doc: Doc) -> Doc:
        """Tag one Doc."""
        return next(self.pipe([doc]), doc)

    def pipe(self, stream: Iterable[Doc], batch_size: int = 128) -> Iterator[Doc]:
        """Tag a stream of Docs, in order; the tagger fills batches across them by itself, whatever `batch_size`.

        A Doc whose target cannot be read goes to the error handler, which raises DocumentError unless another one is set.
        """
        tagger = self.source.tagger()
        waiting: deque[Doc] = deque()
        problem = target_check(tagger)

        def documents() -> Iterator[Document]:
            for number, doc in enumerate(stream):
                own = doc._.get(TARGET)
                foreign = _no_text(own, number)
                target = None if foreign else claim(own) or self.target
                if error := foreign or problem(target):
                    self._handle(self.name, self, [doc], error)
                    continue
                waiting.append(doc)
                yield Document(id=f"doc {number}", text=doc.text, target=target)

        for answer in tagger.tag(documents()):
            yield self._annotated(waiting.popleft(), answer)

    def _annotated(self, doc: Doc, answer: Document) -> Doc:
        unaligned: dict[str, int] = {}
        for name in self._layers.intersection((doc._.get(EXTENSION) or {"labels": ()})["labels"]):
            # Of an earlier reading, against another target; what another component found stays.
            if name not in answer.labels and name == self.layer:
                doc.set_ents([], default="outside")
                doc.spans.pop(APART, None)
            elif name not in answer.labels:
                doc.spans.pop(name, None)
        for name, labels in answer.labels.items():
            if not isinstance(labels, tuple):
                continue
            exact, widened = _aligned(doc, labels)
            unaligned[name] = len(widened)
            if name == self.layer:
                doc.set_ents(exact, default="outside")
                doc.spans[APART] = widened
            else:
                doc.spans[name] = sorted([*exact, *widened], key=lambda span: span.start_char)
        kept = {name: plain_labels(labels) for name, labels in answer.labels.items()}
        doc._.set(EXTENSION, {"target": answer.target, "labels": kept, "unaligned": unaligned})
        return doc


def _entities(schema: Schema, layer: str | None) -> str | None:
    """The layer that becomes `doc.ents`; None where the schema has no layer of spans."""
    spans = list(schema.of_kind(Kind.SPANS))
    if layer is not None and layer not in spans:
        raise ConfigError("layer", f"{layer!r} is no layer of spans of this tagger; {did_you_mean(layer, spans)}")
    return layer or next(iter(spans), None)


def _no_text(target: Any, number: int) -> DocumentError | None:
    """Why a Doc's own target is none, as a table's missing cell, which is a number; None for a text and for no target."""
    if target is None or isinstance(target, str):
        return None
    told = f"`doc._.{TARGET}` is of type {type(target).__name__}; set it to a text (str) or None"
    return DocumentError(f"doc {number}", told)


def _aligned(doc: Doc, labels: Sequence[Marked]) -> tuple[list[Span], list[Span]]:
    """The spans that are whole tokens, and the others, widened to the tokens they touch."""
    exact, widened = [], []
    for one in labels:
        if found := doc.char_span(one.start, one.end, label=one.label):
            exact.append(found)
        elif found := doc.char_span(one.start, one.end, label=one.label, alignment_mode="expand"):
            widened.append(found)
    return exact, widened
