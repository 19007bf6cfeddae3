"""The model card of a checkpoint, README.md: a header that the Hugging Face hub reads, then plain text.

It knows the facts of `training.lineage` and scores, and no weights. What nobody told it, it leaves to the owner and says so.
The parts of a card follow Mitchell et al. (2019, Model Cards for Model Reporting, doi:10.1145/3287560.3287596).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from annotations.guidelines import cell
from annotations.schema import Kind, Schema
from annotations.storage import write_json, write_text
from inference.checkpoint_files import DEFAULT_ENCODER, version
from inference.verification import CARD, TOLERANCE, record
from training.lineage import LINEAGE
from training.reports.comparison import FEW_GROUPS

Values = dict[str, Any]

FEW_EXAMPLES = 10
UNKNOWN = (
    "Not known. Nothing was kept out of training, and what a tagger scores on documents that it learned from says nothing of "
    "new texts, so no such number stands here. `standpoint crossval` scores the same recipe on every group of documents in "
    "turn; `data.held_out` or `data.test` in the run's config keep documents to score on; `standpoint evaluate` scores this "
    "folder on other annotated documents."
)
KINDS = {
    Kind.SPANS: "spans of characters that do not overlap",
    Kind.SENTENCES: "one label for every sentence",
    Kind.DOCUMENT: "one label for the whole text",
}


def accompany(folder: Path, facts: Values, scores: Sequence[Values], schema: Schema) -> None:
    """Write all that lies beside a tagger's weights: facts, card, answers to the probe texts, hashes of every file.

    `scores` are those on documents that were never learned from, none where there are none.
    """
    facts = {**facts, "model_version": version(folder), "scores": [*scores]}
    write_json(folder / LINEAGE, facts)
    write_text(folder / CARD, model_card(facts, schema))
    record(folder)


def model_card(facts: Values, schema: Schema) -> str:
    """The whole card, from the values of `training.json`."""
    header = yaml.safe_dump(_header(facts, schema), sort_keys=False, allow_unicode=True, width=1000)
    parts = [
        f"# {cell(facts['name'])}: a Standpoint tagger",
        _what(facts, schema),
        "## Layers and labels",
        *_layers(facts, schema),
        "## Training data",
        _data(facts),
        "## Encoder and recipe",
        _recipe(facts),
        "## Scores",
        *(_scores(facts) if facts["scores"] else [UNKNOWN]),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(facts, schema)),
        "## How to load it",
        _loading(schema),
        "## Licence",
        _licence(facts),
    ]
    return f"---\n{header}# license: for the owner to state, such as apache-2.0\n---\n\n" + "\n\n".join(parts) + "\n"


def _header(facts: Values, schema: Schema) -> Values:
    """The hub's metadata: https://github.com/huggingface/hub-docs/blob/main/modelcard.md"""
    spans = bool(schema.of_kind(Kind.SPANS))
    header: Values = {
        "library_name": "standpoint",
        "pipeline_tag": "token-classification" if spans else "text-classification",
        "tags": ["standpoint", *(["named-entity-recognition"] if spans else [])]
        + (["stance-detection"] if schema.targeted else []),
    }
    encoder = facts["encoder"]
    if encoder["version"] is None:
        header["base_model"] = encoder["name"]
    if facts["scores"]:
        header["model-index"] = [{"name": facts["name"], "results": [_result(facts, one) for one in facts["scores"]]}]
    return header


def _result(facts: Values, score: Values) -> Values:
    task = "token-classification" if score["kind"] == Kind.SPANS else "text-classification"
    metric = {"type": "f1", "value": score["value"], "name": f"{score['measure']} of {score['layer']}"}
    return {
        "task": {"type": task, "name": score["layer"]},
        "dataset": {"type": "annotated-documents", "name": ", ".join(facts["scored_on"])},
        "metrics": [metric],
    }


def _what(facts: Values, schema: Schema) -> str:
    target = " and a claim to read it against (the target)" if schema.targeted else ""
    return (
        f"A tagger made with Standpoint {facts['standpoint']} on {facts['started'][:10]}; version `{facts['model_version']}`, "
        f"which is the hash of its weights and config. It takes a text of any length{target}, and labels it in "
        f"{_count(len(schema.layers), 'layer')}, each label with a probability."
    )


def _layers(facts: Values, schema: Schema) -> Iterator[str]:
    """A list of the layers, and for each a table of its labels and how often training data give them."""
    for name, layer in schema.layers.items():
        about = f": {cell(layer.description).rstrip('.')}" if layer.description else ""
        towards = ", towards the target" if layer.targeted else ""
        annotated = _count(facts["data"]["annotated"][name], "document")
        yield f"**{cell(name)}**, {KINDS[layer.kind]}{towards}{about}. Annotated in {annotated} of the training data:"
        given = facts["data"]["labels"][name]
        rows = [f"| {_code(label)} | {given[label]} |" for label in layer.names]
        yield "\n".join(["| label | in training data |", "|---|---:|", *rows])


