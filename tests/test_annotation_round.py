"""Push, annotate, pull and adjudicate on a real Label Studio server, with everything that goes wrong on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from conftest import ROOT, Staff
from faulty_proxy import BREAK, LOSE_ANSWER, PASS, REFUSE, UNAUTHORIZED, FaultyProxy
from typer.testing import CliRunner

from annotations.document import Document, Label, Span
from annotations.errors import DocumentError, SchemaError, ServerError
from annotations.labelstudio.policy import Choice, Policy
from annotations.labelstudio.shapes import Json, to_results
from annotations.schema import Schema
from annotations.sentences import sentences
from annotations.storage import read_jsonl, write_jsonl
from training.cli import app

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")
TEXT = "🙂 The Taliban condemned ISIS-K.\r\n\r\nOfficials in Kabul declined to comment. Nobody else spoke."


def article(number: int, target: str | None = "The Taliban fight ISIS-K.") -> Document:
    return Document(id=f"d{number:03}", text=f"{TEXT} Number {number}.", target=target, group=f"g{number}")


def labelled(document: Document, *names: str, stance: str = "neutral", overall: str = "neutral") -> Document:
    """Every occurrence of the names as LOCATION, one stance for every sentence, one for the whole."""
    spans = [
        Span(start=start, end=start + len(name), label="LOCATION")
        for name in names
        for start in range(len(document.text))
        if document.text.startswith(name, start)
    ]
    labels: dict[str, tuple[Span, ...] | Label] = {"entity": tuple(sorted(spans, key=lambda span: span.start))}
    if document.target:
        bounds = sentences(document.text)
        labels["stance"] = tuple(Span(start=start, end=end, label=stance) for start, end in bounds)
        labels["document"] = Label(label=overall)
    return document.with_labels(labels)


def content(documents: Iterable[Document]) -> list[Document]:
    return sorted((d.model_copy(update={"source": {}}) for d in documents), key=lambda document: document.id)


@pytest.fixture
def proxy(staff: Staff) -> Iterator[FaultyProxy]:
    with FaultyProxy(staff.local.url).running() as running:
        yield running


def started(staff: Staff, title: str, documents: list[Document]) -> tuple[int, dict[str, Json]]:
    """A new project with a task for each document. Returns its id, and each document's task."""
    from annotations.labelstudio.push import open_project, push

    project, _ = open_project(staff.admin, SCHEMA, title=title)
    push(staff.admin, project, lambda: documents, SCHEMA)
    return project, {task["data"]["doc_id"]: task for task in staff.admin.export(project)}


