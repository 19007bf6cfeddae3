"""What may be annotated: layers and their labels, as the schema file declares them.

It knows names, kinds, descriptions and colours. It does not know texts, models or Label Studio.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from annotations.config import Config
from annotations.errors import SchemaError, did_you_mean

if TYPE_CHECKING:
    from annotations.document import Document

RESERVED = ("text", "target")

_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def _writable(text: str) -> str:
    if found := _UNWRITABLE.search(text):
        raise ValueError(f"holds U+{ord(found[0]):04X}, which XML cannot hold; remove it")
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Words = Annotated[str, AfterValidator(_writable)]


class Kind(StrEnum):
    """What a layer's labels are attached to."""

    SPANS = "spans"
    """Flat, non-overlapping character spans."""
    SENTENCES = "sentences"
    """Every sentence carries one label."""
    DOCUMENT = "document"
    """The document carries one label."""


def _label_name(name: str) -> str:
    if not name.strip() or name != name.strip() or any(ord(letter) < 32 for letter in name):
        raise ValueError("a label's name needs visible characters and no space around them")
    return _writable(name)


PALETTE = ("#1f77b4", "#d95f02", "#2ca02c", "#c2185b", "#8e44ad", "#8c6d1f", "#00838f", "#616161")
UNSET = "#888888"
"""The colour of a label that was given none; `Layer.colors` has one of the palette instead."""


class LabelSpec(Config):
    """One label of a layer."""

    marks: Words = ""
    """What it marks, for annotators."""
    excludes: Words = ""
    """What it does not mark, for annotators."""
    color: str = Field(default=UNSET, pattern=r"^#[0-9a-fA-F]{6}$")
    """Colour on every page and in Label Studio."""
    hotkey: str | None = Field(default=None, pattern=r"^\S$")
    """Key that chooses it in Label Studio."""


class Layer(Config):
    """One kind of label."""

    kind: Kind
    """`spans`, `sentences` or `document`."""
    description: Words = ""
    """What the layer is about, for annotators."""
    targeted: bool = False
    """Whether labels are given towards the document's target. Spans never are."""
    labels: dict[Annotated[str, AfterValidator(_label_name)], LabelSpec] = Field(min_length=1)
    """The labels, in the order in which people and reports see them."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind is Kind.SPANS and self.targeted:
            raise ValueError(
                "a layer of spans cannot be targeted: the same text has the same spans whatever the target"
            )
        if self.kind is not Kind.SPANS and len(self.labels) < 2:
            raise ValueError(f"a layer of kind {self.kind} needs at least two labels to choose from")
        return self

    @property
    def names(self) -> list[str]:
        """Label names in order."""
        return list(self.labels)

    @property
    def colors(self) -> dict[str, str]:
        """Label to colour; those that were given none have the palette's, in turn."""
        return {
            name: PALETTE[number % len(PALETTE)] if label.color == UNSET else label.color
            for number, (name, label) in enumerate(self.labels.items())
        }


class Schema(Config):
    """All layers of a project."""

    layers: dict[Name, Layer] = Field(min_length=1)
    """Layer name to layer, in the order in which people see them."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [
            f"layer {name!r}: the name is taken by Label Studio's task data; choose another"
            for name in RESERVED
            if name in self.layers
        ]
        keys: dict[str, str] = {}
        for layer_name, layer in self.layers.items():
            for label, spec in layer.labels.items():
                place = f"{layer_name}.{label}"
                if spec.hotkey and keys.setdefault(spec.hotkey, place) != place:
                    problems.append(
                        f"hotkey {spec.hotkey!r} is given to {keys[spec.hotkey]} and to {place}; change one"
                    )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def of_kind(self, kind: Kind) -> dict[str, Layer]:
        """The layers of one kind, in order."""
        return {name: layer for name, layer in self.layers.items() if layer.kind is kind}

    @property
    def targeted(self) -> bool:
        """Whether any layer needs a target."""
        return any(layer.targeted for layer in self.layers.values())

    def problems(self, document: Document) -> Iterator[str]:
        """Everything in a document that this schema does not allow, one sentence each."""
        for name, labels in document.labels.items():
            layer = self.layers.get(name)
            if layer is None:
                yield f"layer {name!r} is not in the schema; {did_you_mean(name, self.layers)}"
                continue
            if (layer.kind is Kind.DOCUMENT) == isinstance(labels, tuple):
                wanted = "one label" if layer.kind is Kind.DOCUMENT else "a list of spans"
                yield f"layer {name!r} is of kind {layer.kind}: give {wanted}"
                continue
            used = labels if isinstance(labels, tuple) else (labels,)
            for label in dict.fromkeys(item.label for item in used):
                if label not in layer.labels:
                    yield f"label {label!r} is not in layer {name!r}; {did_you_mean(label, layer.labels)}"
            if layer.targeted and used and document.target is None:
                yield f"layer {name!r} is annotated towards a target, and the document has none; set `target`"

    def check(self, document: Document) -> None:
        """Raise SchemaError with every problem of the document."""
        if found := list(self.problems(document)):
            raise SchemaError(f"document {document.id!r}", found)
