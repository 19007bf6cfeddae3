"""Annotated documents as a given tokenizer and window settings see them: lengths, cuts, gold that tokens cannot show.

It knows tokens and windows, not the model's weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from transformers import PreTrainedTokenizerBase

from annotations.document import Document
from annotations.errors import DocumentError
from inference.config import TaggerConfig, WindowConfig
from inference.windows import Window, encode, room
from training.data import unreachable
from training.preflight.config import Finding
from training.preflight.data import shown

QUOTED = 60


@dataclass(frozen=True)
class Encoded:
    """One text with the documents that share it and its windows."""

    documents: list[Document]
    windows: list[Window]

    def sentence_lengths(self) -> Counter[int]:
        """Tokens of each sentence, by its number in the text."""
        lengths: Counter[int] = Counter()
        for window in self.windows:
            for unit in window.units:
                lengths[unit.sentence] += unit.end - unit.start
        return lengths

    def cut(self) -> Iterator[tuple[int, str]]:
        """Sentences in more than one piece: their tokens, and how they begin."""
        pieces = Counter(unit.sentence for window in self.windows for unit in window.units)
        lengths = self.sentence_lengths()
        begins: dict[int, int] = {}
        for window in self.windows:
            for unit in window.units:
                begins.setdefault(unit.sentence, window.offsets[unit.start - window.first][0])
        for sentence, count in pieces.items():
            if count > 1:
                start = begins[sentence]
                yield lengths[sentence], self.documents[0].text[start : start + QUOTED]


def encode_each(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, config: TaggerConfig
) -> tuple[list[Encoded], list[Finding]]:
    """Every text that can be encoded, and the problem of every document that cannot."""
    found: list[Encoded] = []
    problems: list[Finding] = []
    texts: dict[str, list[Document]] = {}
    for document in documents:
        texts.setdefault(document.text, []).append(document)
    for same in texts.values():
        sound = []
        for document in same:
            # Without the text this is about the target alone.
            _, told = _encoded([document.model_copy(update={"text": ""})], tokenizer, config)
            problems += [Finding(f"document {document.id!r}", problem) for problem in told]
            sound += [] if told else [document]
        windows, told = _encoded(sound, tokenizer, config)
        problems += [Finding(f"document {document.id!r}", f"text {problem}") for document in sound for problem in told]
        if sound and not told:
            found.append(Encoded(sound, windows))
    return found, problems


def _encoded(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, config: TaggerConfig
) -> tuple[list[Window], Sequence[str]]:
    """The windows, or why there are none."""
    try:
        return encode(documents, tokenizer, config), ()
    except DocumentError as error:
        return [], error.problems


def token_facts(encoded: Sequence[Encoded], tokenizer: PreTrainedTokenizerBase, config: WindowConfig) -> dict[str, Any]:
    """Sentences, tokens (context not counted) and windows of distinct texts, and the lengths of sentences in tokens."""
    lengths = sorted(length for each in encoded for length in each.sentence_lengths().values())
    return {
        "sentences": len(lengths),
        "tokens": sum(lengths),
        "windows": sum(len(each.windows) for each in encoded),
        "sentence_tokens": {
            "median": median(lengths) if lengths else 0,
            "percentile_95": lengths[round(0.95 * (len(lengths) - 1))] if lengths else 0,
            "longest": lengths[-1] if lengths else 0,
            "window": config.tokens,
            "window_without_context": room(tokenizer, config),
        },
    }


def token_warnings(
    encoded: Sequence[Encoded], tokenizer: PreTrainedTokenizerBase, config: TaggerConfig
) -> Iterator[Finding]:
    """Gold spans that no tag sequence over these tokens can express, and sentences that are cut."""
    documents = [document for each in encoded for document in each.documents]
    for name, lines in unreachable(documents, tokenizer, config).items():
        if lines:
            yield Finding(
                f"layer {name!r}",
                f"{len(lines)} gold spans do not fit the tokens, so they are not learned and count as missed; mend the spans "
                f"where they begin or end inside a word, or choose another encoder: {shown(lines)}",
            )
    cuts = [f"{each.documents[0].id}, {length} tokens, {text!r}…" for each in encoded for length, text in each.cut()]
    if cuts:
        yield Finding(
            "tagger.window",
            f"{len(cuts)} sentences are longer than a window and are read in pieces; raise window.tokens, or check whether "
            f"they are prose: {shown(cuts)}",
        )
