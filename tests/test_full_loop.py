"""The whole round in one go, as its users run it: push, annotate, agree, adjudicate, pull, train, serve, retrain, swap."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Staff
from test_main_path import cli, gold, write_run
from test_ml_backend import COMMAND, Serving
from warm import FOR_CHILDREN, Warm, run

from annotations.document import Document, Label, Span
from annotations.labelstudio.shapes import to_results
from annotations.storage import read_jsonl, write_jsonl

DISPUTED = "1-1"


@pytest.fixture
def address(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the commands find the server."""
    monkeypatch.setenv("LABEL_STUDIO_URL", staff.local.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", staff.token)


def other_reading(document: Document) -> Document:
    """Ben overlooks the first name of one document, and takes its first sentence for support."""
    if document.id != DISPUTED:
        return document
    first, *rest = document.spans("stance")
    changed = (Span(start=first.start, end=first.end, label="supports"), *rest)
    return document.with_labels({**document.labels, "entity": document.spans("entity")[1:], "stance": changed})


def serve(path: Path, token: str, url: str, log: Path) -> Serving:
    """The backend, with the real server's token."""
    import os

    with log.open("ab") as out:
        environment = {**os.environ, "LABEL_STUDIO_API_KEY": token, "LABEL_STUDIO_URL": url, "OMP_NUM_THREADS": "1"}
        environment |= FOR_CHILDREN
        command = [COMMAND, "serve", "--label-studio", str(path)]
        process = Warm(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT)
    serving = Serving(process, "", log)
    found = serving.wait(lambda: re.search(r"^Listening on (\S+)", log.read_text(), re.MULTILINE))
    serving.url = found[1]
    return serving


def test_the_whole_loop(
    staff: Staff, address: None, encoders: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    truth = gold(3)
    articles = tmp_path / "articles.jsonl"
    write_jsonl(articles, [document.with_labels({}) for document in truth])

    out = cli("labels", "push", articles, "--title", "Whole loop")
    assert "6 tasks created" in out
    project = int(out.split("/projects/")[1])
    tasks = {task.data["doc_id"]: task for task in staff.admin.tasks(project)}
    assert [tasks[d.id].data["layers"] == sorted(d.labels, key=list(d.labels).index) for d in truth]

    for document in truth:
        staff.readers["ana"].annotate(tasks[document.id].id, to_results(document))
        staff.readers["ben"].annotate(tasks[document.id].id, to_results(other_reading(document)))

    raw = tmp_path / "both"
    users = f"{staff.users['ana']},{staff.users['ben']}"
    cli("labels", "pull", "--project", project, "--output", raw, "--choose", "adjudicated")
    agreement = json.loads(cli("labels", "agree", raw / "latest" / "tasks.json", "--users", users, "--format", "json"))
    assert {item["document"] for item in agreement["disagreements"]} == {DISPUTED}

    first = cli("labels", "adjudicate", "--project", project)
    assert "5 documents with ground truth" in first and f"waiting  {DISPUTED}" in first
    review = int(re.search(r"/projects/(\d+)", first)[1])  # type: ignore[index]
    (case,) = staff.admin.tasks(review)
    assert sorted(case.data["layers"]) == ["entity", "stance"]
    ruled = next(document for document in truth if document.id == DISPUTED)
    answer = ruled.with_labels({name: ruled.labels[name] for name in ("entity", "stance")})
    staff.admin.annotate(case.id, to_results(answer))
    assert "6 documents with ground truth" in cli("labels", "adjudicate", "--project", project)

    pulled = tmp_path / "pulled"
    cli("labels", "pull", "--project", project, "--output", pulled, "--choose", "ground_truth")
    latest = pulled / "latest" / "documents.jsonl"
    assert {d.id: d.labels for d in read_jsonl(latest)} == {d.id: d.labels for d in truth}

    run = write_run(tmp_path, "configs/schema.yaml", latest, encoders("modernbert"))
    # Versions are to be compared on an article that neither has learned.
    cli("train", run, "data.held_out=[article-0]")
    checkpoint = tmp_path / "run" / "checkpoint"
    more = cli("labels", "push", articles, "--project", project, "--model", checkpoint)
    assert "6 predictions" in more

    values = yaml.safe_load(run.read_text())
    values["data"] = {"train": [str(latest)], "held_out": ["article-0"]}
    (tmp_path / "retrain.yaml").write_text(yaml.safe_dump(values))
    settings = {
        "label_studio": staff.local.url,
        "project": project,
        "checkpoint": str(checkpoint),
        "store": str(tmp_path / "store"),
        "train": str(tmp_path / "retrain.yaml"),
        "train_overrides": ["epochs=60", "optimizer.lr=3e-3", "optimizer.head_lr=1e-2"],
        "policy": {"choose": "ground_truth"},
        "retrain_after": 1,
        "quiet_seconds": 1,
        "port": 0,
    }
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(settings))
    backend = serve(tmp_path / "serve.yaml", staff.token, staff.local.url, tmp_path / "serve.log")
    try:
        first_version = (tmp_path / "store" / "current").resolve().name
        number = staff.admin.connect_backend(project, backend.url)
        # A task that has no prediction yet, opened as an annotator's browser does.
        new = Document(id="new-1", text="Report 9. " + truth[0].text, target="The Taliban met.", group="new")
        write_jsonl(articles, [new])
        cli("labels", "push", articles, "--project", project)
        task = next(task for task in staff.admin.tasks(project) if task.data["doc_id"] == "new-1")
        (prediction,) = staff.admin._sdk.tasks.get(str(task.id)).predictions
        assert prediction.model_version == first_version

        # Its annotation is an event; the backend pulls, trains, compares and swaps.
        labels = {"stance": (), "entity": (Span(start=0, end=6, label="MEDIA"),), "document": Label(label="neutral")}
        labels.pop("stance")
        staff.admin.annotate(task.id, to_results(new.with_labels(labels)), ground_truth=True)
        status_file = tmp_path / "store" / "jobs"

        def done() -> dict[str, object] | None:
            found = sorted(status_file.glob("*/status.json"))
            status = json.loads(found[0].read_text()) if found else {}
            return status if status.get("state") in ("swapped", "kept", "failed") else None

        status = backend.wait(done)
        assert status["state"] == "swapped", json.dumps(status)
        assert (tmp_path / "store" / "current").resolve().name == status["version"] != first_version
        assert backend.post("/setup", {"project": f"{project}.1"})[1] == {"model_version": status["version"]}
        connected = {item["id"]: item["state"] for item in staff.admin.backends(project)}
        assert connected == {number: "CO"}
        examined = cli("labels", "doctor", "--project", project, "--backend", backend.url)
        assert "FAIL" not in examined
    finally:
        assert backend.stop() == 0, backend.log.read_text()
    assert staff.token not in backend.log.read_text()


def test_commands_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    command = [sys.executable, "-c", "from training.cli import main; main()", "labels", "pull", "--project", "1"]
    done = run([*command, "--output", "x"], cwd=ROOT)
    assert done.returncode == 2
    assert "set LABEL_STUDIO_API_KEY to a personal access token" in done.stderr