def _data(facts: Values) -> str:
    data, before = facts["data"], len(facts["texts_before"])
    earlier = (
        f" Its encoder is that of a tagger which had learned from {_count(before, 'text')} before." if before else ""
    )
    further = data.get("further", 0)
    taught = (
        f" {_count(further, 'further text')} had the labels that taggers made from those gave them." if further else ""
    )
    return (
        f"{_count(data['documents'], 'document')} in {_count(data['groups'], 'group')} (the documents of one article, say), of "
        f"{_names(data['files'])}; fingerprint `{data['fingerprint']}`. `{LINEAGE}` has the hash of every text.{taught}{earlier}"
    )


def _recipe(facts: Values) -> str:
    encoder, machine = facts["encoder"], facts["hardware"]
    known = f"`{encoder['version']}`" if encoder["version"] else "from the hub"
    rows = {"encoder": f"{cell(encoder['name'])} ({known})", **_flat(facts["recipe"])}
    rows |= {"packages": ", ".join(f"{name} {facts['packages'][name]}" for name in ("torch", "transformers"))}
    rows |= {"machine": machine["gpu"] or f"{machine['processor']}, {_count(machine['threads'], 'thread')}"}
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {cell(str(value))} |" for name, value in rows.items())])


def _flat(values: Values, path: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names; what is unset is left out."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{path}{name}.")
        elif value is not None:
            found[path + name] = value
    return found


def _scores(facts: Values) -> Iterator[str]:
    yield f"On {_names(facts['scored_on'])}, which the tagger never saw. In brackets: 95% bootstrap intervals by group."
    head = [
        "| layer | measure | score | always the most frequent label | documents | groups |",
        "|---|---|---|---|---:|---:|",
    ]
    yield "\n".join([*head, *map(_score_row, facts["scores"])])
    if few := [one["layer"] for one in facts["scores"] if one["groups"] < FEW_GROUPS]:
        yield (
            f"With fewer than {FEW_GROUPS} groups ({_names(few)}) a score depends much on which documents were drawn, and an "
            "interval is itself rough; of one group there is none."
        )
    for one in facts["scores"]:
        rows = [
            f"| {_code(label)} | {own['precision']:.3f} | {own['recall']:.3f} | {own['f1']:.3f} | {own['support']} |"
            for label, own in one["labels"].items()
        ]
        yield "\n".join(
            [f"| {_code(one['layer'])} | precision | recall | F1 | gold |", "|---|---:|---:|---:|---:|", *rows]
        )


def _score_row(score: Values) -> str:
    value = f"{score['value']:.3f} ({_interval(score)})"
    plain = "" if score["majority"] is None else f"{score['majority']:.3f}"
    measure = f"{score['measure']}, exact spans" if score["kind"] == Kind.SPANS else score["measure"]
    return f"| {_code(score['layer'])} | {measure} | {value} | {plain} | {score['documents']} | {score['groups']} |"


def _interval(score: Values) -> str:
    if score["interval"] is None:
        return "no interval"
    low, high = score["interval"]
    return f"{low:.3f}–{high:.3f}"


def _limits(facts: Values, schema: Schema) -> Iterator[str]:
    window, labels = facts["recipe"]["window"], facts["data"]["labels"]
    groups = _count(facts["data"]["groups"], "group")
    yield f"It learned from {groups} of documents; other subjects, times and styles are new to it."
    pairs = [(f"{label} ({name})", count) for name, own in labels.items() for label, count in own.items()]
    if never := [name for name, count in pairs if not count]:
        yield f"Without an example in the training data, so never learned: {_names(never)}."
    if few := [name for name, count in pairs if 0 < count < FEW_EXAMPLES]:
        yield f"With fewer than {FEW_EXAMPLES} examples, so hardly learned: {_names(few)}."
    if facts["encoder"]["name"] == DEFAULT_ENCODER:
        yield "Its encoder is Standpoint's own small one, which has read English news and government prose alone."
    yield (
        f"It reads windows of {window['tokens']} tokens, {window['context']} of them context on each side; what stands farther "
        "apart does not inform each other."
    )
    if schema.targeted:
        yield (
            f"A target has at most {window['target_tokens']} tokens. Labels towards it say what a text tells a reader about a "
            "claim: neither whether the claim is true, nor what anybody believes."
        )
    yield "A probability is the network's own; nothing here shows how often it is right."
    yield "Errors are certain. Let people check what matters, decisions about persons above all."


def _loading(schema: Schema) -> str:
    text = "General Mirela Drosk told Harbour Radio on Tuesday that her troops had left Vessin."
    target = ', target="The troops left."' if schema.targeted else ""
    return f"""With Standpoint installed, in this folder:

```python
from inference import Tagger

tagger = Tagger.load(".")
document = tagger.tag("{text}"{target})
for layer, labels in document.labels.items():
    print(layer, labels)
```

`standpoint tag news.txt --model FOLDER` does it from the command line. `standpoint verify FOLDER` hashes every file, tags
the stored probe texts again, and fails where a label is another one or a probability differs by more than {TOLERANCE:g}."""


def _licence(facts: Values) -> str:
    ours = facts["encoder"]["name"] == DEFAULT_ENCODER
    encoder = "of the encoder (Standpoint's own, Apache-2.0)" if ours else "of the encoder"
    return f"Not stated yet: put `license:` into the header above. It depends on the licences {encoder} and of the training data."


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_code, names))


def _code(name: str) -> str:
    """A name as it is, with nothing in it taken for Markdown."""
    return f"`{cell(name).replace('`', chr(39))}`"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
