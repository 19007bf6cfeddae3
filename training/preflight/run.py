"""Everything that can be wrong with a run's config, data and encoder, found before any training, all at once.

A problem is what `standpoint train` would refuse or could not learn from; a warning is what it would take, and somebody
should know. It knows in which order to look; what to look for is in the modules beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from annotations.errors import CheckpointError, ConfigError, DocumentError, InputError
from annotations.reading import bare_documents
from inference.checkpoint import UNUSABLE, encoder_tokenizer
from inference.model import StandpointModel
from training.config import RunConfig, SelfTrainingConfig
from training.folds import apart
from training.preflight.config import Finding, Settings, findings, folder_problems, load_settings
from training.preflight.cost import cost_facts
from training.preflight.data import (
    Data,
    conflict_problems,
    conflict_warnings,
    data_facts,
    layer_facts,
    leakage_warnings,
    missing_problems,
    missing_warnings,
    near_duplicate_warnings,
    read_data,
    tally,
)
from training.preflight.tokens import encode_each, token_facts, token_warnings
from training.recipe import completed, look_at, recipe_facts, recipe_for
from training.trainer import check_arguments, network
from training.unlabelled import further_texts


@dataclass
class Preflight:
    """What was found."""

    config: str
    """The run's YAML file."""
    problems: list[Finding] = field(default_factory=list)
    """What training would refuse or could not learn from."""
    warnings: list[Finding] = field(default_factory=list)
    """What training would take, and should be known."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Counts and costs, as `report` describes them; what could not be found out is absent."""

    @property
    def ready(self) -> bool:
        """Whether a training run can begin."""
        return not self.problems

    def refuse(self, error: InputError) -> None:
        """Add an error's problems; several parts may meet the same one."""
        self.problems += [problem for problem in findings(error) if problem not in self.problems]


def preflight(path: Path, overrides: Sequence[str] = (), *, quick: bool = False, force: bool = False) -> Preflight:
    """Look at everything that `standpoint train` would use; nothing is written, and one failing part hides no other.

    Args:
        path: YAML file of the run.
        overrides: settings such as `optimizer.lr=3e-4`.
        quick: make no training steps, so no seconds and bytes are estimated.
        force: a finished run in the output folder may be replaced, as with `standpoint train --force`.
    """
    settings = load_settings(path, overrides)
    found = Preflight(str(path), problems=settings.problems)
    if settings.config is None:
        return found
    config = _look_at_recipe(settings, settings.config, found)
    data = _look_at_data(settings, config, found)
    model, tokenizer = _look_at_encoder(settings, config, found)
    if data and data.documents and tokenizer:
        _look_at_tokens(settings, config, data, tokenizer, found)
    _look_at_trainer(settings, config, data, found, force=force)
    if model and tokenizer and data and data.whole and not found.problems:
        facts, problems = cost_facts(config, model, tokenizer, data.learned, measured=not quick)
        found.facts["cost"] = facts
        found.problems += problems
    return found


def _look_at_recipe(settings: Settings, config: RunConfig, found: Preflight) -> RunConfig:
    """The config with what the recipe chooses; as it is where the encoder cannot be looked at."""
    if not settings.stands("encoder"):
        return config
    try:
        encoder = look_at(config.encoder)
    except CheckpointError as error:
        found.refuse(error)
        return config
    chosen = completed(config, recipe_for(encoder))
    found.facts["recipe"] = recipe_facts(encoder, config, chosen)
    return chosen


def _look_at_data(settings: Settings, config: RunConfig, found: Preflight) -> Data | None:
    """The documents; None where the schema or the names of the files are unknown."""
    if not settings.stands("data.train") or not settings.stands("tagger.label_schema"):
        found.problems += _unreadable(settings, config)
        return None
    schema = config.tagger.label_schema
    data = read_data(config.data, schema)
    found.problems += data.problems
    found.problems += conflict_problems(data.learned, schema)
    found.warnings += data.warnings
    tallies = tally(data, schema)
    found.facts["data"] = data_facts(data)
    if data.documents:
        found.facts["layers"] = layer_facts(data, schema, tallies)
    if data.whole:
        found.problems += missing_problems(data, schema)
        found.warnings += missing_warnings(data, schema, tallies)
    found.warnings += conflict_problems(data.scored, schema)
    found.warnings += conflict_warnings(data.documents, schema)
    found.warnings += leakage_warnings(data)
    found.warnings += near_duplicate_warnings(data)
    return data


def _unreadable(settings: Settings, config: RunConfig) -> list[Finding]:
    """Files that cannot be read, whatever the schema."""
    problems = []
    known = {"data.train": config.data.train, "data.test": config.data.test}
    for path in (path for name, paths in known.items() if settings.stands(name) for path in paths):
        try:
            for _ in bare_documents(str(path)):
                pass
        except DocumentError as error:
            problems += findings(error)
    return problems


def _look_at_encoder(
    settings: Settings, config: RunConfig, found: Preflight
) -> tuple[StandpointModel | None, PreTrainedTokenizerBase | None]:
    """The model as it would be trained, and the tokenizer, each as far as it can be had."""
    if not settings.stands("encoder"):
        return None, None
    try:
        return network(config)
    except (CheckpointError, ConfigError) as error:
        found.refuse(error)
    # An encoder that cannot be loaded, or is too short, may still have a tokenizer to look at the texts with.
    try:
        tokenizer = encoder_tokenizer(config.encoder)
    except UNUSABLE:
        return None, None
    return None, tokenizer if tokenizer.is_fast else None


def _look_at_tokens(
    settings: Settings, config: RunConfig, data: Data, tokenizer: PreTrainedTokenizerBase, found: Preflight
) -> None:
    if not settings.stands("tagger"):
        return
    learned, problems = encode_each(data.learned, tokenizer, config.tagger)
    scored, problems_too = encode_each(data.scored, tokenizer, config.tagger)
    found.problems += [*problems, *problems_too]
    found.facts["tokens"] = token_facts(learned, tokenizer, config.tagger.window)
    found.warnings += token_warnings([*learned, *scored], tokenizer, config.tagger)


def _look_at_further_texts(config: RunConfig, taught: SelfTrainingConfig, data: Data | None, found: Preflight) -> None:
    try:
        further = further_texts(config)
        apart(further, data.scored if data else [])
    except DocumentError as error:
        found.refuse(error)
        return
    found.facts["self_training"] = {"texts": len(further), "teachers": taught.teachers, "steps": taught.steps}


def _look_at_trainer(
    settings: Settings, config: RunConfig, data: Data | None, found: Preflight, *, force: bool
) -> None:
    if settings.stands("output"):
        found.problems += folder_problems(config, data.learned if data else [], force=force)
    try:
        check_arguments(config, config.output)
    except ConfigError as error:
        found.refuse(error)
    if config.self_training is not None and settings.stands("self_training"):
        _look_at_further_texts(config, config.self_training, data, found)
