"""The tagger that pipelines call: texts or documents in, labelled documents out, in order, with bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, overload

from transformers import PreTrainedTokenizerBase

from annotations.document import Document, FrozenDict, claim
from annotations.errors import DocumentError
from annotations.schema import Schema
from inference import checkpoint
from inference.batches import Batch, batches, padding
from inference.config import TaggerConfig
from inference.decoding import Answer, decode
from inference.engines.choice import AUTO, make
from inference.engines.engine import Engine
from inference.model import Logits, StandpointModel
from inference.overlap import overlapped
from inference.windows import Window, encode, together

LOOK_AHEAD = 100_000
TARGETS = 4096


class Encoded(NamedTuple):
    """A document and what `Tagger.encode` makes of it alone."""

    document: Document
    windows: list[Window]


class Reading(NamedTuple):
    """What the network has begun to read."""

    batches: list[Batch]
    logits: list[Future[Logits]]
    """Of each batch, to come."""

    def answers(self) -> list[Answer]:
        """The answer to each batch, as soon as all are there."""
        return [(batch, logits.result()) for batch, logits in zip(*self, strict=True)]


class Tagger:
    """Predicts all layers of a schema."""

    def __init__(
        self,
        model: StandpointModel,
        tokenizer: PreTrainedTokenizerBase,
        config: TaggerConfig,
        engine: Engine | None = None,
    ) -> None:
        self.engine = engine or Engine(model)
        self.tokenizer = tokenizer
        self.config = config

    @classmethod
    def load(cls, path: str | Path, *, engine: str = AUTO) -> Tagger:
        """A tagger from a checkpoint folder.

        `engine` names one of `inference.engines.choice.ENGINES`; "auto" takes the fastest that is there and runs on this
        hardware. `tagger.engine.name` says which it is.

        Raises:
            CheckpointError: the folder holds no tagger, or no artefact of the engine asked for.
            ConfigError: there is no such engine, or it cannot run here.
        """
        model, tokenizer, config = checkpoint.load(path)
        return cls(model, tokenizer, config, make(path, model, engine))

    @property
    def schema(self) -> Schema:
        """The layers and labels it predicts."""
        return self.config.label_schema

    @overload
    def tag(self, source: str | Document, target: str | None = None) -> Document: ...  # type: ignore[overload-overlap]
    @overload
    def tag(self, source: Iterable[str | Document], target: str | None = None) -> Iterator[Document]: ...

    def tag(
        self, source: str | Document | Iterable[str | Document], target: str | None = None
    ) -> Document | Iterator[Document]:
        """Label one text or document, or a stream of them in order.

        Labels that the input carries are replaced. `target` is for texts and for documents that have none of their
        own; without one, targeted layers stay unannotated. Neighbours with the same text are encoded once, whatever their
        targets. Offsets of the result count code points of the text as given.

        Raises:
            DocumentError: what is given, or an item of the stream, is neither a text nor a Document.
        """
        if isinstance(source, str | Document):
            return self.tag_all([_document(source, 0, target)])[0]
        if isinstance(source, bytes) or not isinstance(source, Iterable):
            raise DocumentError(
                "what is to be tagged", f"is of type {type(source).__name__}; {_WANTED}, or a stream of them"
            )
        return self._stream(source, target)

    def tag_all(self, documents: Sequence[Document]) -> list[Document]:
        """Label some documents at once; their windows share batches."""
        return self.decode(documents, *self.read(documents))

    def read(self, documents: Sequence[Document]) -> tuple[list[Window], list[Answer]]:
        """The windows of some documents, and the network's answer to each batch of them: what `decode` takes."""
        windows = self.encode(documents)
        return windows, self.answer(windows)

    def encode(self, documents: Sequence[Document]) -> list[Window]:
        """The windows of some documents; raises DocumentError for one that cannot be read."""
        return encode(documents, self.tokenizer, self.config)

    def answer(self, windows: Sequence[Window]) -> list[Answer]:
        """The network's answer to each batch of some windows."""
        return self.start(windows).answers()

    def start(self, windows: Sequence[Window]) -> Reading:
        """Let the network begin with some windows."""
        made = self.batches(windows)
        return Reading(made, self.engine.start(made))

    def batches(self, windows: Sequence[Window]) -> list[Batch]:
        """Some windows in the batches that suit the engine."""
        return list(batches(windows, self._sizes, self.tokenizer.pad_token_id, self.engine.step))

    def padding(self, windows: Sequence[Window]) -> int:
        """How many tokens of padding are read with some windows."""
        return padding(windows, self._sizes, self.engine.step)

    def _sizes(self, lengths: Sequence[int]) -> list[int]:
        return self.engine.sizes(lengths, self.config.batch_tokens)

    def tag_encoded(self, encoded: Sequence[Encoded]) -> list[Document]:
        """Label documents that were encoded one by one; their windows share batches."""
        windows = together([one.windows for one in encoded])
        return self.decode([one.document for one in encoded], windows, self.answer(windows))

    def decode(
        self, documents: Sequence[Document], windows: Sequence[Window], answers: Sequence[Answer]
    ) -> list[Document]:
        """Read labels off the network's answers."""
        return decode(documents, windows, answers, self.config)

    def _stream(self, source: Iterable[str | Document], target: str | None) -> Iterator[Document]:
        documents = (_document(item, number, target) for number, item in enumerate(source))
        yield from overlapped(portions(documents), self)


_WANTED = "give a text (str) or a Document"


def refusal(tagger: Tagger, document: Document) -> DocumentError | None:
    """Why a document cannot be read; None for one that can."""
    try:
        tagger.encode([document])
    except DocumentError as error:
        return error
    return None


def target_check(tagger: Tagger) -> Callable[[str | None], DocumentError | None]:
    """What tells why a target cannot be read, None for one that can; the latest TARGETS answers are kept."""
    return lru_cache(maxsize=TARGETS)(lambda target: refusal(tagger, Document(id="target", text="", target=target)))


def portions(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """A stream in lists of about LOOK_AHEAD characters, which fill batches and bound memory."""
    waiting: list[Document] = []
    size = 0
    for document in documents:
        shared = bool(waiting) and waiting[-1].text == document.text
        # A document costs something even when it is empty or shares its text with the one before.
        size += 100 + (0 if shared else len(document.text))
        waiting.append(document)
        if size >= LOOK_AHEAD:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting


def _document(item: str | Document, number: int, target: str | None) -> Document:
    if isinstance(item, str):
        return Document(id=f"text-{number}", text=item, target=target)
    if not isinstance(item, Document):
        raise DocumentError(f"item {number} of the stream", f"is of type {type(item).__name__}; {_WANTED}")
    if item.target is None and target is not None:
        item = item.model_copy(update={"target": claim(target)})
    return item.model_copy(update={"labels": FrozenDict()})
