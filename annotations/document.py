"""A text with its labels: the one noun that people see. It knows offsets; it does not know which labels exist.

Offsets are half-open and count Unicode code points, as Python's `str` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    ValidationError,
    model_validator,
)

from annotations.config import MEMBER, describe
from annotations.errors import DocumentError


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Label(_Value):
    """A label without a place: it belongs to the whole document."""

    label: str
    score: float | None = Field(default=None, ge=0, le=1)
    """Probability, for predicted labels only."""


class Span(Label):
    """A label on `text[start:end]`."""

    start: int = Field(ge=0)
    end: int

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"span {self.start}–{self.end} is empty or backward; end is exclusive")
        return self


Labels = tuple[Span, ...] | Label


def claim(target: str | None) -> str | None:
    """A target, or None where it shows nothing: an empty field of a form or a table is no claim."""
    # Each letter once: millions of spaces would otherwise be looked at one by one.
    return target if target and any(letter.isprintable() and not letter.isspace() for letter in set(target)) else None


class FrozenDict(dict[str, Any]):
    """A dict that refuses changes, so that a Document cannot change behind a caller's back."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a Document is immutable; make a changed one with its `with_labels`")

    __setitem__ = __delitem__ = update = pop = popitem = clear = setdefault = __ior__ = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return type(self), (dict(self),)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def _layer(value: Any) -> Any:
    """JSON lists become the tuples a strict model asks for."""
    return tuple(value) if isinstance(value, list) else value


_SPANS, _LABEL = f"{MEMBER}spans", f"{MEMBER}label"


def _shape(value: Any) -> str | None:
    """Which of the two a layer holds, so that an error speaks of that one alone."""
    if isinstance(value, tuple):
        return _SPANS
    placed = isinstance(value, Span) or (isinstance(value, Mapping) and "start" in value)
    return _LABEL if isinstance(value, Label | Mapping) and not placed else None


def _freeze(value: Any) -> Any:
    if isinstance(value, Mapping):
        return FrozenDict({str(key): _freeze(inner) for key, inner in value.items()})
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


Frozen = Annotated[Mapping[str, Any], AfterValidator(_freeze), PlainSerializer(dict)]
_Layer = Annotated[
    Annotated[tuple[Span, ...], Tag(_SPANS)] | Annotated[Label, Tag(_LABEL)],
    Discriminator(
        _shape,
        custom_error_type="layer",
        custom_error_message="a layer holds a list of spans, or one label without a place",
    ),
    BeforeValidator(_layer),
]
Layers = Annotated[Mapping[str, _Layer], AfterValidator(FrozenDict), PlainSerializer(dict)]


class Document(_Value):
    """A text, the target it is read against, and its labels layer by layer.

    A layer that is absent from `labels` is unannotated, which is not the same as annotated and empty (`()`).
    """

    id: str = Field(min_length=1)
    """Unique within a data set."""
    text: str
    """Never normalised: offsets count its code points as they are."""
    target: Annotated[str | None, AfterValidator(claim)] = None
    """The claim that targeted layers refer to; a blank one counts as none."""
    group: str | None = None
    """Documents of one group (one article, say) are never split between training and test."""
    labels: Layers = Field(default_factory=lambda: FrozenDict())
    """Layer name to spans, or to one label for layers of kind `document`."""
    source: Frozen = Field(default_factory=lambda: FrozenDict())
    """Where it came from: file, hash, kept lines, task id; plain JSON values."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if problems := list(_span_problems(self.text, self.labels)):
            raise ValueError("; ".join(problems))
        return self

    @property
    def fold(self) -> str:
        """The group; where it has none, what stands for its text, so that one text is never on both sides of a split."""
        return self.group or f"text-{hashlib.sha256(self.text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"

    def spans(self, layer: str) -> tuple[Span, ...]:
        """The spans of a layer in text order; empty where it is unannotated."""
        found = self.labels.get(layer, ())
        return found if isinstance(found, tuple) else ()

    def with_labels(self, labels: Mapping[str, Labels]) -> Document:
        """The same text and target with other labels, checked."""
        return Document(
            id=self.id,
            text=self.text,
            target=self.target,
            group=self.group,
            labels=FrozenDict(labels),
            source=self.source,
        )

    def only(self, layers: Container[str]) -> Document:
        """The same document with no other layers than these."""
        return self.with_labels({name: labels for name, labels in self.labels.items() if name in layers})

    def within(self, allowed: Mapping[str, Container[str]]) -> Document:
        """The same document with no other labels than these, layer name to label names.

        A layer of spans may become empty by that, one of a single label unannotated.
        """
        kept: dict[str, Labels] = {}
        for name, labels in self.only(allowed).labels.items():
            if isinstance(labels, tuple):
                kept[name] = tuple(span for span in labels if span.label in allowed[name])
            elif labels.label in allowed[name]:
                kept[name] = labels
        return self.with_labels(kept)

    def without_scores(self) -> dict[str, Any]:
        """What is labelled, as values of JSON: a layer's spans as [start, end, label], one label as its name.

        Two engines that agree differ in the last digits of scores alone.
        """
        return {
            name: [[one.start, one.end, one.label] for one in labels] if isinstance(labels, tuple) else labels.label
            for name, labels in self.labels.items()
        }

    def to_json(self) -> str:
        """One line of JSON; what is unset is left out."""
        return self.model_dump_json(exclude_none=True, exclude_defaults=True)

    @classmethod
    def from_json(cls, line: str, *, where: object) -> Self:
        """Parse one line of JSON.

        Raises:
            DocumentError: naming `where` and every problem of the line.
        """
        try:
            return cls.model_validate_json(line)
        except ValidationError as error:
            raise DocumentError(where, describe(error, cls)) from None


def plain_labels(labels: Labels | None) -> Any:
    """A layer's labels as values of JSON, scores included; None where it is unannotated."""
    if isinstance(labels, tuple):
        return [{"start": one.start, "end": one.end, "label": one.label, "score": one.score} for one in labels]
    return {"label": labels.label, "score": labels.score} if labels else None


def _span_problems(text: str, layers: Mapping[str, Labels]) -> Iterator[str]:
    for name, spans in layers.items():
        if not isinstance(spans, tuple):
            continue
        for span in spans:
            if span.end > len(text):
                yield f"{name} {_quoted(span)} runs past the text's {len(text)} characters"
        for before, span in pairwise(spans):
            if span.start < before.start:
                yield f"{name} {_quoted(span)} is out of order: sort spans by start"
        furthest: Span | None = None
        for span in sorted(spans, key=lambda span: span.start):
            if furthest and span.start < furthest.end:
                yield f"{name} {_quoted(span)} overlaps {_quoted(furthest)}"
            if not furthest or span.end > furthest.end:
                furthest = span


def _quoted(span: Span) -> str:
    return f"{span.label} {span.start}–{span.end}"
