"""What simple methods score, to tell what the tagger adds: a CRF on words, TF-IDF with logistic regression, a majority.

They know documents on both sides. They use nothing of the tagger, neither its tokens nor its windows.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from annotations.comparison import units
from annotations.document import Document, Label, Labels, Span
from annotations.errors import ConfigError, to_install
from annotations.schema import Kind, Layer, Schema
from annotations.sentences import Bounds, covering, sentences

WORD = re.compile(r"\w+|[^\w\s]")
NEIGHBOURS = (-2, -1, 1, 2)
CRF_SETTINGS = {"c1": 0.1, "c2": 0.1, "max_iterations": 100, "feature.possible_transitions": True}

Baseline = Callable[[Sequence[Document], Sequence[Document]], list[Document]]
"""Documents to learn from and documents to label."""
Tagged = tuple[list[list[str]], list[str]]


class Passage(NamedTuple):
    """One sentence or document to classify; `target` is empty where the layer has none or must not see it."""

    target: str
    text: str


Predict = Callable[[Sequence[Passage]], Sequence[str]]
Fit = Callable[[Sequence[Passage], Sequence[str]], Predict]


def crf_baseline(train: Sequence[Document], test: Sequence[Document], schema: Schema, seed: int) -> list[Document]:
    """The test documents with spans that a linear-chain CRF on words predicts; a layer learns where it is annotated.

    `seed` changes nothing: L-BFGS draws nothing at random. A layer that no training document annotates is left out.

    Raises:
        ConfigError: python-crfsuite is not installed.
    """
    del seed
    layers: dict[str, list[Labels | None]] = {}
    for name in schema.of_kind(Kind.SPANS):
        if annotated := [document for document in train if name in document.labels]:
            layers[name] = [*_crf_spans(annotated, test, name)]
    return _labelled(test, layers)


def tfidf_baseline(
    train: Sequence[Document], test: Sequence[Document], schema: Schema, seed: int, see_target: bool = True
) -> list[Document]:
    """The test documents with sentence and document labels from TF-IDF and logistic regression.

    Without `see_target`, it shows how far the words alone lead, whatever the claim. A layer that no training document
    labels is left out.
    """
    return _choices(train, test, schema, lambda passages, labels: _logistic(passages, labels, seed), see_target)


def majority_baseline(train: Sequence[Document], test: Sequence[Document], schema: Schema) -> list[Document]:
    """The test documents with every sentence and document given the most frequent training label.

    Ties go to the label seen first. A layer that no training document labels is left out.
    """
    return _choices(train, test, schema, lambda _, labels: _majority(labels), see_target=False)


def label_baselines(schema: Schema, seed: int) -> dict[str, Baseline]:
    """By name, the methods that label sentences and documents."""
    return {
        "TF-IDF": lambda train, test: tfidf_baseline(train, test, schema, seed),
        "TF-IDF, target unseen": lambda train, test: tfidf_baseline(train, test, schema, seed, see_target=False),
        "majority": lambda train, test: majority_baseline(train, test, schema),
    }


def _labelled(documents: Sequence[Document], layers: Mapping[str, Sequence[Labels | None]]) -> list[Document]:
    """Documents with the given layers only, so that none of their gold slips through."""
    rows = ({name: found[i] for name, found in layers.items()} for i in range(len(documents)))
    return [
        document.with_labels({name: labels for name, labels in row.items() if labels is not None})
        for document, row in zip(documents, rows, strict=True)
    ]


# Spans


def _crf_spans(train: Iterable[Document], test: Iterable[Document], layer: str) -> Iterator[tuple[Span, ...]]:
    sequences = [sequence for document in train for sequence in _training_sequences(document, layer)]
    if not sequences:
        # crfsuite crashes the process when it is given nothing to learn from.
        yield from (() for _ in test)
        return
    with tempfile.TemporaryDirectory() as folder:
        tagger = _train_crf(sequences, Path(folder) / "model.crfsuite")
        for document in test:
            yield tuple(
                span for words in _sentence_words(document.text) for span in _decode(document.text, words, tagger)
            )
        tagger.close()


def _train_crf(sequences: Iterable[Tagged], path: Path) -> Any:
    try:
        import pycrfsuite
    except ImportError as error:
        raise ConfigError("the CRF baseline", f"needs python-crfsuite; {to_install('baselines')}") from error
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", params=CRF_SETTINGS, verbose=False)
    for features, tags in sequences:
        trainer.append(features, tags)
    trainer.train(str(path))
    tagger = pycrfsuite.Tagger()
    tagger.open(str(path))
    return tagger


def _sentence_words(text: str) -> list[list[Bounds]]:
    """The words of each sentence, as offsets into the text."""
    return [
        words
        for sentence in sentences(text)
        if (words := [Bounds(*match.span()) for match in WORD.finditer(text, *sentence)])
    ]


def _training_sequences(document: Document, layer: str) -> Iterator[Tagged]:
    """Features and BIO tags; a word belongs to the span that covers more than half of it."""
    for words in _sentence_words(document.text):
        owners = covering(words, document.spans(layer))
        previous = [None, *owners[:-1]]
        tags = [
            f"{'I' if span is before else 'B'}-{span.label}" if span else "O"
            for span, before in zip(owners, previous, strict=True)
        ]
        yield word_features(document.text, words), tags


def _decode(text: str, words: Sequence[Bounds], tagger: Any) -> list[Span]:
    return bio_spans(words, tagger.tag(word_features(text, words)))


def bio_spans(words: Sequence[Bounds], tags: Sequence[str]) -> list[Span]:
    """Character spans of BIO tags; an I- that continues nothing begins a span."""
    spans: list[Span] = []
    before = "O"
    for (start, end), tag in zip(words, tags, strict=True):
        label = tag[2:]
        if tag[0] == "I" and before != "O" and before[2:] == label:
            spans[-1] = Span(start=spans[-1].start, end=end, label=label)
        elif tag != "O":
            spans.append(Span(start=start, end=end, label=label))
        before = tag
    return spans


def word_features(text: str, words: Sequence[Bounds]) -> list[list[str]]:
    """For each word of a sentence, what it looks like and what stands within two words of it."""
    forms = [text[start:end] for start, end in words]
    return [[*_own(form), *_around(forms, place)] for place, form in enumerate(forms)]


def _own(form: str) -> list[str]:
    lower = form.lower()
    affixes = [feature for size in (1, 2, 3, 4) for feature in (f"prefix={lower[:size]}", f"suffix={lower[-size:]}")]
    flags = [name for name in ("istitle", "isupper", "isdigit") if getattr(form, name)()]
    return ["bias", f"word={form}", f"lower={lower}", f"shape={_shape(form)}", *affixes, *flags]


def _around(forms: Sequence[str], place: int) -> Iterator[str]:
    for offset in NEIGHBOURS:
        there = place + offset
        if 0 <= there < len(forms):
            yield f"{offset:+d}lower={forms[there].lower()}"
            yield f"{offset:+d}shape={_shape(forms[there])}"
        else:
            yield f"{offset:+d}outside"


def _shape(form: str) -> str:
    """`Kabul` as Xx, `ISIS-K` as X-X, `2015` as d: runs of a kind count once."""
    kinds = "".join("X" if c.isupper() else "x" if c.islower() else "d" if c.isdigit() else c for c in form)
    return re.sub(r"(.)\1+", r"\1", kinds)


# Sentences and documents


def _choices(
    train: Sequence[Document], test: Sequence[Document], schema: Schema, fit: Fit, see_target: bool
) -> list[Document]:
    layers: dict[str, list[Labels | None]] = {}
    for name, layer in schema.layers.items():
        if layer.kind is Kind.SPANS:
            continue
        targeted = layer.targeted and see_target
        known = [item for document in train for item in _examples(document, name, layer, targeted)]
        if known:
            predict = fit([passage for passage, _ in known], [label for _, label in known])
            layers[name] = [_predicted(document, layer, targeted, predict) for document in test]
    return _labelled(test, layers)


def _examples(document: Document, name: str, layer: Layer, targeted: bool) -> Iterator[tuple[Passage, str]]:
    for start, end, label, _ in units(document, document, name, layer):
        if label is not None:
            yield _passage(document, start, end, targeted), label


def _passage(document: Document, start: int, end: int, targeted: bool) -> Passage:
    return Passage((document.target or "") if targeted else "", document.text[start:end])


def _predicted(document: Document, layer: Layer, targeted: bool, predict: Predict) -> Labels:
    if layer.kind is Kind.DOCUMENT:
        return Label(label=predict([_passage(document, 0, len(document.text), targeted)])[0])
    found = sentences(document.text)
    labels = predict([_passage(document, *bounds, targeted) for bounds in found]) if found else []
    pairs = zip(found, labels, strict=True)
    return tuple(Span(start=bounds.start, end=bounds.end, label=label) for bounds, label in pairs)


def _majority(labels: Sequence[str]) -> Predict:
    [(label, _)] = Counter(labels).most_common(1)
    return lambda passages: [label] * len(passages)


def _logistic(passages: Sequence[Passage], labels: Sequence[str], seed: int) -> Predict:
    """Target and text are weighted as two fields, so that a short claim does not drown in a long text."""
    if len(set(labels)) == 1:
        return _majority(labels)
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    fields = [TfidfVectorizer(analyzer=_grams, sublinear_tf=True) for _ in Passage._fields]
    vectors = [field.fit_transform(values) for field, values in zip(fields, zip(*passages, strict=True), strict=True)]
    model = LogisticRegression(class_weight="balanced", max_iter=1000, random_state=seed)
    model.fit(hstack(vectors).tocsr(), labels)

    def predict(asked: Sequence[Passage]) -> list[str]:
        columns = zip(*asked, strict=True)
        parts = [field.transform(values) for field, values in zip(fields, columns, strict=True)]
        return [str(label) for label in model.predict(hstack(parts).tocsr())]

    return predict


def _grams(text: str) -> list[str]:
    """Words and pairs of words, lower case; a text without words still has one feature."""
    words = re.findall(r"\w+", text.lower())
    return [*words, *(f"{one} {other}" for one, other in pairwise(words))] or [""]
