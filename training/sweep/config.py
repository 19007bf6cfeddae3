"""The settings of `standpoint sweep`, and whether its search space fits the settings of a run.

It knows names, types and ranges. How values are chosen and scored is decided elsewhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from annotations.config import Config, read_yaml
from annotations.errors import ConfigError, did_you_mean
from annotations.schema import Kind, Schema
from training.config import RunConfig

Value = bool | int | float | str | None
FIXED = {
    "output": "every trial has a folder of its own",
    "seed": "name the seeds in `seeds`",
    "data": "every trial learns from the same folds",
    "tagger.label_schema": "scores of different label sets cannot be compared",
}
"""What no space may contain, and why."""


class Parameter(Config):
    """The values that one setting may take: a range of numbers, or a list of choices."""

    low: int | float | None = None
    """Lowest value."""
    high: int | float | None = None
    """Highest value, included."""
    log: bool = False
    """Search the logarithm: for rates and other values that matter by their ratio."""
    step: int | float | None = Field(default=None, gt=0)
    """Distance of neighbouring values, from `low` on; any number in the range when unset."""
    choices: tuple[Value, ...] = ()
    """Values without an order, instead of a range."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.choices and (self.log or {self.low, self.high, self.step} != {None}):
            raise ValueError("give `choices`, or a range from `low` to `high`; found parts of both")
        if self.choices:
            if len({json.dumps(value) for value in self.choices}) < max(2, len(self.choices)):
                raise ValueError(f"choices: at least two different values are needed, found {[*self.choices]}")
        elif self.low is None or self.high is None:
            raise ValueError("give `low` and `high`, or `choices`")
        elif problem := self._range_problem(self.low, self.high):
            raise ValueError(problem)
        return self

    def _range_problem(self, low: float, high: float) -> str | None:
        if low >= high:
            return f"low={low} must be less than high={high}"
        if self.log and (low <= 0 or self.step is not None):
            return "log needs a positive low and no step"
        if self.step is not None and not _on_grid(high, low, self.step):
            return f"high={high} is not low={low} plus a whole number of steps of {self.step}"
        return None

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values to try a setting with: where these are accepted, all between them are."""
        return self.choices or (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether a value lies in it."""
        if self.choices:
            return any(_same(value, choice) for choice in self.choices)
        assert self.low is not None and self.high is not None
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        return self.step is None or _on_grid(value, self.low, self.step)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal, where 30 and 30.0 are, and 1 and true are not."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _on_grid(value: float, low: float, step: float) -> bool:
    steps = (value - low) / step
    return math.isclose(steps, round(steps), abs_tol=1e-6)


class Sampler(Config):
    """How the next values are chosen."""

    name: Literal["tpe", "random"] = "tpe"
    """Tree-structured Parzen estimator (Bergstra et al., 2011), or values drawn at random."""
    seed: int = Field(default=0, ge=0)
    """Seeds the choice."""
    startup: int = Field(default=10, ge=1)
    """Finished trials with values drawn at random, before the estimator takes over."""


class Pruner(Config):
    """When a trial ends early: its mean over the folds so far is below the median of others over the same folds."""

    startup: int = Field(default=5, ge=1)
    """Complete trials to compare with at least."""
    warmup: int = Field(default=1, ge=1)
    """Folds that every trial runs; it may end after any later one."""


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _dotted(values: Any) -> Any:
    """A space with the dotted names of settings, whether it was written dotted or nested."""
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        return values
    found: dict[str, Any] = {}
    for path, value in _leaves(values):
        name, _, last = path.rpartition(".")
        if name:
            found.setdefault(name, {})[last] = value
        else:
            found[last] = value
    return found


