"""What a check before training found, as text for people and as plain values for JSON. It knows words, not how to look.

The JSON object, with every length in tokens of the encoder, every time in seconds, every size in bytes:

    {
      "config": "configs/train.yaml",
      "ready": true,                                    exit status 0; false is exit status 2
      "problems": [{"where": "…", "what": "…"}],        what training would refuse
      "warnings": [{"where": "…", "what": "…"}],        what it would take
      "facts": {
        "data": {"learned": {"documents": 10, "texts": 5, "groups": 5}, "scored": {…}},
        "layers": {LAYER: {"kind": "spans", "documents": {"learned": 5, "scored": 0},
                           "labels": {LABEL: {"learned": 19, "scored": 0, "groups": 4}}}},
        "tokens": {"sentences", "tokens", "windows",     of the distinct texts to learn from
                   "sentence_tokens": {"median", "percentile_95", "longest", "window", "window_without_context"}},
        "recipe": {"family": "modernbert", "parameters": 7081216, "parameters_without_embeddings": 3935488, "size": "tiny",
                   "bf16": true, "numbers": {"optimizer.lr": {"value": 0.0005, "chosen_by": "recipe"}, …}},      or "config"
        "self_training": {"texts": 900, "teachers": 3, "steps": 2.0},
        "cost": {"windows", "parameters", "trainable_parameters", "batches_per_epoch", "steps_per_epoch", "steps",
                 "estimate": {"seconds", "seconds_per_step": {"mean", "fastest", "slowest", "measured"},
                              "memory_bytes", "memory_of", "threads", "how"}}
      }
    }

A part of `facts` that could not be found out, because of a problem or with `--quick`, is absent;
so is `self_training` where the run has none. Steps are those of one training, seconds those of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.preflight.config import Finding
from training.preflight.run import Preflight


def to_dict(found: Preflight) -> dict[str, Any]:
    """Plain values, as in this module's docstring."""
    return {
        "config": found.config,
        "ready": found.ready,
        "problems": [finding._asdict() for finding in found.problems],
        "warnings": [finding._asdict() for finding in found.warnings],
        "facts": found.facts,
    }


def text(found: Preflight) -> str:
    """Facts first, then warnings, then problems, so that what matters most stands last, above the prompt."""
    facts = found.facts
    blocks = [
        [*_data(facts["data"])] if "data" in facts else [],
        [*_layers(facts["layers"])] if "layers" in facts else [],
        [*_tokens(facts["tokens"])] if "tokens" in facts else [],
        [*_recipe(facts["recipe"])] if "recipe" in facts else [],
        [*_self_training(facts["self_training"])] if "self_training" in facts else [],
        [*_cost(facts["cost"])] if "cost" in facts else ["Steps, time and memory are told once there is no problem."],
        _listed("warning", found.warnings),
        _listed("PROBLEM", found.problems),
        [_last_line(found)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _listed(mark: str, findings: Sequence[Finding]) -> list[str]:
    return [f"{mark}  {finding.where}: {finding.what}" for finding in findings]


def _last_line(found: Preflight) -> str:
    warnings = _many(len(found.warnings), "warning")
    if found.ready:
        return f"{found.config}: ready to train, {warnings}"
    return f"{found.config}: not ready to train, {_many(len(found.problems), 'problem')}, {warnings}"


def _many(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def _data(facts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for side, counts in facts.items():
        if side == "learned" or counts["documents"]:
            parts = ", ".join(_many(number, what.removesuffix("s")) for what, number in counts.items())
            yield f"{side:<8} {parts}"


def _layers(layers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A table of labels; `groups` counts those with an example, learned or scored."""
    width = max(len(label) for layer in layers.values() for label in [*layer["labels"], "label"])
    yield f"{'label':<{width + 2}} {'learned':>9} {'scored':>9} {'groups':>9}"
    for name, layer in layers.items():
        documents = layer["documents"]
        yield f"{name} ({layer['kind']}; {documents['learned']} documents learned, {documents['scored']} scored)"
        for label, counts in layer["labels"].items():
            yield f"  {label:<{width}} {counts['learned']:>9,} {counts['scored']:>9,} {counts['groups']:>9,}"


def _tokens(facts: Mapping[str, Any]) -> Iterator[str]:
    lengths = facts["sentence_tokens"]
    yield (
        f"{_many(facts['sentences'], 'sentence')}, {_many(facts['tokens'], 'token')}, {_many(facts['windows'], 'window')} "
        "in the texts to learn from"
    )
    yield (
        f"sentence length in tokens: median {lengths['median']:g}, 95% up to {lengths['percentile_95']}, longest "
        f"{lengths['longest']}; a window has {lengths['window']}, {lengths['window_without_context']} without context"
    )


def _recipe(facts: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"encoder: {facts['family']}, {_many(facts['parameters'], 'parameter')}, "
        f"{facts['parameters_without_embeddings']:,} without token embeddings ({facts['size']})"
    )
    chosen = {"recipe": "chosen for it", "config": "set by the config"}
    for who, words in chosen.items():
        own = [f"{name}={each['value']:g}" for name, each in facts["numbers"].items() if each["chosen_by"] == who]
        if own:
            yield f"{words}: {' '.join(own)}"
    yield f"computes in {'bfloat16, weights stay 32-bit' if facts['bf16'] else '32-bit floats'}"


def _self_training(facts: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{_many(facts['teachers'], 'teacher')} {'label' if facts['teachers'] > 1 else 'labels'} "
        f"{_many(facts['texts'], 'further text')}; one more tagger learns from all with {facts['steps']:g} times a teacher's steps"
    )


def _cost(facts: Mapping[str, Any]) -> Iterator[str]:
    frozen = facts["parameters"] - facts["trainable_parameters"]
    yield f"{_many(facts['parameters'], 'parameter')}{f', {frozen:,} of them frozen' if frozen else ''}"
    if "steps" in facts:
        yield (
            f"{_many(facts['windows'], 'window')}, {_many(facts['batches_per_epoch'], 'batch')} "
            f"and {_many(facts['steps_per_epoch'], 'step')} an epoch, {_many(facts['steps'], 'step')} in all"
        )
    if "estimate" in facts:
        yield from _estimate(facts["estimate"])


def _estimate(estimate: Mapping[str, Any]) -> Iterator[str]:
    each = estimate["seconds_per_step"]
    yield (
        f"estimated time: {_duration(estimate['seconds'])} on this machine ({_many(estimate['threads'], 'thread')}); "
        f"{_many(each['measured'], 'step')} took {each['mean']:.3f} s on average, {each['fastest']:.3f} to "
        f"{each['slowest']:.3f} s"
    )
    if estimate["memory_bytes"] is not None:
        size = f"{estimate['memory_bytes'] / 2**30:.2f} GiB"
        yield f"estimated memory: at least {size} ({estimate['memory_of']}), on the longest windows, optimizer included"
    yield f"how: {estimate['how']}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