def test_push_sends_each_document_once(staff: Staff) -> None:
    from annotations.labelstudio.push import FROM_FILE, Suggestions, open_project, push

    documents = [article(number) for number in range(120)]
    project, notes = open_project(staff.admin, SCHEMA, title="Push once")
    assert (project, notes) == (open_project(staff.admin, SCHEMA, title="Push once")[0], [])
    told: list[str] = []
    first = push(staff.admin, project, lambda: documents, SCHEMA, say=told.append)
    assert (first.created, first.known, first.predictions) == (120, 0, 0)
    assert told[-1] == "120 of 120 documents, 0 predictions" and len(told) == 3
    again = push(staff.admin, project, lambda: [*documents, article(120)], SCHEMA)
    assert (again.created, again.known) == (1, 120)

    def tag(given: Iterable[Document]) -> Iterator[Document]:
        for document in given:
            yield labelled(document, "Kabul").with_labels(
                {"entity": (Span(start=6, end=13, label="MILITANT_GROUP", score=0.4),)}
            )

    late = push(staff.admin, project, lambda: documents, SCHEMA, suggestions=Suggestions("v1", tag))
    assert (late.created, late.predictions) == (0, 120)
    assert push(staff.admin, project, lambda: documents, SCHEMA, suggestions=Suggestions("v1", tag)).predictions == 0
    assert (
        push(staff.admin, project, lambda: documents[:1], SCHEMA, suggestions=Suggestions("v2", tag)).predictions == 1
    )
    tasks = {task["data"]["doc_id"]: task for task in staff.admin.export(project)}
    assert len(tasks) == 121
    (prediction,) = tasks["d001"]["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("v1", 0.4)
    assert prediction["result"][0]["value"] == {"start": 6, "end": 13, "text": "Taliban", "labels": ["MILITANT_GROUP"]}

    known = labelled(article(500), "Kabul")
    assert push(staff.admin, project, lambda: [known], SCHEMA).predictions == 1
    assert [p["model_version"] for p in next(_named(staff, project, "d500"))["predictions"]] == [FROM_FILE]


def _named(staff: Staff, project: int, name: str) -> Iterator[Json]:
    return (task for task in staff.admin.export(project) if task["data"]["doc_id"] == name)


def test_push_asks_for_spans_of_a_text_once_and_for_stance_only_where_there_is_a_target(staff: Staff) -> None:
    one, bare = article(1), article(2, target=None)
    two = one.model_copy(update={"id": "d001-2", "target": "Nobody spoke."})
    project, tasks = started(staff, "Layers asked", [one, two, bare])
    asked = {name: task["data"]["layers"] for name, task in tasks.items()}
    assert asked == {"d001": ["entity", "stance", "document"], "d001-2": ["stance", "document"], "d002": ["entity"]}
    from annotations.labelstudio.push import push

    push(staff.admin, project, lambda: [two.model_copy(update={"id": "d001-3", "target": "x"})], SCHEMA)
    assert next(_named(staff, project, "d001-3"))["data"]["layers"] == ["stance", "document"]
    only = article(3)
    push(staff.admin, project, lambda: [only], SCHEMA, layers=["entity"])
    assert next(_named(staff, project, "d003"))["data"]["layers"] == ["entity"]


def test_push_refuses_all_of_it_before_sending_any(staff: Staff) -> None:
    from annotations.labelstudio.push import push

    project, _ = started(staff, "Refused push", [article(1)])
    wrong = [
        article(2),
        article(2),
        Document(id="d001", text="Another text.", target="x"),
        Document(id="blank", text=" \n", target="x"),
        labelled(article(3)).with_labels({"document": Label(label="maybe")}),
        Document(id="d001-2", text=article(1).text),
    ]
    with pytest.raises(DocumentError) as caught:
        push(staff.admin, project, lambda: wrong, SCHEMA)
    told = "\n".join(caught.value.problems)
    for piece in (
        "document 'd002' is given twice",
        "'d001' has another text or target than task",
        "'blank' has no text",
        "label 'maybe' is not in layer 'document'",
        "'d001-2' asks for nothing",
    ):
        assert piece in told
    assert len(list(staff.admin.tasks(project))) == 1


def test_a_project_that_asks_for_something_else_is_reported_and_kept(staff: Staff) -> None:
    from annotations.labelstudio.push import open_project

    ships = {"kind": "spans", "labels": {"PERSON": {}, "SHIP": {}}}
    mood = {"kind": "spans", "labels": {"x": {}}}
    other = Schema.build({"layers": {"entity": ships, "mood": mood}}, where="test")
    project, _ = open_project(staff.admin, other, title="Other labels")
    before = staff.admin.project(project)["label_config"]
    with pytest.raises(SchemaError) as caught:
        open_project(staff.admin, SCHEMA, title="Other labels")
    told = str(caught.value)
    for piece in (
        "layer 'stance' is missing",
        "control <Labels> 'mood' is no layer of the schema",
        "'entity' lacks the label 'LOCATION'",
        "'entity' has the unknown label 'SHIP'",
        "--update-interface",
    ):
        assert piece in told
    assert staff.admin.project(project)["label_config"] == before
    _, notes = open_project(staff.admin, SCHEMA, title="Other labels", update=True)
    assert any("replaced" in note for note in notes)
    assert open_project(staff.admin, SCHEMA, project=project) == (project, [])


COMMAND = [sys.executable, "-c", "from training.cli import main; main()", "labels"]


def killed(arguments: list[str], token: str, when: Callable[[], bool]) -> None:
    """Start a command and kill -9 it at a moment."""
    environment = {**os.environ, "LABEL_STUDIO_API_KEY": token}
    command = [*COMMAND, *arguments]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    deadline = time.monotonic() + 180
    while not when() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=180)
    assert running.returncode == -signal.SIGKILL
    # The server may still be at work on what it was asked.
    time.sleep(1)


def finished(arguments: list[str], token: str) -> Result:
    """Run a command to its end in this process; it must be a good one."""
    done = CliRunner().invoke(app, ["labels", *arguments], env={"LABEL_STUDIO_API_KEY": token})
    assert done.exit_code == 0, (done.stderr, done.exception)
    return done


