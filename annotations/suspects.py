"""Labels that are probably wrong: what each says, what a model says instead, how suspicious it is; as JSON Lines and in words.

It knows no model. Where the numbers come from is `training.suspects`' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from annotations.agreement.disagreements import surroundings
from annotations.config import describe
from annotations.document import Document
from annotations.errors import DocumentError
from annotations.sentences import Bounds
from annotations.storage import read_bytes, write_text


class Suspect(BaseModel):
    """One label of an annotated layer, or one that the layer may lack. Offsets are half-open."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    document: str
    layer: str
    start: int = Field(ge=0)
    end: int
    """Of the gold label; of the suggested span where gold has none here."""
    gold: str | None
    """The gold label; None where gold has none here."""
    suggested: str | None
    """What the model says here; None where it says that there is nothing."""
    suggested_start: int | None = None
    suggested_end: int | None = None
    """Of the suggested span, where it begins or ends elsewhere than the gold one."""
    suspicion: float = Field(ge=0, le=1)
    """How probably wrong the gold label is; comparable within a layer."""

    @property
    def disputed(self) -> bool:
        """Whether the model says something else than gold."""
        return self.gold != self.suggested or self.suggested_start is not None

    @property
    def offered(self) -> Bounds:
        """Where the suggested label stands."""
        start = self.start if self.suggested_start is None else self.suggested_start
        return Bounds(start, self.end if self.suggested_end is None else self.suggested_end)

    def says(self, text: str) -> str:
        """The doubt in words, of the document's text: `PERSON, perhaps LOCATION “Kabul airport”`."""
        if not self.disputed:
            return f"{self.gold}, and the model is unsure"
        offered = f"perhaps {self.suggested}" if self.suggested else "perhaps nothing"
        if self.suggested_start is not None:
            offered += f" “{' '.join(text[slice(*self.offered)].split())}”"
        return f"{self.gold or 'nothing marked'}, {offered}"


def context(suspect: Suspect, text: str, *, whole: bool = False) -> str:
    """The place in [brackets] with some text around it, on one line; how the text begins where the place is the whole of it."""
    before, inside, after = surroundings(text, Bounds(suspect.start, suspect.end), whole=whole)
    return " ".join(f"{before}[{inside}]{after}".split())


def ranked(suspects: Iterable[Suspect]) -> list[Suspect]:
    """The most suspicious first; of equals, in the order of documents' ids and of text."""
    return sorted(suspects, key=lambda one: (-one.suspicion, one.document, one.layer, one.start, one.end))


def write_suspects(path: Path, suspects: Iterable[Suspect]) -> None:
    """One suspect a line, whole or not at all."""
    write_text(path, "".join(suspect.model_dump_json(exclude_none=False) + "\n" for suspect in suspects))


def read_suspects(path: Path, documents: Sequence[Document]) -> list[Suspect]:
    """The suspects of a file, which must be of these documents.

    Raises:
        DocumentError: naming every line that is no suspect, or is of a document or place that is not there.
    """
    lengths = {document.id: len(document.text) for document in documents}
    found: list[Suspect] = []
    problems: list[str] = []
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        try:
            suspect = Suspect.model_validate_json(line)
        except ValidationError as error:
            problems += [f"line {number}: {problem}" for problem in describe(error, Suspect)]
            continue
        if suspect.document not in lengths:
            problems.append(f"line {number}: document {suspect.document!r} is not among the documents beside it")
        elif max(suspect.end, suspect.offered.end) > lengths[suspect.document]:
            problems.append(f"line {number}: {suspect.document!r} ends before {max(suspect.end, suspect.offered.end)}")
        found.append(suspect)
    if problems:
        raise DocumentError(path, [*problems, "run `standpoint labels suspects` again"])
    return found
