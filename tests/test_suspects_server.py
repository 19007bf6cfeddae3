"""Suspect labels reviewed on a real Label Studio server: each document sent once, the most suspicious first, corrections back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from chromium import needs_chromium
from conftest import Staff
from playwright.sync_api import Page
from test_annotating_browser import page  # noqa: F401
from test_suspects import SCHEMA, article, changed
from typer.testing import CliRunner

from annotations.document import Document, Label, Span
from annotations.labelstudio.shapes import to_results
from annotations.storage import read_jsonl, write_jsonl
from annotations.suspects import Suspect, write_suspects
from training.cli import app


def found(folder: Path) -> list[Document]:
    """What `labels suspects` leaves: three documents, of which the second is more suspicious than the first."""
    first, second, third = article(0), article(1), article(2)
    other = first.model_copy(update={"id": "d0-other", "target": "Nobody left."}).only({"claim", "tone"})
    slip = second.spans("name")[0].model_copy(update={"label": "PLACE", "score": 0.5})
    second = changed(second, name=(slip, *second.spans("name")[1:]))
    documents = [first, other, second, third]
    values = {"tagger": {"label_schema": SCHEMA.model_dump(mode="json")}, "data": {"train": ["x"]}, "output": "x"}
    (folder / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    write_jsonl(folder / "documents.jsonl", documents)
    whole = {"start": 0, "end": len(first.text)}
    extra = first.text.index("men")
    write_suspects(
        folder / "suspects.jsonl",
        [
            Suspect(document="d1", layer="name", start=slip.start, end=slip.end, gold="PLACE", suggested="GROUP", suspicion=0.99),
            Suspect(document="d0-other", layer="tone", **whole, gold="harsh", suggested="calm", suspicion=0.9),
            Suspect(document="d0", layer="name", start=extra, end=extra + 3, gold=None, suggested="GROUP", suspicion=0.7),
            Suspect(document="d2", layer="name", start=4, end=9, gold="GROUP", suggested="GROUP", suspicion=0.01),
        ],
    )  # fmt: skip
    return documents


def cli(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["labels", *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.stderr, result.exception)
    return result.stdout


def test_suspects_are_reviewed_and_come_back_corrected(
    staff: Staff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", staff.token)
    first, other, second, _ = found(tmp_path)
    arguments = ["review", tmp_path, "--title", "Suspect labels 🙂", "--count", 2, "--url", staff.local.url]
    told = cli(*arguments)
    assert "3 tasks created, 0 were there, 6 predictions" in told
    project = int(told.rsplit("/", 1)[1])
    tasks = sorted(staff.admin.export(project), key=lambda task: task["id"])
    assert [task["data"]["doc_id"] for task in tasks] == ["d1", "d0-other", "d0"]
    asked = [task["data"]["layers"] for task in tasks]
    assert asked == [list(SCHEMA.layers), ["claim", "tone"], list(SCHEMA.layers)]
    assert [task["data"]["suspicion"] for task in tasks] == [0.99, 0.9, 0.7]
    assert tasks[0]["data"]["suspects"].startswith("1. name 0.99: PLACE, perhaps GROUP: The [Daesh] attacked"[:40])
    assert "nothing marked, perhaps GROUP" in tasks[2]["data"]["suspects"]
    assert '<Text name="shown-suspects" value="$suspects"' in staff.admin.project(project)["label_config"]

    versions = {p["model_version"]: p["result"] for p in tasks[0]["predictions"]}
    assert sorted(versions) == ["gold", "suggested"]
    first_names = {
        version: next(item["value"]["labels"] for item in results if item["from_name"] == "name")
        for version, results in versions.items()
    }
    assert first_names == {"gold": ["PLACE"], "suggested": ["GROUP"]}
    assert not any("score" in item for item in versions["gold"])
    # What a reviewer's annotation starts from.
    assert staff.admin._sdk.projects.get(project).model_version == "gold"

    again = cli(*arguments)
    assert "0 tasks created, 3 were there, 0 predictions" in again
    more = cli(*arguments[:-4], "--count", 9, "--url", staff.local.url, "--layers", "name")
    assert "1 tasks created, 2 were there, 2 predictions" in more

    right = tuple(
        Span(
            start=span.start, end=span.end, label="GROUP" if span.start == second.spans("name")[0].start else span.label
        )
        for span in second.spans("name")
    )
    mended = changed(second, name=right)
    staff.readers["ana"].annotate(tasks[0]["id"], to_results(mended))
    staff.readers["ana"].annotate(tasks[1]["id"], to_results(changed(other, tone=Label(label="calm"))))
    schema = tmp_path / "schema.yaml"
    schema.write_text(yaml.safe_dump(SCHEMA.model_dump(mode="json"), sort_keys=False))
    cli("pull", "--project", project, "--output", tmp_path / "pulled", "--url", staff.local.url, "--schema", schema)
    pulled = {one.id: one for one in read_jsonl(tmp_path / "pulled" / "latest" / "documents.jsonl")}
    assert set(pulled) == {"d1", "d0-other"}
    assert pulled["d1"].labels == mended.labels
    assert pulled["d0-other"].labels["tone"] == Label(label="calm")
    assert first.id not in pulled


def test_a_review_cut_short_goes_on(staff: Staff, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from faulty_proxy import LOSE_ANSWER, PASS, FaultyProxy

    monkeypatch.setenv("LABEL_STUDIO_API_KEY", staff.token)
    found(tmp_path)
    with FaultyProxy(staff.local.url).running() as proxy:
        arguments = ["labels", "review", str(tmp_path), "--title", "Cut short", "--url", proxy.url]
        proxy.rule = lambda method, path: LOSE_ANSWER if path.split("?")[0].endswith("/import") else PASS
        broken = CliRunner().invoke(app, arguments)
        assert broken.exit_code == 2 and "it goes on from there" in broken.stderr
        proxy.rule = lambda method, path: PASS
        told = cli(*arguments[1:])
    assert "0 tasks created" in told
    project = int(told.rsplit("/", 1)[1])
    tasks = list(staff.admin.export(project))
    assert len(tasks) == 4
    assert all(sorted(p["model_version"] for p in task["predictions"]) == ["gold", "suggested"] for task in tasks)


@needs_chromium
def test_a_reviewer_sees_what_is_doubtful_and_starts_from_gold(
    staff: Staff,
    page: Page,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", staff.token)
    documents = {one.id: one for one in found(tmp_path)}
    told = cli("review", tmp_path, "--title", "Seen by a reviewer", "--url", staff.local.url)
    project = int(told.rsplit("/", 1)[1])
    page.goto(f"{staff.local.url}/projects/{project}/data")
    page.get_by_role("button", name="Label All Tasks").click()
    page.wait_for_selector(".htx-highlight")
    shown = page.locator(".lsf-htx-richtext, .htx-richtext").all_inner_texts()
    if folder := os.environ.get("STANDPOINT_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "suspects.png")
    assert shown[0].startswith("1. name 0.99: PLACE, perhaps GROUP: The [")
    assert shown[1] == documents["d1"].text, "the most suspicious document comes first"
    with page.expect_response(
        lambda answer: answer.request.method == "POST" and "/annotations" in answer.url
    ) as answer:
        page.get_by_test_id("bottombar-submit-button").click()
    assert answer.value.ok
    (done,) = (task for task in staff.admin.export(project) if task["annotations"])
    (annotation,) = done["annotations"]
    first = next(item["value"] for item in annotation["result"] if item["from_name"] == "name")
    assert first["labels"] == ["PLACE"], "untouched, the annotators' own label is what is submitted"