@pytest.mark.parametrize("fate", [LOSE_ANSWER, REFUSE, BREAK])
def test_a_push_that_breaks_goes_on_where_it_was(staff: Staff, proxy: FaultyProxy, fate: str) -> None:
    from annotations.labelstudio.push import open_project, push
    from annotations.labelstudio.server import Server

    documents = [article(number) for number in range(160)]
    project, _ = open_project(staff.admin, SCHEMA, title=f"Broken push, {fate}")
    server = Server(proxy.url, staff.token)
    proxy.rule = lambda method, path: fate if "/import" in path and proxy.count("POST", "/import") >= 1 else PASS
    with pytest.raises(ServerError, match=r"50 tasks and 0 predictions were sent; run the same command again"):
        push(server, project, lambda: documents, SCHEMA)
    assert proxy.count("POST", "/import") == 2
    proxy.rule = lambda method, path: PASS
    assert push(server, project, lambda: documents, SCHEMA).created == (60 if fate == LOSE_ANSWER else 110)
    names = Counter(task.data["doc_id"] for task in staff.admin.tasks(project))
    assert names == Counter(document.id for document in documents)


def test_a_push_killed_half_way_goes_on_where_it_was(staff: Staff, proxy: FaultyProxy, tmp_path: Path) -> None:
    documents = [article(number) for number in range(160)]
    write_jsonl(tmp_path / "articles.jsonl", documents)
    proxy.delay = 0.3
    command = ["push", str(tmp_path / "articles.jsonl"), "--title", "Killed push", "--url", proxy.url]
    killed(command, staff.token, lambda: proxy.count("POST", "/import") >= 2)
    proxy.delay = 0.0
    done = finished(command, staff.token)
    assert "160 of 160 documents" in done.stderr and "/projects/" in done.stdout
    project = int(done.stdout.split("/projects/")[1])
    assert Counter(t.data["doc_id"] for t in staff.admin.tasks(project)) == Counter(d.id for d in documents)


def test_doubled_tasks_are_removed_unless_somebody_worked_on_them(staff: Staff) -> None:
    from annotations.labelstudio.push import push

    documents = [article(number) for number in range(3)]
    project, tasks = started(staff, "Doubled", documents)
    data = {name: {"data": task["data"]} for name, task in tasks.items()}
    staff.admin.import_tasks(project, [data["d000"], data["d001"]])
    twin = max(task.id for task in staff.admin.tasks(project) if task.data["doc_id"] == "d001")
    staff.readers["ana"].annotate(twin, to_results(labelled(documents[1], "Kabul")))
    with pytest.raises(DocumentError):
        push(staff.admin, project, lambda: [Document(id="blank", text=" ")], SCHEMA)
    assert len(list(staff.admin.tasks(project))) == 5, "a push that is refused removes nothing"
    assert push(staff.admin, project, lambda: [article(7)], SCHEMA).doubles == 0, "it removes doubles of its own alone"
    assert push(staff.admin, project, lambda: documents, SCHEMA).doubles == 2
    left = {task.data["doc_id"]: task.id for task in staff.admin.tasks(project)}
    assert left.pop("d007")
    assert left == {"d000": tasks["d000"]["id"], "d001": twin, "d002": tasks["d002"]["id"]}
    staff.admin.import_tasks(project, [data["d001"]])
    third = max(task.id for task in staff.admin.tasks(project))
    staff.readers["ben"].annotate(third, [])
    with pytest.raises(DocumentError, match=r"'d001' has several annotated tasks"):
        push(staff.admin, project, lambda: documents, SCHEMA)
    other = {"data": {**tasks["d002"]["data"], "layers": ["document"]}}
    staff.admin.import_tasks(project, [other])
    with pytest.raises(DocumentError, match=r"'d002' has tasks with different texts, targets or layers"):
        push(staff.admin, project, lambda: [documents[2]], SCHEMA)


