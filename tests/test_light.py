"""Tagging needs the base dependencies alone, and importing `inference` waits for nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from test_house import FLOORS

from inference.config import TaggerConfig

MODULES = {"pyyaml": "yaml", "scikit-learn": "sklearn", "label-studio-sdk": "label_studio_sdk"}
"""Distributions whose module has another name."""
BRINGS = {"accelerate": ["psutil"], "datasets": ["pyarrow", "pandas", "dill"], "fastapi": ["starlette"]}
"""What comes with an extra and could be imported without being named."""

WITHOUT = """
import importlib.machinery, json, sys
hidden = set(json.loads(sys.argv[1]))
class Hiding:
    find_distributions = importlib.machinery.PathFinder.find_distributions
    @staticmethod
    def find_spec(name, path=None, target=None):
        found = name.split(".")[0] not in hidden
        return importlib.machinery.PathFinder.find_spec(name, path, target) if found else None
sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, Hiding]
"""
TAGGING = """
from inference import Tagger
tagger = Tagger.load(sys.argv[2])
document = tagger.tag("The Taliban met in Kabul.", target="It met.")
print(sorted(document.labels), len(list(tagger.tag(["One.", "Two."]))))
from inference.interop.hf import to_hf
print(to_hf(sys.argv[2], sys.argv[4]).layer)
sys.argv = ["standpoint", "tag", sys.argv[3], "--model", sys.argv[2]]
from training.cli import main
main()
"""


def extras() -> set[str]:
    """The modules of all extras that no base dependency is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    base = {Requirement(line).name.lower() for line in project["dependencies"]}
    named = {Requirement(line).name.lower() for own in project["optional-dependencies"].values() for line in own}
    modules = {MODULES.get(name, name.replace("-", "_")) for name in named - base}
    return modules | {module for name in named for module in BRINGS.get(name, [])}


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", WITHOUT + code, json.dumps(sorted(extras())), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkpoint(tiny: Path, config: TaggerConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from inference import checkpoint

    folder = tmp_path_factory.mktemp("light") / "checkpoint"
    model, tokenizer = checkpoint.from_encoder(str(tiny), config, 0.1)
    checkpoint.save(folder, model, tokenizer)
    return folder


def test_the_extras_are_known() -> None:
    assert {"datasets", "seqeval", "sklearn", "accelerate", "label_studio_sdk", "fastapi", "optuna", "peft"} <= extras()


def test_importing_inference_loads_nothing_heavy() -> None:
    found = run("import inference\nprint(sorted(name for name in sys.modules if '.' not in name))")
    assert not set(re.findall(r"'(\w+)'", found)) & {"torch", "transformers", "numpy", "pydantic", "yaml", "syntok"}


def test_what_hands_out_work_leaves_torch_to_those_that_do_it() -> None:
    found = run("import inference.archive.job, training.commands.tag, training.config\nprint(sorted(sys.modules))")
    assert not set(re.findall(r"'(\w+)'", found)) & {"torch", "transformers"}


def test_tagging_in_python_on_the_command_line_and_for_transformers_needs_no_extra(
    checkpoint: Path, tmp_path: Path
) -> None:
    text = tmp_path / "news.txt"
    text.write_text("The Taliban met in Kabul.", "utf-8")
    *_, python, layer, line = run(TAGGING, str(checkpoint), str(text), str(tmp_path / "hf")).splitlines()
    assert (python, layer) == ("['document', 'entity', 'stance'] 2", "entity")
    assert json.loads(line)["text"] == "The Taliban met in Kabul."


def test_every_base_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    base = {MODULES.get(name, name) for name in (Requirement(line).name.lower() for line in project["dependencies"])}
    code = [path.read_text("utf-8") for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    used = {name for text in code for name in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)}
    assert base <= used


COMMANDS = {
    "the command": "import training.cli as cli\ncli.app = seen\ncli.main()",
    "the service": "import inference.service.__main__ as it\nit.argparse.ArgumentParser = seen\nit.main()",
}


@pytest.mark.parametrize("code", COMMANDS.values(), ids=COMMANDS)
def test_the_commands_let_no_thread_spin_for_long(code: str) -> None:
    """Set before torch is loaded, which reads it once; whoever set it keeps it."""
    seen = (
        "import os, sys\ndef seen(**_):\n    sys.exit(f\"{os.environ['GOMP_SPINCOUNT']} {'torch' in sys.modules}\")\n"
    )
    plain = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    for env, expected in ((plain, "10000 False"), ({**plain, "GOMP_SPINCOUNT": "7"}, "7 False")):
        done = subprocess.run([sys.executable, "-c", seen + code], capture_output=True, text=True, env=env)
        assert done.stderr.strip() == expected
