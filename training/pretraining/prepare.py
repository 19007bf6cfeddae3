"""From corpora to what a run learns from: texts without repetition, a tokenizer, token files; made once and reused.

It knows files. Which of them are there tells how far an interrupted preparation came.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from annotations.errors import CheckpointError, first_line
from annotations.storage import replacing
from inference.checkpoint import encoder_tokenizer
from training.pretraining.config import PretrainConfig
from training.pretraining.repetition import Repetition, without_repeats
from training.pretraining.stream import Tokens, read_tokens, tokenized
from training.pretraining.texts import documents, sources
from training.pretraining.tokenizer import train_tokenizer

Say = Callable[[str], None]

TOKENS, HELD_OUT = "tokens.bin", "held-out.bin"
ONE_IN = 50


@dataclass(frozen=True)
class Prepared:
    """What a run learns from."""

    tokenizer: PreTrainedTokenizerBase
    tokens: Tokens
    """To learn from. Shape: (tokens,)."""
    held_out: Tokens
    """Whole documents to report the loss on. Shape: (tokens,)."""


def prepare(config: PretrainConfig, say: Say) -> Prepared:
    """Tokenizer and tokens of a run, made anew or as an earlier start left them.

    Raises:
        ConfigError, DocumentError: a corpus cannot be read or holds no text.
        CheckpointError: the tokenizer or encoder named in the config cannot be loaded.
    """
    folder = config.output / "corpus"
    done = folder / "done.json"
    if not done.exists():
        for corpus in config.corpora:
            sources(corpus)
        folder.mkdir(parents=True, exist_ok=True)
        texts = _clean_texts(config, folder, say)
        tokenizer = _tokenizer(config, texts, say)
        counts = _tokenize(config, texts, tokenizer, folder, say)
        for path in texts:
            path.unlink()
        with replacing(done) as out:
            json.dump(counts, out, indent=2)
    tokenizer = AutoTokenizer.from_pretrained(config.output / "tokenizer")
    return Prepared(tokenizer, *(read_tokens(folder / name, tokenizer) for name in (TOKENS, HELD_OUT)))


def _clean_texts(config: PretrainConfig, folder: Path, say: Say) -> list[Path]:
    """A file of JSON strings, one a document, for each corpus."""
    repetition = Repetition(config.near_duplicates) if config.near_duplicates else None
    paths = []
    for number, corpus in enumerate(config.corpora):
        path = folder / f"texts-{number}.jsonl"
        stream = documents(corpus, config.seed)
        words = found = 0
        with replacing(path) as out:
            for document in without_repeats(stream, repetition) if repetition else stream:
                # Articles come with line breaks or without; the encoder should know both.
                glue = "\n" if found % 2 else " "
                out.write(json.dumps(glue.join(document), ensure_ascii=False) + "\n")
                words, found = words + sum(len(line.split()) for line in document), found + 1
        say(f"{corpus.path}: {found:,} documents, {words / 1e6:.2f} M words")
        paths.append(path)
    if repetition:
        say(f"repeated paragraphs dropped: {repetition.exact:,} the same, {repetition.near:,} nearly the same")
    return paths


def _texts(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                text: str = json.loads(line)
                yield text


def _tokenizer(config: PretrainConfig, texts: list[Path], say: Say) -> PreTrainedTokenizerBase:
    """The encoder's, the given, or a new tokenizer; a copy stays in the run's folder."""
    where = config.encoder or (str(config.tokenizer) if config.tokenizer else None)
    if where is None:
        say(f"training a tokenizer with {config.shape.vocabulary:,} pieces")
        made: PreTrainedTokenizerBase = train_tokenizer(_texts(texts), config.shape)
    else:
        try:
            made = encoder_tokenizer(where)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                where, f"has no tokenizer that can be loaded ({first_line(error)}); check the name"
            ) from error
        missing = [name for name in ("cls", "sep", "mask") if getattr(made, f"{name}_token_id") is None]
        if missing:
            raise CheckpointError(where, f"has a tokenizer without {', '.join(missing)} token, which masked-LM needs")
    made.save_pretrained(config.output / "tokenizer")
    return made


def _tokenize(
    config: PretrainConfig, texts: list[Path], tokenizer: PreTrainedTokenizerBase, folder: Path, say: Say
) -> dict[str, int]:
    """Write the token files, each corpus as often as its passes say; return their lengths in tokens."""
    part, counts = folder / "part.bin", {TOKENS: 0, HELD_OUT: 0}
    with (folder / TOKENS).open("wb") as out, (folder / HELD_OUT).open("wb") as apart:
        for corpus, path in zip(config.corpora, texts, strict=True):
            taken = kept = 0
            with part.open("wb") as own:
                for number, row in enumerate(tokenized(_texts([path]), tokenizer)):
                    if number % ONE_IN == ONE_IN - 1 and taken < config.held_out_tokens // len(texts):
                        taken += apart.write(row.tobytes()) // row.itemsize
                    else:
                        kept += own.write(row.tobytes()) // row.itemsize
            for _ in range(corpus.passes):
                with part.open("rb") as own:
                    shutil.copyfileobj(own, out)
            counts = {TOKENS: counts[TOKENS] + kept * corpus.passes, HELD_OUT: counts[HELD_OUT] + taken}
            say(f"{corpus.path}: {kept / 1e6:.2f} M tokens, {corpus.passes} times")
    part.unlink()
    return counts