def test_work_begun_while_a_push_runs_is_kept(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    from annotations.labelstudio.push import _Plan, push

    document = article(1)
    project, tasks = started(staff, "Race", [document])
    staff.admin.import_tasks(project, [{"data": tasks["d001"]["data"]}])
    newest = max(task.id for task in staff.admin.tasks(project))
    check = _Plan.check

    def annotated_meanwhile(plan: _Plan, documents: Iterable[Document]) -> None:
        check(plan, documents)
        staff.readers["ana"].annotate(newest, to_results(labelled(document, "Kabul")))

    monkeypatch.setattr(_Plan, "check", annotated_meanwhile)
    assert push(staff.admin, project, lambda: [document], SCHEMA).doubles == 0
    assert {task.id: task.annotations for task in staff.admin.tasks(project)} == {tasks["d001"]["id"]: 0, newest: 1}


def test_titles_are_found_again_and_tasks_without_an_id_are_known(staff: Staff, tmp_path: Path) -> None:
    from annotations.labelstudio.adjudication import adjudicate, review_title
    from annotations.labelstudio.exports import bare_document
    from annotations.labelstudio.push import open_project, push

    first, _ = open_project(staff.admin, SCHEMA, title=" Trailing ")
    assert open_project(staff.admin, SCHEMA, title="Trailing  ")[0] == first
    with pytest.raises(ServerError, match="3 to 50 characters"):
        open_project(staff.admin, SCHEMA, title="x" * 51)
    assert review_title(6, "B" * 36 + " of autumn") == review_title(6, "B" * 36 + " of autumn").strip()

    hand_made = staff.admin._sdk.tasks.create(project=first, data={"text": TEXT, "target": "x"})
    numbered = staff.admin._sdk.tasks.create(project=first, data={"text": TEXT + "2", "target": "x", "doc_id": 7})
    exported = [bare_document(task) for task in staff.admin.export(first)]
    assert [document.id for document in exported] == [f"task-{hand_made.id}", "7"]
    assert push(staff.admin, first, lambda: exported, SCHEMA).created == 0
    for reader, name in ((staff.readers["ana"], "Kabul"), (staff.readers["ben"], "ISIS-K")):
        reader.annotate(hand_made.id, to_results(labelled(exported[0], name)))
    assert adjudicate(staff.admin, first, SCHEMA).waiting == [f"task-{hand_made.id}"]
    assert numbered.id != hand_made.id
    with pytest.raises(DocumentError, match=r"user 77 has annotated nothing; annotators: \d+, \d+"):
        adjudicate(staff.admin, first, SCHEMA, users=[77])


def test_pull_follows_the_policy(staff: Staff, tmp_path: Path) -> None:
    from annotations.labelstudio.pull import pull

    documents = [article(number) for number in range(6)]
    project, tasks = started(staff, "Policies", documents)
    ana, ben, admin = staff.readers["ana"], staff.readers["ben"], staff.admin
    number = {name: task["id"] for name, task in tasks.items()}
    alike, apart, other = (
        labelled(documents[0], "Kabul"),
        labelled(documents[1], "Kabul"),
        labelled(documents[1], "ISIS-K"),
    )
    for reader in (ana, ben):
        reader.annotate(number["d000"], to_results(alike))
    ana.annotate(number["d001"], to_results(apart))
    ben.annotate(number["d001"], to_results(other))
    ana.annotate(number["d002"], [])
    truth = labelled(documents[3], "Taliban", stance="denies", overall="denies")
    ana.annotate(number["d003"], to_results(labelled(documents[3])))
    admin.annotate(number["d003"], to_results(truth), ground_truth=True)
    ana._sdk.annotations.create(number["d004"], result=[], was_cancelled=True)

    def found(**settings: object) -> tuple[dict[str, Document], str]:
        name = "-".join(map(str, settings.values()))
        pulled = pull(admin, project, tmp_path / name, SCHEMA, Policy.build(settings, where="test"))
        read = {document.id: document for document in read_jsonl(pulled.documents, SCHEMA)}
        assert pulled.count == len(read)
        return read, str(pulled.report)

    with pytest.raises(DocumentError) as caught:
        found(choose="only")
    assert len(caught.value.problems) == 2 and not (tmp_path / "only" / "latest").exists()
    own, told = found(choose="user", user=staff.users["ana"])
    assert sorted(own) == ["d000", "d001", "d002", "d003"]
    assert own["d002"].labels == {"entity": ()}
    assert content([own["d001"]]) == content([apart])
    assert "left out  d004: skipped" in told and "left out  d005: not annotated" in told
    gold, told = found(choose="ground_truth")
    assert content(gold.values()) == content([truth]) and "d000: no ground truth" in told
    settled, told = found(choose="adjudicated")
    assert sorted(settled) == ["d000", "d003"]
    assert "d001: in dispute: entity" in told and "d002: one annotator only" in told
    most, told = found(choose="majority")
    assert most["d001"].spans("entity") == () and content([most["d000"]]) == content([alike])
    assert content([most["d003"]]) == content([truth])
    strict, _ = found(choose="user", user=staff.users["ana"], empty="leave_out")
    assert "d002" not in strict
    with pytest.raises(DocumentError, match=r"d002.*nothing marked"):
        found(choose="user", user=staff.users["ana"], empty="refuse")
    with pytest.raises(DocumentError, match=r"d004.*was skipped"):
        found(choose="user", user=staff.users["ana"], skipped="refuse")


def test_pull_fetches_what_changed_and_keeps_every_version(staff: Staff, proxy: FaultyProxy, tmp_path: Path) -> None:
    from annotations.labelstudio.pull import pull
    from annotations.labelstudio.server import Server

    documents = [article(number) for number in range(30)]
    project, tasks = started(staff, "Versions", documents)
    ana = staff.readers["ana"]
    for name in ("d000", "d001"):
        ana.annotate(tasks[name]["id"], to_results(labelled(documents[int(name[1:])], "Kabul")))
    server, folder, policy = Server(proxy.url, staff.token), tmp_path / "pulled", Policy()
    first = pull(server, project, folder, SCHEMA, policy)
    assert (first.count, first.changed) == (2, 30)
    assert (folder / "latest").resolve() == first.folder and json.loads(first.tasks.read_text())[0]["data"]
    manifest = json.loads((first.folder / "pull.json").read_text())
    assert (manifest["version"], manifest["project"], manifest["previous"]) == (first.version, project, None)
    before = (first.folder / "documents.jsonl").read_bytes()

    exports = proxy.count("POST", "/exports")
    same = pull(server, project, folder, SCHEMA, policy)
    assert (same.version, same.changed) == (first.version, 0)
    assert proxy.count("POST", "/exports") == exports, "nothing changed, and yet something was exported"

    ana.annotate(tasks["d007"]["id"], to_results(labelled(documents[7], "Kabul", stance="denies")))
    staff.admin._sdk.tasks.delete(str(tasks["d001"]["id"]))
    second = pull(server, project, folder, SCHEMA, policy)
    assert (second.count, second.changed) == (2, 2) and second.version != first.version
    assert json.loads((second.folder / "pull.json").read_text())["previous"] == first.version
    assert sorted(d.id for d in read_jsonl(folder / "latest" / "documents.jsonl")) == ["d000", "d007"]
    assert len(json.loads(second.tasks.read_text())) == 29
    assert (first.folder / "documents.jsonl").read_bytes() == before
    fresh = pull(server, project, tmp_path / "fresh", SCHEMA, policy)
    assert fresh.version == second.version
    assert (fresh.folder / "documents.jsonl").read_bytes() == (second.folder / "documents.jsonl").read_bytes()

    other, _ = started(staff, "Versions, another", documents[:1])
    with pytest.raises(DocumentError, match=r"holds another project"):
        pull(server, other, folder, SCHEMA, policy)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DocumentError, match=r"folder of something else"):
        pull(server, project, tmp_path / "mine", SCHEMA, policy)


