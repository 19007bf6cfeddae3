"""Reads YAML into config classes: unknown keys are errors, every problem is told at once, dotted overrides apply.

It knows how settings are read, and none of the settings.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from annotations.errors import ConfigError, did_you_mean

SHOWN = 80
MEMBER = "\0"
"""Begins the tags of a union's members, which pydantic puts into the path of an error and no file has."""


class Config(BaseModel):
    """Base of every config class: frozen, closed to unknown keys, loadable from YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read `path`, apply overrides such as `optimizer.lr=3e-4`, validate.

        Raises:
            ConfigError: with every problem of the file and the overrides in one message.
        """
        return cls.build(read_yaml(path), where=path, overrides=overrides)

    @classmethod
    def build(cls, values: Any, *, where: object, overrides: Sequence[str] = ()) -> Self:
        """Validate plain values, naming `where` they came from in any error."""
        if not isinstance(values, dict):
            raise ConfigError(where, f"expected settings as `key: value`, found {type(values).__name__}")
        values, problems = overridden(values, overrides)
        try:
            config = cls.model_validate(values)
        except ValidationError as error:
            problems += describe(error, cls)
        if problems:
            raise ConfigError(where, problems)
        return config


def read_yaml(path: str | Path) -> Any:
    """Parse a YAML file.

    Raises:
        ConfigError: the file is missing, not UTF-8, not YAML, or sets a key twice.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text("utf-8"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, ValueError) as error:  # a ValueError is a bad byte, or a date such as 2024-02-31
        raise ConfigError(path, f"is not valid YAML: {' '.join(str(error).split())}") from error
    return {} if values is None else values


def overridden(values: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """A copy with overrides such as `optimizer.lr=3e-4` applied, and one sentence for each that could not be."""
    values = copy.deepcopy(values)
    problems = [problem for text in overrides if (problem := _override(values, text))]
    return values, problems


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, which YAML forbids and PyYAML silently merges, and reads 3e-4 as a number."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is set twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node


# YAML 1.1 takes 3e-4 for a string; this is YAML 1.2's rule for floats.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence for each problem pydantic found, with the dotted path and a hint."""
    return [sentence(item, model) for item in error.errors()]


def sentence(item: Mapping[str, Any], model: type[BaseModel]) -> str:
    """One of `ValidationError.errors()`, with the dotted path and a hint."""
    location = tuple(part for part in item["loc"] if not str(part).startswith(MEMBER))
    path = ".".join(str(part) for part in location) or "the whole"
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown key; {did_you_mean(str(location[-1]), _fields(model, location[:-1]))}"
    if item["type"] == "missing":
        return f"{path}: is required and missing"
    if location[-1:] == ("[key]",) and not isinstance(item["input"], str):
        return f"{'.'.join(map(str, location[:-2]))}: key {item['input']!r} is not a text; put it in quotes"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] in ("value_error", "json_invalid") or isinstance(item["input"], dict | list | tuple):
        return f"{path}: {message}"
    given = item["input"]
    # Of a text of megabytes, only as much as is shown.
    found = repr(given[: SHOWN + 1] if isinstance(given, str) else given)
    return f"{path}: {message}, found {found if len(found) <= SHOWN else found[:SHOWN] + '…'}"


def _fields(model: type[BaseModel], path: Iterable[Any]) -> list[str]:
    """The field names at `path` inside a model, walking through containers of models."""
    parts = iter(path)
    for part in parts:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        inner, keys = _inside(field.annotation)
        if inner is None:
            return []
        model = inner
        for _ in range(keys):
            next(parts, None)
    return list(model.model_fields)


def _inside(annotation: Any) -> tuple[type[BaseModel] | None, int]:
    """The first model inside an annotation, and how many keys or indices lead to it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, 0
    for part in get_args(annotation):
        model, keys = _inside(part)
        if model:
            return model, keys + (get_origin(annotation) in (dict, list, tuple, Mapping))
    return None, 0


def _override(values: dict[str, Any], text: str) -> str | None:
    """Apply `a.b=value` in place; a returned sentence says why it could not be."""
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        return f"override {text!r}: write it as key=value, for instance optimizer.lr=3e-4"
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            return f"override {text!r}: {parent!r} holds a value, not settings"
    try:
        values[last] = yaml.load(value, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        return f"override {text!r}: {' '.join(str(error).split())}"
    return None
