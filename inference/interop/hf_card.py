"""The README.md of a folder that `standpoint export --to hf` writes. It knows settings, not weights.

The header's keys: https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from annotations.guidelines import cell
from inference.config import TaggerConfig

HEADER = {
    "library_name": "transformers",
    "pipeline_tag": "token-classification",
    "tags": ["standpoint", "named-entity-recognition"],
}
TEXT = "General Mirela Drosk told Harbour Radio that her troops had left Vessin."


def card(layer: str, config: TaggerConfig, facts: dict[str, Any]) -> str:
    """The whole card. `facts`: `version` of the checkpoint, `trims`, `difference` of the logits, `strategy`."""
    header = yaml.safe_dump(HEADER, sort_keys=False)
    parts = [
        f"# Layer `{layer}` of a Standpoint tagger, for transformers",
        f"Made by `standpoint export --to hf` from the checkpoint with version `{facts['version']}`: its encoder and the head of "
        "one layer, with the same weights. Other layers (stance, say) are not in here: transformers has no model of that shape. "
        f"On Standpoint's probe texts the logits differ from the tagger's by at most {facts['difference']:.1g} of the largest.",
        _loading(config, facts),
        "## What it answers otherwise than the tagger",
        "\n".join(f"- {line}" for line in _differences(config, facts)),
        "## Labels",
        "\n".join(_labels(layer, config)),
        "## Licence",
        "Not stated yet: put `license:` into the header above. It depends on the licences of encoder and training data.",
    ]
    return f"---\n{header}---\n\n" + "\n\n".join(parts) + "\n"


def _loading(config: TaggerConfig, facts: dict[str, Any]) -> str:
    return f"""```python
from transformers import pipeline

tag = pipeline("token-classification", model=".", aggregation_strategy="{facts["strategy"]}", stride={stride(config)})
for span in tag("{TEXT}"):
    print(span["entity_group"], span["start"], span["end"], span["score"])
```

Offsets are half-open and count code points. `stride` makes the pipeline read texts of any length; **without it, everything after
the first {config.window.tokens} tokens is cut off silently**."""


def stride(config: TaggerConfig) -> int:
    """By how many tokens neighbouring chunks overlap, so that each has the tagger's context on both sides."""
    return 2 * config.window.context


def _differences(config: TaggerConfig, facts: dict[str, Any]) -> Iterator[str]:
    yield (
        "The pipeline takes the likeliest tag of every token by itself. The tagger takes the likeliest allowed sequence of tags, "
        "so where the network hesitates inside a name, the pipeline may cut the name or change its label half-way."
    )
    if config.whole_words:
        yield "The tagger keeps spans to whole words, as its training data does; the pipeline may begin or end one inside a word."
    window = config.window
    yield (
        f"Texts of up to {window.tokens - 2 * window.context} tokens, special tokens included, are read as the tagger reads them. "
        f"Longer ones are cut after every {window.tokens} tokens, wherever that is, and not between sentences."
    )
    if not facts["trims"]:
        yield "Offsets may begin with the space before a word: strip it."
    yield "Combining marks, and characters that are several tokens (emoji), may be left out of a span or give an empty one."


def _labels(layer: str, config: TaggerConfig) -> Iterator[str]:
    yield "| label | marks |"
    yield "|---|---|"
    for name, spec in config.label_schema.layers[layer].labels.items():
        yield f"| {cell(name)} | {cell(spec.marks)} |"