@pytest.mark.parametrize("moment", ["/tasks", "/exports", "/download"])
def test_a_pull_killed_at_any_moment_leaves_whole_versions(
    staff: Staff, proxy: FaultyProxy, tmp_path: Path, moment: str
) -> None:
    documents = [article(number) for number in range(3)]
    project, tasks = started(staff, f"Killed at {moment}", documents)
    ana = staff.readers["ana"]
    ana.annotate(tasks["d000"]["id"], to_results(labelled(documents[0], "Kabul")))
    folder = tmp_path / "pulled"
    command = ["pull", "--project", str(project), "--output", str(folder), "--url", proxy.url]
    finished(command, staff.token)
    first = (folder / "latest").resolve()
    before = (first / "documents.jsonl").read_bytes()
    ana.annotate(tasks["d001"]["id"], to_results(labelled(documents[1], "Kabul")))
    proxy.seen.clear()
    proxy.delay = 0.3
    killed(command, staff.token, lambda: any(moment in path for _, path in proxy.seen))
    assert (folder / "latest").resolve() == first and (first / "documents.jsonl").read_bytes() == before
    proxy.delay = 0.0
    assert "2 documents" in finished(command, staff.token).stdout
    assert sorted(d.id for d in read_jsonl(folder / "latest" / "documents.jsonl")) == ["d000", "d001"]
    assert not (folder / ".part").exists()


