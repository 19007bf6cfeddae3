"""Writes an engine's artefact beside a checkpoint's weights, after measuring that it answers as PyTorch does.

It knows answers and scores, not how any library runs an encoder.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from annotations.comparison import compare
from annotations.document import Document
from annotations.errors import CheckpointError, ConfigError, to_install
from annotations.schema import Kind as LayerKind
from inference import checkpoint
from inference.batches import Batch
from inference.decoding import Answer
from inference.engines import artefacts
from inference.engines.choice import ENGINES, check_name, computes_bf16, hindrance
from inference.engines.engine import Engine
from inference.tagger import Tagger
from inference.verification import package, readable_probes

MOST_DROP = 0.3
"""Points of F1 that an 8-bit engine may lose in any layer."""
MOST_LOGIT = 1e-3
"""How far a logit of an engine in 32-bit floats may be from PyTorch's."""
ROUNDS = 3
SAMPLES = 300
"""Windows on which the scales of a static engine are found."""
PACKAGES = ("torch", "transformers", "onnx", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class Measured:
    """An engine beside PyTorch in 32-bit floats, on the same texts."""

    documents: int
    furthest_logit: float
    """The largest difference of a logit."""
    different: int
    """Documents with other labels, probabilities apart."""
    tokens_per_second: float
    """Tokens of windows, padding apart; the best of three rounds, without tokenization and decoding."""
    torch_tokens_per_second: float
    scores: dict[str, tuple[float, float]]
    """Layer to F1 in points: PyTorch's, the engine's. Micro for spans, macro otherwise; empty without gold."""

    @property
    def drop(self) -> float:
        """The most points that a layer loses."""
        return max((before - after for before, after in self.scores.values()), default=0.0)

    def __str__(self) -> str:
        speed = f"{self.tokens_per_second:,.0f} tokens/s, PyTorch {self.torch_tokens_per_second:,.0f}"
        lines = [
            f"{self.documents} documents: {self.different} with other labels, logits within {self.furthest_logit:.2g}; {speed}"
        ]
        lines += [f"{name}: F1 {after:.2f}, PyTorch {before:.2f}" for name, (before, after) in self.scores.items()]
        return "\n".join(lines)


def export(path: str | Path, name: str, gold: Sequence[Document] = (), *, most_drop: float = MOST_DROP) -> Measured:
    """Make the artefact of an engine, measure it on `gold` or on the probe texts, and put it beside the weights.

    Raises:
        ConfigError: there is no such engine, it cannot run here or needs no artefact, or one that rounds is to be made
            without gold for every layer.
        CheckpointError: the folder holds no tagger, or the engine does not answer well enough; nothing is written then.
        DocumentError: gold that the tagger cannot read.
    """
    check_name(name, ENGINES)
    kind = ENGINES[name]
    if kind.load is None:
        raise ConfigError(f"engine {name!r}", "runs from the weights themselves; there is nothing to export")
    if problem := hindrance(name) or _missing_exporter(name):
        raise ConfigError(f"engine {name!r}", problem)
    reference = Tagger.load(path, engine="torch")
    unseen = [layer for layer in reference.schema.layers if not any(layer in document.labels for document in gold)]
    if unseen and not kind.exact:
        told = f"is accepted by its score in every layer; give documents that annotate {', '.join(unseen)} with --data"
        raise ConfigError(f"engine {name!r}", told)
    with artefacts.making(path, name) as part:
        _write(name, path, reference, part, gold)
        tagger = Tagger(*checkpoint.load(path))
        tagger.engine = Engine(tagger.engine.model, name=name, load=partial(kind.load, part), step=kind.step)
        measured = measure(reference, tagger, gold or readable_probes(reference))
        if reasons := list(_reasons(name, measured, most_drop)):
            raise CheckpointError(path, [f"{name} is refused: {reason}" for reason in reasons])
        made_with = {one: package(one) for one in PACKAGES if package(one)}
        facts = {"made_with": made_with, "measured": asdict(measured), "bf16": computes_bf16(name)}
        artefacts.keep(path, name, part, facts)
    return measured


def _missing_exporter(name: str) -> str | None:
    needed = ["onnx", "onnxscript", *(["nncf"] if ENGINES[name].bits8 and ENGINES[name].needs == "openvino" else [])]
    missing = [one for one in needed if package(one) is None]
    extra = name.partition("-")[0]
    return f"to export it needs {', '.join(missing)}; {to_install(extra)}" if missing else None


def _write(name: str, path: str | Path, tagger: Tagger, part: Path, gold: Sequence[Document]) -> None:
    from inference.engines import onnx

    graph = part / onnx.GRAPH
    if name == "onnx" or not _copied(path, part):
        onnx.write(tagger.engine.model.encoder, graph)
    if name.startswith("onnx"):
        if ENGINES[name].bits8:
            onnx.write_int8(graph, graph)
        return
    from inference.engines import openvino

    guarded = not sees_all(tagger.engine.model.encoder)
    if ENGINES[name].static:
        if not (found := samples(tagger, gold)):
            told = "finds its scales on the tokens of --data, and there are none; give documents with text"
            raise ConfigError(f"engine {name!r}", told)
        openvino.write_int8_static(graph, part / openvino.GRAPH, found, guarded=guarded)
    else:
        write = openvino.write_int8 if ENGINES[name].bits8 else openvino.write
        write(graph, part / openvino.GRAPH, guarded=guarded)
    for one in part.glob(f"{onnx.GRAPH}*"):
        one.unlink()


def sees_all(encoder: PreTrainedModel) -> bool:
    """Whether it is known that every token sees all of its window: among padding, one of a sliding window may see nothing."""
    return set(getattr(encoder.config, "layer_types", None) or ()) == {"full_attention"}


def samples(tagger: Tagger, documents: Sequence[Document]) -> list[Sequence[int]]:
    """Token ids of at most `SAMPLES` different windows, drawn evenly from all documents."""
    windows = tagger.encode([document.with_labels({}) for document in documents])
    found = list(dict.fromkeys(tuple(window.ids) for window in windows))
    return [found[place * len(found) // SAMPLES] for place in range(SAMPLES)] if len(found) > SAMPLES else list(found)


def _copied(path: str | Path, part: Path) -> bool:
    """Whether a graph that was exported from these weights for ONNX Runtime could be taken: all others are made from it."""
    try:
        files = artefacts.check(path, "onnx")["files"]
    except CheckpointError:
        return False
    for file in files:
        shutil.copyfile(artefacts.folder(path, "onnx") / file, part / file)
    return True


def measure(reference: Tagger, tagger: Tagger, documents: Sequence[Document]) -> Measured:
    """Tag the same documents with both; scores where the documents carry gold."""
    bare = [document.with_labels({}) for document in documents]
    windows = reference.encode(bare)
    tokens = sum(len(window.ids) for window in windows)
    made = tagger.batches(windows)
    (answers, seconds), (torch_answers, torch_seconds) = (_answered(one.engine, made) for one in (tagger, reference))
    after, before = (reference.decode(bare, windows, own) for own in (answers, torch_answers))
    layers = [name for name in reference.schema.layers if any(name in document.labels for document in documents)]
    scores = {
        name: (_f1(documents, before, name, reference), _f1(documents, after, name, reference)) for name in layers
    }
    return Measured(
        documents=len(documents),
        # numpy's, for which what is no number is more than any.
        furthest_logit=float(np.max([0.0, *_differences(torch_answers, answers)])),
        different=sum(one.without_scores() != other.without_scores() for one, other in zip(before, after, strict=True)),
        tokens_per_second=tokens / seconds,
        torch_tokens_per_second=tokens / torch_seconds,
        scores=scores,
    )


def _f1(gold: Sequence[Document], predicted: Sequence[Document], name: str, tagger: Tagger) -> float:
    layer = compare(gold, predicted, tagger.schema).layers[name]
    return 100 * (layer.micro.f1 if layer.kind is LayerKind.SPANS else layer.macro_f1)


def _answered(engine: Engine, made: Sequence[Batch]) -> tuple[list[Answer], float]:
    """An engine's answers to the same batches, and the seconds of the fastest round."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        answers = engine.answers(made)
        best = min(best, time.perf_counter() - start)
    return list(zip(made, answers, strict=True)), best


def _differences(one: Sequence[Answer], other: Sequence[Answer]) -> Iterator[float]:
    """The largest difference of a logit in each batch and layer."""
    for (batch, first), (_, second) in zip(one, other, strict=True):
        real = batch.attention_mask.bool()
        for group in ("tokens", "sentences", "votes"):
            for name, logits in getattr(first, group).items():
                apart = (logits - getattr(second, group)[name]).abs()
                yield float((apart[real] if group == "tokens" else apart).max()) if apart.numel() else 0.0


def _reasons(name: str, measured: Measured, most_drop: float) -> Iterator[str]:
    """What speaks against an engine."""
    kind = ENGINES[name]
    if kind.exact and measured.different:
        yield f"{measured.different} of {measured.documents} documents get other labels than with PyTorch"
    if not math.isfinite(measured.furthest_logit):
        yield "some of its logits are no numbers"
    elif kind.exact and measured.furthest_logit > MOST_LOGIT:
        yield f"logits are up to {measured.furthest_logit:.2g} from PyTorch's, at most {MOST_LOGIT:g} is accepted"
    for layer, (before, after) in measured.scores.items() if not kind.exact else ():
        if not before - after < most_drop:
            yield f"F1 of {layer!r} falls from {before:.2f} to {after:.2f}, less than {most_drop:g} points are accepted"
