"""The label tables inside the guidelines, made from the schema. It knows Markdown; the rules between are people's."""

from __future__ import annotations

import re
from pathlib import Path

from annotations.errors import DocumentError
from annotations.schema import Layer, Schema
from annotations.storage import replacing

_BLOCK = re.compile(r"(<!-- schema: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(layer: Layer) -> str:
    """One layer as a description and a table of its labels."""
    cells = [map(cell, (name, spec.marks, spec.excludes)) for name, spec in layer.labels.items()]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    head = ["| label | marks | does not mark |", "|---|---|---|"]
    return "\n".join([layer.description, "", *head, *rows]) + "\n"


def cell(text: str) -> str:
    """On one line, and no end of a table's cell."""
    return " ".join(text.split()).replace("|", r"\|")


def with_tables(text: str, schema: Schema) -> str:
    """The text with every block `<!-- schema: LAYER -->` to `<!-- end -->` made anew.

    Raises:
        DocumentError: a block names a layer that the schema lacks, or a layer has no block.
    """
    named = [match[2] for match in _BLOCK.finditer(text)]
    problems = [f"no layer {name!r} in the schema; remove its block" for name in named if name not in schema.layers]
    problems += [
        f"add a block `<!-- schema: {n} -->` … `<!-- end -->` for the layer" for n in schema.layers if n not in named
    ]
    if problems:
        raise DocumentError("guidelines", problems)
    return _BLOCK.sub(lambda match: match[1] + table(schema.layers[match[2]]) + match[3], text)


def renew(path: Path, schema: Schema) -> str:
    """Rewrite the tables of a file; the sentence to tell the user."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DocumentError(path, f"cannot be read ({error.strerror}); check the path") from error
    with replacing(path) as out:
        out.write(with_tables(text, schema))
    return f"Tables renewed: {path}"
