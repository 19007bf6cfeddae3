"""The house's own rules: which way imports run, what importing does, what ships, what the README says."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from pydantic import BaseModel

from annotations.errors import SHOWN, DocumentError
from annotations.schema import Schema
from training.config import RunConfig
from training.pretraining.config import PretrainConfig
from training.retraining.config import ServeConfig
from training.sweep.config import SweepConfig

FLOORS = ("annotations", "inference", "training")
MODULES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
TOP = {
    *("README.md", "LICENSE", "Makefile", "pyproject.toml", "Dockerfile"),
    *(".gitignore", ".gitattributes", ".dockerignore"),
}
KINDS = {
    "schema": Schema,
    "train": RunConfig,
    "pretrain": PretrainConfig,
    "serve": ServeConfig,
    "sweep": SweepConfig,
}
FOLDERS = {"training", "inference", "annotations", "seeds", "configs", "tests", "docs", "benchmarks", ".ci"}


def name_of(path: Path) -> str:
    """The dotted name of a module or package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(line) for line in listed.splitlines()]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 30
    assert len(CONFIGS) >= 6


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path))
def test_imports_run_one_way(path: Path) -> None:
    floor = path.relative_to(ROOT).parts[0]
    above = FLOORS[FLOORS.index(floor) + 1 :]
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & set(above)
    if floor == "annotations":
        assert not roots & {"torch", "transformers", "datasets", "tokenizers", "seqeval", "sklearn"}
    if "label_studio_sdk" in roots:
        assert path.name == "server.py"


def test_no_two_modules_import_each_other() -> None:
    names = {name_of(path): path for path in MODULES}
    graph = {name: imports(path) & set(names) - {name} for name, path in names.items()}

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        return any(step == goal or (step not in seen and reaches(step, goal, seen | {step})) for step in graph[start])

    assert not [name for name in names if reaches(name, name, {name})]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path))
def test_every_module_says_what_it_knows(path: Path) -> None:
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path))
def test_modules_and_functions_stay_small(path: Path) -> None:
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is long"
            assert len(node.args.args) + len(node.args.kwonlyargs) <= 9, f"{node.name} takes too much"


def _fresh(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_help_and_annotations_load_no_torch() -> None:
    code = "import sys; sys.argv=['standpoint','--help']\nfrom training.cli import app\n"
    code += "try:\n app()\nexcept SystemExit: pass\nprint('torch' in sys.modules, 'pydantic' in sys.modules)"
    assert _fresh(code).splitlines()[-1] == "False False"
    code = "import sys, annotations.labelstudio.shapes, annotations.agreement.overview, annotations.reading\n"
    code += "print('torch' in sys.modules)"
    assert _fresh(code).strip() == "False"


def test_importing_does_nothing() -> None:
    code = (
        "import logging, os, random, torch, transformers\n"
        "before = (len(logging.root.handlers), torch.get_num_threads(), random.getstate(), dict(os.environ),"
        " transformers.utils.logging.get_verbosity(), torch.random.initial_seed())\n"
        "import inference.tagger, inference.outputs, training.config, training.cli, annotations.reading\n"
        "after = (len(logging.root.handlers), torch.get_num_threads(), random.getstate(), dict(os.environ),"
        " transformers.utils.logging.get_verbosity(), torch.random.initial_seed())\n"
        "print(before == after)"
    )
    assert _fresh(code).strip() == "True"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_yaml_loads_and_says_how_to_run_it(path: Path) -> None:
    text = path.read_text("utf-8")
    header = re.match(r"(# .*\n)+", text)
    assert header
    assert re.search(r"^# .*\bosts\b|^# Costs", header[0], re.MULTILINE), "what it costs"
    command = re.search(r"^# Run: standpoint ([\w-]+) (?:--\S+ )?(\S+)", header[0], re.MULTILINE)
    assert command, "the command that runs it"
    assert ROOT / command[2] == path
    assert KINDS[command[1]].load(path)


def test_the_encoder_that_ships_is_the_one_in_its_manifest() -> None:
    folder = ROOT / "inference" / "encoder"
    hashes = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert set(hashes) == {path.name for path in folder.iterdir()} - {"manifest.json", "README.md"}
    for name, expected in hashes.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected, name
    assert 5e6 < sum(path.stat().st_size for path in folder.iterdir()) < 27e6


def test_only_what_people_expect_is_at_the_top() -> None:
    parts = {path.parts for path in tracked()}
    assert {p[0] for p in parts if len(p) == 1} <= TOP
    assert {p[0] for p in parts if len(p) > 1} <= FOLDERS


def test_the_readme_lists_every_module_and_nothing_else() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    tree = text.split("<!-- tree -->")[1]
    listed: set[str] = set()
    folder = ""
    for line in tree.splitlines():
        if match := re.match(r"^(\S+/)\s", line):
            folder = match[1]
        elif match := re.match(r"^  (\S+\.(?:py|html|md|yaml|txt))\s", line):
            listed.add(folder + match[1])
    here = {path.relative_to(ROOT).as_posix() for path in MODULES if path.name != "__init__.py"}
    assert {name for name in listed if name.endswith(".py") and name.split("/")[0] in FLOORS} == here
    assert not [name for name in listed if not (ROOT / name).exists()]


def test_the_readmes_commands_and_links_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    help_text = _fresh("import sys; sys.argv=['standpoint','--help']\nfrom training.cli import main\nmain()")
    for command in set(re.findall(r"^standpoint ([\w-]+)", text, re.MULTILINE)):
        assert f" {command} " in help_text, command
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / link).exists(), link


