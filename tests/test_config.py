"""Settings from YAML: every problem at once, with the place and a hint; overrides; nothing read wrongly in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from annotations.config import Config
from annotations.errors import ConfigError


class Rate(Config):
    peak: float = Field(default=0.1, gt=0)
    warmup: float | None = None


class Part(Config):
    kind: str
    rate: Rate = Rate()
    description: str = ""


class Whole(Config):
    parts: dict[str, Part] = {}
    steps: tuple[Rate, ...] = ()
    nested: dict[str, tuple[Rate, ...]] = {}
    maybe: Rate | None = None
    free: dict[str, int] = {}
    name: str = "x"


def load(folder: Path, text: str | bytes, *overrides: str) -> Whole:
    path = folder / "a.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Whole.load(path, overrides)


def problems(folder: Path, text: str | bytes, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    assert str(folder / "a.yaml") in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ("nmae: x", "nmae", "did you mean 'name'?"),
        ("parts: {a: {kind: x, knd: y}}", "parts.a.knd", "did you mean 'kind'?"),
        ("parts: {a: {kind: x, rate: {paek: 1}}}", "parts.a.rate.paek", "did you mean 'peak'?"),
        ("steps: [{}, {warmpu: 1}]", "steps.1.warmpu", "did you mean 'warmup'?"),
        ("nested: {a: [{warmpu: 1}]}", "nested.a.0.warmpu", "did you mean 'warmup'?"),
        ("maybe: {paek: 1}", "maybe.paek", "did you mean 'peak'?"),
        ("zzz: 1", "zzz", "known: free, maybe, name, nested, parts, steps"),
        # Keys of a mapping that are also names of fields.
        ("parts: {rate: {kind: x, knd: y}}", "parts.rate.knd", "did you mean 'kind'?"),
        ("parts: {description: {kind: x, knd: y}}", "parts.description.knd", "did you mean 'kind'?"),
    ],
)
def test_unknown_keys_are_named_with_a_hint(tmp_path: Path, text: str, path: str, hint: str) -> None:
    assert problems(tmp_path, text) == (f"{path}: unknown key; {hint}",)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = "nmae: x\nparts: {a: {rate: {peak: -1}}}\nsteps: [{peak: .nan}, {peak: much}]\nfree: {a: b}"
    found = problems(tmp_path, text, "broken", "name.first=x")
    for start in ("nmae: ", "parts.a.kind: is required", "parts.a.rate.peak: ", "steps.0.peak: ", "free.a: "):
        assert sum(problem.startswith(start) for problem in found) == 1, start
    assert "steps.1.peak: Input should be a valid number, unable to parse string as a number, found 'much'" in found
    assert any("'broken': write it as key=value" in problem for problem in found)
    assert len(found) == 8


def test_a_long_value_is_not_repeated_in_full(tmp_path: Path) -> None:
    assert all(len(problem) < 300 for problem in problems(tmp_path, f"steps: [{{peak: {'x' * 9999}}}]"))


@pytest.mark.parametrize(
    ("override", "value"),
    [("a.rate.peak=3e-4", 3e-4), ("a.rate.peak=1E+2", 100), ("a.rate.peak=7", 7), ("a.rate={peak: .5e-3}", 5e-4)],
)
def test_dotted_overrides(tmp_path: Path, override: str, value: float) -> None:
    assert load(tmp_path, "parts: {a: {kind: x}}", "parts." + override).parts["a"].rate.peak == value


def test_overrides_build_what_is_not_there_and_the_last_one_wins(tmp_path: Path) -> None:
    config = load(tmp_path, "parts:", "parts.b.kind=x", "name=1=2", "name=last", "maybe.warmup=", "free.a=1e3")
    assert (config.parts["b"].kind, config.name, config.maybe) == ("x", "last", Rate())
    assert config.free == {"a": 1000}


@pytest.mark.parametrize(
    "override", ["name", "=x", "a..b=1", "name.x=1", "steps.0.peak=1", "name=[", "name=2024-02-31"]
)
def test_an_override_that_cannot_be_is_refused(tmp_path: Path, override: str) -> None:
    assert repr(override) in problems(tmp_path, "name: a\nsteps: [{}]", override)[0]


def test_overriding_leaves_the_callers_values_alone() -> None:
    values = {"parts": {"a": {"kind": "x"}}}
    Whole.build(values, where="here", overrides=["parts.a.kind=y", "name=z"])
    assert values == {"parts": {"a": {"kind": "x"}}}


@pytest.mark.parametrize("text", ["name: a\nname: b", "parts: {a: {kind: x, kind: x}}", 'free: {"a": 1, a: 2}'])
def test_duplicate_keys_are_refused(tmp_path: Path, text: str) -> None:
    assert "set twice" in problems(tmp_path, text)[0]


def test_a_merge_is_no_duplicate(tmp_path: Path) -> None:
    text = "parts:\n  a: &a {kind: x, description: d}\n  b: &b {<<: *a, kind: y}\n  c: {<<: *b}\n"
    assert load(tmp_path, text).parts["c"] == Part(kind="y", description="d")


@pytest.mark.parametrize(
    "text", ["[", "a: b: c", "[a]: 1", "{a: 1}: 1", "name: 2024-02-31", b"name: \xff", "a: 1\n---\nb: 2", "name: \0"]
)
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: str | bytes) -> None:
    assert "is not valid YAML" in problems(tmp_path, text)[0]


@pytest.mark.parametrize(("text", "found"), [("[]", "list"), ("0", "int"), ("false", "bool"), ("text", "str")])
def test_a_file_that_holds_no_settings_is_refused(tmp_path: Path, text: str, found: str) -> None:
    assert problems(tmp_path, text) == (f"expected settings as `key: value`, found {found}",)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n") == Whole()


def test_yaml_reads_no_as_false_and_the_message_helps(tmp_path: Path) -> None:
    assert problems(tmp_path, "free: {NO: 1}") == ("free: key False is not a text; put it in quotes",)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="check the path"):
        Whole.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        Whole.load(tmp_path)
