"""spaCy's own trainable NER: a blank English pipeline at its default config. It knows rows of words, and no encoder.

The budget stands in for the development set that `spacy train` stops by: 30 passes, at least 1,600 steps (the patience of its
quickstart config) and at most 20,000 (its `max_steps`). Dropout, optimizer and batches by words are that config's as well.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from word_rows import Row

from annotations.errors import ConfigError, to_install

SETTINGS: dict[str, Any] = {"epochs": 30, "least_steps": 1600, "most_steps": 20_000, "dropout": 0.1}
BATCH_WORDS = (100, 1000, 1.001)


def installed() -> str:
    """spaCy's version.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import spacy
    except ImportError as error:
        raise ConfigError("spaCy's NER", f"needs spacy; {to_install('spacy')}") from error
    return str(spacy.__version__)


def spacy_tags(learned: Sequence[Row], scored: Sequence[Row], seed: int, settings: dict[str, Any]) -> list[list[str]]:
    """BIO tags of the scored rows' words, by a pipeline trained on the learned ones; `settings` has the keys of SETTINGS."""
    installed()
    import spacy
    from spacy.tokens import Doc
    from spacy.training import Example

    spacy.util.fix_random_seed(seed)
    pipeline = spacy.blank("en")
    pipeline.add_pipe("ner")

    def doc(row: Row, tags: list[str] | None = None) -> Doc:
        return Doc(pipeline.vocab, words=row.forms, ents=tags)

    examples = [Example(doc(row), doc(row, row.tags)) for row in learned]
    optimizer = pipeline.initialize(lambda: examples)
    for batch in _batches(examples, random.Random(seed), settings):
        pipeline.update(batch, drop=settings["dropout"], sgd=optimizer)
    return [_tags(found) for found in pipeline.pipe(doc(row) for row in scored)]


def _batches(examples: list[Any], rng: random.Random, settings: dict[str, Any]) -> Iterator[list[Any]]:
    """Batches of a growing number of words, in a new order each pass, until the budget is spent."""
    from spacy.training.batchers import minibatch_by_words
    from spacy.util import compounding

    sizes, steps, passes = compounding(*BATCH_WORDS), 0, 0
    while passes < settings["epochs"] or steps < settings["least_steps"]:
        passes += 1
        for batch in minibatch_by_words(rng.sample(examples, len(examples)), size=sizes, tolerance=0.2):
            if steps == settings["most_steps"]:
                return
            steps += 1
            yield batch


def _tags(doc: Any) -> list[str]:
    return [f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else "O" for token in doc]
