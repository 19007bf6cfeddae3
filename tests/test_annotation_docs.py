"""The commands of docs/annotation.md, run as they stand, in order, against a real server."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Staff
from test_main_path import cli, gold, write_run
from test_ml_backend import COMMAND
from typer.testing import CliRunner

from annotations.storage import write_jsonl
from training.cli import app

PAGE = (ROOT / "docs" / "annotation.md").read_text("utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
# The tagger behind the page's commands is a tiny one, trained in a moment.
TINY = ["epochs=1", "bf16=false", "trainer.disable_tqdm=true", "batch_tokens=1024"]


@pytest.fixture
def place(tmp_path: Path, staff: Staff, encoders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the repository, with a tiny tagger where the demo's would be."""
    for name in ("annotations", "configs", "docs", "seeds"):
        (tmp_path / name).symlink_to(ROOT / name)
    own = tmp_path / "tiny"
    own.mkdir()
    write_jsonl(own / "gold.jsonl", gold(3))
    run = write_run(own, "configs/schema.yaml", own / "gold.jsonl", encoders("modernbert"))
    cli("train", run)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "checkpoint").symlink_to(own / "run" / "checkpoint")
    monkeypatch.setenv("LABEL_STUDIO_URL", staff.local.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", staff.token)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, more: list[str]) -> str:
    command, *arguments = shlex.split(line)
    assert command == "standpoint"
    done = CliRunner().invoke(app, [*arguments, *more])
    allowed = (0, 1) if arguments[:2] == ["labels", "lint"] else (0,)
    assert done.exit_code in allowed, (line, done.stdout, done.stderr, done.exception)
    return done.stdout


def test_every_command_of_the_page_runs(staff: Staff, place: Path, encoders: Callable[[str], Path]) -> None:
    lines = [line for block in BLOCKS for line in block.strip().splitlines()]
    assert len(lines) > 12
    project = 0
    for line in lines:
        written = line.replace("--project 1", f"--project {project}").replace(
            "--user 1", f"--user {staff.users['ana']}"
        )
        more = [*TINY, f"encoder={encoders('modernbert')}"] if line.startswith("standpoint train") else []
        if line.startswith("standpoint labels pull"):
            annotate_all(staff, project)
        out = run(written, more)
        if found := re.search(r"/projects/(\d+)", out):
            project = int(found[1])
    assert (place / "pulled" / "latest" / "documents.jsonl").stat().st_size
    assert (place / "runs" / "round-one" / "checkpoint").is_dir()
    assert (place / "agreement.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert (place / "back.jsonl").stat().st_size and (place / "back.yaml").stat().st_size


def annotate_all(staff: Staff, project: int) -> None:
    """Both annotators accept what the model suggests, or mark nothing where it suggests nothing."""
    for task in staff.admin.export(project):
        suggested = [item["result"] for item in task["predictions"]] or [[]]
        for reader in staff.readers.values():
            reader.annotate(task["id"], suggested[0])


def test_the_pages_other_commands_exist() -> None:
    shown = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    for line in (line for line in shown if "standpoint labels" in line or "standpoint serve" in line):
        _, *arguments = shlex.split(line.removeprefix("$ "))
        depth = 2 if arguments[0] == "labels" else 1
        done = subprocess.run([COMMAND, *arguments[:depth], "--help"], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0
        assert all(word.partition("=")[0] in done.stdout for word in arguments if word.startswith("--")), line


def test_a_dollar_marks_what_is_not_run() -> None:
    """As the page's first paragraph says."""
    assert "commands without a `$` are run by `tests/test_annotation_docs.py`" in " ".join(PAGE.split())
    assert all(line.startswith("standpoint ") for block in BLOCKS for line in block.strip().splitlines())
    shown = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
    assert {kind for kind, _ in shown} == {"sh", "console"}
    assert all(line.startswith("$ ") for kind, block in shown if kind == "console" for line in block.splitlines())
