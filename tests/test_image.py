"""The image as far as it can be seen without a container engine; `benchmarks/image_check.py` runs its steps."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import ROOT

from annotations.errors import ConfigError

sys.path.insert(0, str(ROOT / "benchmarks"))
from image_check import PORT, context, copied, ignored, main, stages

KNOWN = {"ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}
"""No ADD, which fetches from anywhere; no SHELL, VOLUME, ONBUILD or CMD."""
BUILD, SERVE = stages((ROOT / "Dockerfile").read_text("utf-8"))


def test_instructions_are_few_and_bases_are_pinned() -> None:
    for stage in (BUILD, SERVE):
        assert stage.base == "python:3.11-slim"
        assert {kind for kind, _ in stage.steps} <= KNOWN
    assert (BUILD.name, SERVE.name) == ("build", "")


def test_everything_copied_is_in_the_context() -> None:
    files = context(ROOT)
    for line in BUILD.of("COPY"):
        *sources, _ = line.split()
        assert copied(sources, files), line
    assert [line.split() for line in SERVE.of("COPY")] == [["--from=build", "/opt/standpoint", "/opt/standpoint"]]
    with pytest.raises(ConfigError, match="COPY nothing"):
        copied(["nothing"], files)


def test_the_context_is_code_alone() -> None:
    files = context(ROOT)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert {name.split("/")[0] for name in files} == {
        *(".ci", "LICENSE", "README.md", "annotations", "inference", "pyproject.toml", "training")
    }
    for package in project["tool"]["setuptools"]["packages"]:
        assert f"{package.replace('.', '/')}/__init__.py" in files
    assert sum((ROOT / name).stat().st_size for name in files) < 40e6


def test_ignoring_is_dockers() -> None:
    patterns = ["*", "!training", "**/__pycache__"]
    assert ignored("runs/x", patterns) and ignored("training/a/__pycache__/b.pyc", patterns)
    assert not ignored("training/a/b.py", patterns)
    with pytest.raises(ConfigError, match="does not know"):
        ignored("a", ["*.py"])


def test_packages_are_pinned_and_extras_exist() -> None:
    steps = [line for line in BUILD.of("RUN") if " install " in line]
    assert len(steps) == 2 and all("--constraint constraints.txt" in line for line in steps)
    assert not [line for line in BUILD.of("RUN") if re.search(r"curl|wget|\||;|&&|apt", line)]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(BUILD.pairs("ARG")["EXTRAS"].split(",")) <= set(extras)
    pins = (ROOT / ".ci" / "constraints.txt").read_text("utf-8")
    assert re.search(r"^torch==[\d.]+$", pins, re.MULTILINE)


def test_it_runs_as_nobody_in_particular() -> None:
    (user,) = SERVE.of("USER")
    number, group = user.split(":")
    assert int(number) >= 10000 and int(group) >= 10000
    assert [kind for kind, _ in SERVE.steps].index("USER") > [kind for kind, _ in SERVE.steps].index("COPY")
    assert SERVE.pairs("ENV")["PYTHONDONTWRITEBYTECODE"] == "1"


def test_command_port_and_health_check_agree() -> None:
    (exposed,) = SERVE.of("EXPOSE")
    entry = json.loads(SERVE.of("ENTRYPOINT")[0])
    check = json.loads(SERVE.of("HEALTHCHECK")[0].partition("CMD ")[2])
    assert exposed == PORT and f"port={PORT}" in entry and f"'127.0.0.1', {PORT}" in check[-1]
    assert entry[:4] == ["python", "-m", "inference.service", "/model"] and check[:2] == ["python", "-c"]
    compile(check[2], "HEALTHCHECK", "exec")
    if not (ROOT / "inference" / "service").is_dir():
        pytest.skip("inference/service is not there yet")
    assert importlib.util.find_spec("inference.service.__main__")


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_tells(status: int, healthy: bool) -> None:
    asked: list[str] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    check = json.loads(SERVE.of("HEALTHCHECK")[0].partition("CMD ")[2])
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        code = check[2].replace(PORT, str(server.server_address[1]))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode == 0) is healthy and asked == ["/healthz"]


def test_a_checkpoint_that_is_not_there_is_told_before_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--checkpoint", "runs/none"])
    assert caught.value.code == 2
    assert "runs/none: there is no such folder; `make demo` makes" in capsys.readouterr().err