def test_packages_are_listed_and_pins_lie_within_ranges() -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["setuptools"]["packages"] == sorted({name_of(path.parent) for path in MODULES})
    lines = (ROOT / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.lower().split("==") for line in lines if "==" in line and not line.startswith("#"))
    wanted = [*project["project"]["dependencies"]]
    wanted += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    for line in wanted:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pins[requirement.name.lower()]), line


def test_nothing_tracked_names_a_machine() -> None:
    words = ("/" + "work/", "/ro" + "ot/", "pypi" + "-more", "scr" + "atch/")
    for path in tracked():
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ""} and path.parts[0] != "seeds":
            text = (ROOT / path).read_text("utf-8")
            assert not [word for word in words if word in text], path


def test_nothing_is_installed_by_a_name_that_is_another_projects() -> None:
    for path in tracked():
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".html", ""} and path.name != "test_house.py":
            found = re.search(r"pip install [^`;\n]*\bstandpoint\b", (ROOT / path).read_text("utf-8"))
            assert not found, (path, found and found[0])


def test_the_docs_say_how_many_problems_a_message_names() -> None:
    told = str(DocumentError("x", ["wrong"] * (SHOWN + 5))).splitlines()
    assert len(told) == SHOWN + 2 and told[-1].strip() == "… and 5 more"
    for name in ("README.md", "docs/annotation.md"):
        text = " ".join((ROOT / name).read_text("utf-8").split())
        assert f"names the first {SHOWN} problems and counts the rest" in text


def test_the_docs_name_no_folder_outside() -> None:
    """In commands, that is: links lead to the root at most."""
    for path in (ROOT / "docs").glob("*.md"):
        assert "../shared" not in path.read_text("utf-8"), path


def _restated(values: dict[str, object], model: type[BaseModel], path: str = "") -> list[str]:
    """Keys that say what the default says already."""
    found = []
    for name, value in values.items():
        field = model.model_fields[name]
        if isinstance(value, dict) and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _restated(value, field.annotation, f"{path}{name}.")
        elif not field.is_required() and field.get_default(call_default_factory=True) == value:
            found.append(path + name)
    return found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_files_hold_only_differences(path: Path) -> None:
    values = yaml.safe_load(path.read_text("utf-8"))
    if "layers" not in values:
        marks = {"tagger": RunConfig, "store": ServeConfig, "space": SweepConfig}
        kind = next((kind for mark, kind in marks.items() if mark in values), PretrainConfig)
        assert not _restated(values, kind)
        if kind is SweepConfig and isinstance(values["run"], dict):
            assert not _restated(values["run"], RunConfig)


def test_the_check_for_restated_defaults_works() -> None:
    values = {"seed": 0, "optimizer": {"weight_decay": 0.01, "warmup": 0.5}, "tagger": {"window": {"tokens": 256}}}
    assert _restated(values, RunConfig) == ["seed", "optimizer.weight_decay", "tagger.window.tokens"]


def test_no_placeholder_is_left() -> None:
    for path in tracked():
        if path.suffix in (".md", ".yaml"):
            assert not re.search(r"@[A-Z]+@|TODO|TBD|Costs [A-Z]{2,}", (ROOT / path).read_text("utf-8")), path


def test_named_files_exist() -> None:
    """Files that Markdown names in backticks, from the root or from beside it."""
    for path in tracked():
        if path.suffix == ".md":
            for name in re.findall(
                r"`((?:configs|benchmarks|annotations|seeds|docs)/[\w./-]+\.\w+)`", (ROOT / path).read_text()
            ):
                assert (ROOT / name).exists(), (path, name)


def test_links_between_files_lead_somewhere() -> None:
    for path in tracked():
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#:\s]+)\)", (ROOT / path).read_text("utf-8")):
                assert ((ROOT / path).parent / target).exists(), (path, target)