class SweepConfig(Config):
    """Everything `standpoint sweep` needs."""

    run: Path | dict[str, Any]
    """The run to tune: its YAML file, or its settings."""
    run_overrides: tuple[str, ...] = ()
    """Settings of that run to override, such as `epochs=10`."""
    space: Annotated[dict[str, Parameter], BeforeValidator(_dotted)] = Field(min_length=1)
    """Dotted setting of a run to the values that it may take."""
    output: Path
    """Folder of the sweep."""
    folds: int | None = Field(default=5, ge=2)
    """Parts of the training files, whole groups each, that are held out in turn; null leaves out one group at a time."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    """One round of folds for each seed."""
    layer: str | None = None
    """The layer whose score counts; the mean over annotated layers when unset."""
    measure: Literal["micro F1", "macro F1", "accuracy"] | None = None
    """What is maximised; micro F1 for spans and macro F1 for other layers when unset."""
    trials: int = Field(default=20, ge=1)
    """How many settings are tried, those that fail or end early included."""
    sampler: Sampler = Sampler()
    """How settings are chosen."""
    pruner: Pruner | None = Pruner()
    """When a trial ends early; null runs every trial to its end."""

    @property
    def plan(self) -> tuple[str, ...]:
        """The settings that must stay the same for trials to be comparable: all but their number and their folder."""
        return tuple(
            name for name in type(self).model_fields if name not in ("run", "run_overrides", "output", "trials")
        )


def base_run(settings: SweepConfig) -> RunConfig:
    """The run to tune, with a folder of its own for the best settings.

    Raises:
        ConfigError: with every problem of the run, or else every problem of the space, layer and measure.
    """
    inline = isinstance(settings.run, dict)
    values = settings.run if isinstance(settings.run, dict) else read_yaml(settings.run)
    overrides = [*settings.run_overrides, f"output={json.dumps(str(settings.output / 'best'))}"]
    config = RunConfig.build(values, where="run" if inline else settings.run, overrides=overrides)
    problems = [*_space_problems(settings, config), *_score_problems(settings, config.tagger.label_schema)]
    if config.self_training is not None:
        problems.append("self_training: a trial learns from annotated documents alone; take it out of the run")
    if problems:
        raise ConfigError("sweep", problems)
    return config


def measure_of(settings: SweepConfig, kind: Kind) -> str:
    """What counts in a layer of a kind."""
    return settings.measure or ("micro F1" if kind is Kind.SPANS else "macro F1")


def with_parameters(config: RunConfig, parameters: Mapping[str, Value], *, where: object) -> RunConfig:
    """The run with other values of some dotted settings. Raises ConfigError where they cannot be."""
    overrides = [f"{name}={json.dumps(value)}" for name, value in parameters.items()]
    return RunConfig.build(config.model_dump(mode="json"), where=where, overrides=overrides)


def own_values(settings: SweepConfig, config: RunConfig) -> dict[str, Value] | None:
    """The run's own values of the space's settings; None where one of them lies outside the space."""
    found: dict[str, Value] = {}
    for name, parameter in settings.space.items():
        value: Any = config.model_dump(mode="json")
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not parameter.holds(value):
            return None
        found[name] = next((choice for choice in parameter.choices if _same(value, choice)), value)
    return found


def is_whole(name: str, parameter: Parameter) -> bool:
    """Whether a range holds whole numbers only: the setting's type decides, where it has none the range's own numbers."""
    kinds = _types(name)
    if kinds & {int, float}:
        return float not in kinds
    return all(isinstance(value, int) for value in (parameter.low, parameter.high, parameter.step or 1))


def _types(name: str) -> set[Any]:
    """The types of a run's setting; empty inside a mapping of any keys."""
    model: Any = RunConfig
    kinds: set[Any] = set()
    for part in name.split("."):
        if not (isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields):
            return set()
        model = model.model_fields[part].annotation
        kinds = {model, *get_args(model)}
    return kinds


def _space_problems(settings: SweepConfig, config: RunConfig) -> list[str]:
    problems = []
    for name, parameter in settings.space.items():
        if fixed := next((key for key in FIXED if name == key or name.startswith(f"{key}.")), None):
            problems.append(f"space: {name} cannot be searched; {FIXED[fixed]}")
        elif not parameter.choices and bool in _types(name):
            problems.append(f"space: {name} is true or false; write it as choices: [true, false]")
        elif is_whole(name, parameter) and parameter.step is not None and parameter.step != int(parameter.step):
            problems.append(f"space: {name} holds whole numbers; its step is {parameter.step}")
        else:
            problems += dict.fromkeys(_refusals(config, name, parameter))
    return problems


def _refusals(config: RunConfig, name: str, parameter: Parameter) -> Iterator[str]:
    for value in parameter.ends:
        try:
            with_parameters(config, {name: value}, where=name)
        except ConfigError as error:
            yield from (f"space: {problem}" for problem in error.problems)


def _score_problems(settings: SweepConfig, schema: Schema) -> Iterator[str]:
    if settings.layer is not None and settings.layer not in schema.layers:
        yield f"layer: no layer {settings.layer!r} in the schema; {did_you_mean(settings.layer, schema.layers)}"
        return
    names = [settings.layer] if settings.layer is not None else [*schema.layers]
    spans = [name for name in names if schema.layers[name].kind is Kind.SPANS]
    if settings.measure == "accuracy" and spans:
        yield f"measure: accuracy is not defined for spans ({', '.join(spans)}); name another layer, or take micro F1"
