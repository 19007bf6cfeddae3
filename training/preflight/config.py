"""What is wrong with a run's settings and its folder, and the settings as far as they can be used in spite of it.

It knows settings, not what the files behind them hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from annotations.config import overridden, read_yaml
from annotations.document import Document
from annotations.errors import ConfigError, InputError
from training.config import RunConfig
from training.run_directory import IN_THE_WAY, RunDirectory, beside, destination, obstacle, standing

STAND_IN: dict[str, Any] = {
    "tagger": {"label_schema": {"layers": {"unknown": {"kind": "spans", "labels": {"UNKNOWN": {}}}}}},
    "data": {"train": ["unknown"]},
    "output": "unknown",
}
"""What required settings are taken to be where they are wrong, so that the others can be used."""


class Finding(NamedTuple):
    """One thing to mend or to know."""

    where: str
    """The file, document, layer or setting."""
    what: str
    """One sentence, with what to do."""


class Settings(NamedTuple):
    """The settings of a run, as far as they can be used."""

    config: RunConfig | None
    """None where the file is no YAML mapping; settings that are wrong have their defaults."""
    wrong: frozenset[str]
    """Settings of `config` that are not what the file says, as `optimizer` or `optimizer.lr`."""
    problems: list[Finding]

    def stands(self, name: str) -> bool:
        """Whether a setting, and every setting in it, is what the file says."""
        beside = (f"{name}.", name)
        return not any(
            wrong.startswith(beside[0]) or wrong == name or name.startswith(f"{wrong}.") for wrong in self.wrong
        )


def findings(error: InputError) -> list[Finding]:
    """Every problem that an error carries."""
    return [Finding(error.where, problem) for problem in error.problems]


def load_settings(path: Path, overrides: Sequence[str]) -> Settings:
    """Read a run's settings, keeping what is right when something is wrong."""
    try:
        return Settings(RunConfig.load(path, overrides), frozenset(), [])
    except ConfigError as error:
        config, wrong = _usable(path, overrides)
        return Settings(config, wrong, findings(error))


def _usable(path: Path, overrides: Sequence[str]) -> tuple[RunConfig | None, frozenset[str]]:
    """The settings without those that are wrong, and which these are."""
    try:
        values = read_yaml(path)
    except ConfigError:
        return None, frozenset()
    if not isinstance(values, dict):
        return None, frozenset()
    values, _ = overridden(values, overrides)
    seen: set[tuple[str, bool]] = set()
    while True:
        try:
            return RunConfig.model_validate(values), frozenset(name for name, _ in seen)
        except ValidationError as error:
            kinds = [(item["loc"], item["type"] == "missing") for item in error.errors()]
        # A setting is taken away once, and stood in for once, so there is an end; the check is for what was not foreseen.
        found = {(_repair(values, location, missing=missing), missing) for location, missing in kinds}
        if found <= seen:
            return None, frozenset()
        seen |= found


def _repair(values: dict[str, Any], location: tuple[int | str, ...], *, missing: bool) -> str:
    """Take a wrong setting away, or put what stands in for a missing one; returns its name.

    Only the first two parts of the location are used: what lies deeper is taken away as a whole.
    """
    # The one rule that a RunConfig has as a whole is about this setting.
    section, *rest = [str(part) for part in location[:2]] or ["objective"]
    inner = values.get(section)
    if missing and not rest:
        values[section] = STAND_IN[section]
    elif missing and section in STAND_IN:
        values[section] = {**values[section], **STAND_IN[section]}
    elif rest and isinstance(inner, dict) and rest[0] in inner:
        values[section] = {name: value for name, value in inner.items() if name != rest[0]}
    else:
        values.pop(section, None)
        rest = []
    return ".".join([section, *rest])


def folder_problems(config: RunConfig, learned: Sequence[Document], *, force: bool) -> Iterator[Finding]:
    """Why the output folder cannot take the run: what `RunDirectory.begin` would raise, and what cannot be written."""
    if told := obstacle(config.output):
        yield Finding("output", f"{told}; choose another folder with output=…")
    else:
        run = destination(config.output, force=force)
        replacing = run.path != config.output
        aside = beside(standing(config.output), "old")
        if replacing and os.path.lexists(aside) and (aside.is_symlink() or not aside.is_dir()):
            yield Finding("output", f"{aside} {IN_THE_WAY}")
        yield from _refusal(run, config, learned, replacing=replacing)


def _refusal(
    run: RunDirectory, config: RunConfig, learned: Sequence[Document], *, replacing: bool
) -> Iterator[Finding]:
    if replacing and run.finished:
        # A run that was killed just before it took its place is removed by the next one.
        return
    try:
        run.examine(config, learned)
    except InputError as error:
        yield from (Finding("output", f"{error.where} {problem}") for problem in error.problems)
