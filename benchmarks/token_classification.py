"""The recipe of transformers' own token-classification example (`run_ner.py` at its default settings), written anew.

Three epochs, batches of 8 in random order padded to their longest row, AdamW at 5e-5 with a linear decay and no warm-up, fp32,
the loss on the first token of each word, no class weights, no context. It knows rows of words, and no layers or windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    set_seed,
)
from word_rows import OUTSIDE, Row, tag_names

from annotations.errors import CheckpointError, first_line
from inference.checkpoint import encoder_tokenizer
from inference.checkpoint_files import encoder_location

IGNORED = -100
BATCH = 8
SETTINGS: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": BATCH,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "train_sampling_strategy": "random",
    "bf16": False,
}
"""The example's defaults, which are those of TrainingArguments, spelled out."""


@dataclass(frozen=True)
class Learned:
    """What training left."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    text_tokens: int
    """Tokens of the rows without special ones, after cutting to the tokenizer's longest input; one pass."""


def learn(encoder: str, found: Sequence[Row], seed: int, folder: str, settings: dict[str, Any]) -> Learned:
    """Train on rows of words; `settings` are arguments of TrainingArguments, such as SETTINGS.

    Raises:
        CheckpointError: transformers finds no encoder in the folder, for example because it holds a tagger.
    """
    set_seed(seed)
    tokenizer, names = encoder_tokenizer(encoder), tag_names(found)
    features = [_feature(row, tokenizer, names) for row in found]
    trainer = Trainer(
        model=_model(encoder, names),
        args=_arguments(seed, folder, settings),
        train_dataset=features,
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    trainer.train()
    special = tokenizer.num_special_tokens_to_add()
    tokens = sum(len(feature["input_ids"]) - special for feature in features)
    return Learned(trainer.model, tokenizer, tokens)


def _arguments(seed: int, folder: str, settings: dict[str, Any]) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        seed=seed,
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        save_strategy="no",
        logging_steps=200,
        report_to="none",
        disable_tqdm=True,
        **settings,
    )


def _model(encoder: str, names: Sequence[str]) -> PreTrainedModel:
    numbered = dict(enumerate(names))
    # Weights on disk may be 16-bit floats, and transformers would train in these.
    values: dict[str, Any] = {"dtype": torch.float32, "id2label": numbered}
    values["label2id"] = {name: number for number, name in numbered.items()}
    try:
        model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(encoder_location(encoder), **values)
    except (OSError, ValueError) as error:
        told = f"transformers' example cannot learn from it: {first_line(error)}; give an encoder's folder"
        raise CheckpointError(encoder, told) from error
    return model


def _feature(row: Row, tokenizer: PreTrainedTokenizerBase, names: Sequence[str]) -> dict[str, list[int]]:
    """The row's tokens; the first one of each word has its tag, the others have none."""
    encoded = tokenizer(row.forms, is_split_into_words=True, truncation=True)
    owners = encoded.word_ids()
    labels = [
        names.index(row.tags[word]) if word is not None and word != before else IGNORED
        for word, before in zip(owners, [None, *owners[:-1]], strict=True)
    ]
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "labels": labels}


@torch.inference_mode()
def predict(learned: Learned, found: Sequence[Row]) -> list[list[str]]:
    """A tag for each word of each row: that of its first token, `O` beyond the longest input."""
    model, names = learned.model.eval(), learned.model.config.id2label
    collate = DataCollatorForTokenClassification(learned.tokenizer)
    order = sorted(range(len(found)), key=lambda place: len(found[place].forms))
    tags: list[list[str]] = [[OUTSIDE] * len(row.forms) for row in found]
    for start in range(0, len(order), BATCH):
        own = order[start : start + BATCH]
        encoded = [learned.tokenizer(found[place].forms, is_split_into_words=True, truncation=True) for place in own]
        batch = collate([{name: one[name] for name in ("input_ids", "attention_mask")} for one in encoded])
        best = model(**batch.to(model.device)).logits.argmax(-1).tolist()
        for place, one, row in zip(own, encoded, best, strict=True):
            for token, word in reversed(list(enumerate(one.word_ids()))):
                if word is not None:
                    tags[place][word] = names[row[token]]
    return tags