def test_a_damaged_folder_heals_or_says_so(staff: Staff, tmp_path: Path) -> None:
    from annotations.labelstudio.pull import pull
    from annotations.labelstudio.versions import Versions

    documents = [article(number) for number in range(2)]
    project, tasks = started(staff, "Damaged", documents)
    staff.readers["ana"].annotate(tasks["d000"]["id"], to_results(labelled(documents[0], "Kabul")))
    folder = tmp_path / "pulled"

    def again() -> str:
        pulled = pull(staff.admin, project, folder, SCHEMA, Policy())
        assert pulled.documents.exists() and pulled.tasks.exists() and (pulled.folder / "pull.json").exists()
        return pulled.version

    version = again()
    for name in (f"{version}/documents.jsonl", "state.json", "latest"):
        (folder / name).unlink()
        assert again() == version
    for content in ("", "{}", '{"project": 1, "tasks": 3}'):
        (folder / "state.json").write_text(content)
        assert again() == version
    (folder / version / "tasks.json").write_text("[\n{\n]\n")
    with pytest.raises(DocumentError, match="damaged"):
        again()
    with Versions(folder).locked(), pytest.raises(DocumentError, match="another pull is at work"):
        again()
    (tmp_path / "file").write_text("x")
    for bad in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DocumentError, match="cannot be used"):
            pull(staff.admin, project, bad, SCHEMA, Policy())


def test_a_pull_that_breaks_leaves_the_last_version(staff: Staff, proxy: FaultyProxy, tmp_path: Path) -> None:
    from annotations.labelstudio.pull import pull
    from annotations.labelstudio.server import Server

    documents = [article(number) for number in range(3)]
    project, tasks = started(staff, "Broken pull", documents)
    ana = staff.readers["ana"]
    ana.annotate(tasks["d000"]["id"], to_results(labelled(documents[0], "Kabul")))
    server, folder = Server(proxy.url, staff.token), tmp_path / "pulled"
    first = pull(server, project, folder, SCHEMA, Policy())
    ana.annotate(tasks["d001"]["id"], to_results(labelled(documents[1], "Kabul")))
    for fate, told in ((UNAUTHORIZED, "token is refused"), (BREAK, "HTTP 500"), (REFUSE, "no answer")):
        proxy.rule = lambda method, path, fate=fate: fate if "/download" in path else PASS
        with pytest.raises(ServerError, match=told):
            pull(server, project, folder, SCHEMA, Policy())
        assert (folder / "latest").resolve() == first.folder
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            [first.version, "latest", "state.json", ".lock"]
        )
    proxy.rule = lambda method, path: PASS
    assert pull(server, project, folder, SCHEMA, Policy()).count == 2


def test_a_server_that_does_not_answer_in_time_is_told(staff: Staff, proxy: FaultyProxy, tmp_path: Path) -> None:
    from annotations.labelstudio.pull import pull
    from annotations.labelstudio.push import push
    from annotations.labelstudio.server import Server

    project, _ = started(staff, "Slow", [article(1)])
    server = Server(proxy.url, staff.token, seconds=0.5)
    server.whoami()
    proxy.delay = 2.0
    with pytest.raises(ServerError, match=r"no answer.*(\n.*)?is it running"):
        push(server, project, lambda: [article(2)], SCHEMA)
    with pytest.raises(ServerError, match="no answer"):
        pull(server, project, tmp_path / "pulled", SCHEMA, Policy())
    assert not (tmp_path / "pulled").exists()


def test_an_export_that_never_ends_is_told(staff: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server takes half a surrogate pair, and then cannot export the project."""
    import httpx

    from annotations.labelstudio import server

    project = staff.admin.create_project("Half a character", SCHEMA)
    base = staff.local.url
    access = httpx.post(f"{base}/api/token/refresh", json={"refresh": staff.token}).json()["access"]
    body = f'{{"project": {project}, "data": {{"text": "a \\ud800 b", "target": "x"}}}}'
    headers = {"Authorization": f"Bearer {access}", "Content-Type": "application/json"}
    httpx.post(f"{base}/api/tasks/", headers=headers, content=body.encode())
    monkeypatch.setattr(server, "TELL_SECONDS", 0.5)
    monkeypatch.setattr(server, "EXPORT_SECONDS", 2)
    told: list[str] = []
    with pytest.raises(ServerError, match=r"export of project \d+ is in_progress; look at the server's log"):
        list(staff.admin.export(project, say=told.append))
    assert any("is still exporting" in text for text in told)


def test_what_annotators_and_strangers_left_is_mended_or_refused_at_once(staff: Staff, tmp_path: Path) -> None:
    from annotations.labelstudio.pull import pull

    documents = [article(number) for number in range(4)]
    project, tasks = started(staff, "Bad input", documents)
    ana = staff.readers["ana"]

    def region(start: int, end: int, text: str, label: str = "LOCATION", control: str = "entity") -> Json:
        value = {"start": start, "end": end, "text": text, "labels": [label]}
        return {"id": f"r{start}", "from_name": control, "to_name": "text", "type": "labels", "value": value}

    # One character before it takes two UTF-16 units.
    ana.annotate(tasks["d000"]["id"], [region(7, 14, "Taliban"), region(900, 905, "Kabul")])
    pulled = pull(staff.admin, project, tmp_path / "good", SCHEMA, Policy())
    (document,) = read_jsonl(pulled.documents)
    assert [document.text[s.start : s.end] for s in document.spans("entity")] == ["Taliban", "Kabul"]
    assert "offsets counted UTF-16 units" in str(pulled.report) and "nearest exact match" in str(pulled.report)

    edited = staff.admin.project(project)["label_config"].replace('<Label value="DATE"', '<Label value="WHEN"')
    staff.admin._sdk.projects.update(project, label_config=edited)
    ana.annotate(tasks["d001"]["id"], [region(6, 13, "Taliban", "GROUP"), region(900, 905, "nowhere")])
    ana.annotate(tasks["d002"]["id"], [region(6, 13, "Taliban", control="ner")])
    staff.admin._sdk.tasks.update(str(tasks["d003"]["id"]), data={"title": "no text"})
    with pytest.raises(DocumentError) as caught:
        pull(staff.admin, project, tmp_path / "good", SCHEMA, Policy())
    told = "\n".join(caught.value.problems)
    for piece in (
        "interface differs from the schema: layer 'entity' lacks the label 'DATE'",
        "task d001: region 'r6' of entity: unknown label 'GROUP'",
        "'nowhere' is not in the text",
        "task d002: region 'r6': control 'ner' is no layer of this schema",
        "has no `data.text`",
    ):
        assert piece in told
    assert (tmp_path / "good" / "latest").resolve() == pulled.folder


def test_annotations_of_a_deleted_user_are_told(staff: Staff, tmp_path: Path) -> None:
    from annotations.labelstudio.pull import pull

    documents = [article(number) for number in range(1)]
    project, tasks = started(staff, "Deleted user", documents)
    task = {**tasks["d000"], "annotations": []}
    staff.local.add_user("dora@example.org", "secret of dora")
    from annotations.labelstudio.server import Server

    dora = Server(staff.local.url, staff.local.token("dora@example.org", "secret of dora"))
    dora.annotate(task["id"], to_results(labelled(documents[0], "Kabul")))
    staff.admin._sdk.users.delete(dora.whoami()["id"])
    pulled = pull(staff.admin, project, tmp_path / "pulled", SCHEMA, Policy())
    assert pulled.count == 1 and "belongs to no user" in str(pulled.report)


def test_adjudication_settles_disputes_and_leaves_agreements(staff: Staff, tmp_path: Path) -> None:
    from annotations.labelstudio.adjudication import adjudicate
    from annotations.labelstudio.pull import pull

    documents = [article(number) for number in range(4)]
    project, tasks = started(staff, "To settle", documents)
    number = {name: task["id"] for name, task in tasks.items()}
    ana, ben, admin = staff.readers["ana"], staff.readers["ben"], staff.admin
    alike = labelled(documents[0], "Kabul")
    for reader in (ana, ben):
        reader.annotate(number["d000"], to_results(alike))
    one = labelled(documents[1], "Kabul", "Taliban")
    two = labelled(documents[1], "Kabul", "ISIS-K")
    ana.annotate(number["d001"], to_results(one))
    ben.annotate(number["d001"], to_results(two))
    ana.annotate(number["d002"], to_results(labelled(documents[2], stance="supports")))
    ben.annotate(number["d002"], to_results(labelled(documents[2], stance="denies")))
    ana.annotate(number["d003"], to_results(labelled(documents[3])))

    state = adjudicate(admin, project, SCHEMA)
    assert (state.agreed, state.settled, state.waiting, state.single) == (1, 1, ["d001", "d002"], ["d003"])
    assert state.review is not None
    review = {task["data"]["doc_id"]: task for task in admin.export(state.review)}
    assert {name: task["data"]["layers"] for name, task in review.items()} == {"d001": ["entity"], "d002": ["stance"]}
    versions = {p["model_version"]: p["result"] for p in review["d001"]["predictions"]}
    assert set(versions) == {f"user {staff.users['ana']}", f"user {staff.users['ben']}", "agreed by all"}
    assert [r["value"]["text"] for r in versions["agreed by all"]] == ["Kabul"]
    again = adjudicate(admin, project, SCHEMA)
    assert (again.review, again.settled, len(list(admin.tasks(state.review)))) == (state.review, 1, 2)

    answer = labelled(documents[1], "ISIS-K").labels["entity"]
    admin.annotate(review["d001"]["id"], to_results(documents[1].with_labels({"entity": answer})))
    state = adjudicate(admin, project, SCHEMA)
    assert (state.settled, state.waiting) == (2, ["d002"])
    assert any("is agreed on and stays" in note for note in state.notes)
    empty = admin.annotate(review["d002"]["id"], [])
    state = adjudicate(admin, project, SCHEMA)
    assert state.waiting == ["d002"] and "was submitted without stance" in state.notes[0]
    admin._sdk.annotations.delete(empty)
    ruled = labelled(documents[2], stance="denies").labels["stance"]
    admin.annotate(review["d002"]["id"], to_results(documents[2].with_labels({"stance": ruled})))
    assert adjudicate(admin, project, SCHEMA).waiting == []
    assert adjudicate(admin, project, SCHEMA).settled == 3

    pulled = pull(admin, project, tmp_path / "gold", SCHEMA, Policy(choose=Choice.GROUND_TRUTH))
    gold = [alike, labelled(documents[1], "Kabul", "ISIS-K"), labelled(documents[2], stance="denies")]
    assert content(read_jsonl(pulled.documents)) == content(gold)
    kept = {task["data"]["doc_id"]: task["annotations"] for task in admin.export(project)}
    assert len(kept["d000"]) == 2, "an agreement needs no third annotation"
    assert len(kept["d001"]) == 3 and sum(item["ground_truth"] for item in kept["d001"]) == 1


def test_a_review_counts_for_the_readings_that_it_saw(staff: Staff) -> None:
    from annotations.labelstudio.adjudication import adjudicate

    documents = [article(number) for number in range(2)]
    project, tasks = started(staff, "Second thoughts", documents)
    ana, ben, admin = staff.readers["ana"], staff.readers["ben"], staff.admin
    made = {}
    for document in documents:
        number = tasks[document.id]["id"]
        made[document.id] = ana.annotate(number, to_results(labelled(document, "Kabul")))
        ben.annotate(number, to_results(labelled(document, "ISIS-K")))
    state = adjudicate(admin, project, SCHEMA)
    assert state.review is not None
    review = {task.data["doc_id"]: task.id for task in admin.tasks(state.review)}
    answer = documents[0].with_labels({"entity": labelled(documents[0], "Taliban").labels["entity"]})
    admin.annotate(review["d000"], to_results(answer))
    for document in documents:
        second = labelled(document, "Kabul", stance="denies")
        ana._sdk.annotations.update(made[document.id], result=to_results(second))
    state = adjudicate(admin, project, SCHEMA)
    assert (state.settled, state.waiting) == (0, ["d000", "d001"])
    assert any("d000: annotations changed after the review was made" in note for note in state.notes)
    anew = {task.data["doc_id"]: task for task in admin.tasks(state.review)}
    assert anew["d000"].id == review["d000"]
    assert anew["d001"].data["layers"] == ["entity", "stance"]


def test_doctor_says_what_to_do(staff: Staff) -> None:
    from annotations.labelstudio.doctor import examine

    def failing(*arguments: object, **options: object) -> dict[str, str]:
        found = examine(*arguments, **options)  # type: ignore[arg-type]
        return {finding.what: str(finding) for finding in found if not finding.passed}

    project, _ = started(staff, "Doctor", [article(1)])
    good = examine(staff.local.url, staff.token, SCHEMA, project=project)
    assert [finding.what for finding in good] == [
        "server", "clock", "token", "login", "version", "permissions", "project", "interface",
    ]  # fmt: skip
    assert all(finding.passed for finding in good)
    assert "start it, or give its address" in failing("http://127.0.0.1:9", staff.token, SCHEMA)["server"]
    assert set(failing(staff.local.url, "", SCHEMA)) == {"token", "login"}
    assert "token is refused" in failing(staff.local.url, "a" * 40, SCHEMA)["login"]
    assert "give another --project" in failing(staff.local.url, staff.token, SCHEMA, project=999_999)["project"]
    other = Schema.build({"layers": {"entity": {"kind": "spans", "labels": {"SHIP": {}}}}}, where="test")
    assert "--update-interface" in failing(staff.local.url, staff.token, other, project=project)["interface"]
    bad = failing(staff.local.url, staff.token, SCHEMA, project=project, backend="http://127.0.0.1:9")
    assert "standpoint serve --label-studio" in bad["backend"]
    assert "no model backend" in failing(staff.local.url, staff.token, SCHEMA, backend=staff.local.url)["backend"]
