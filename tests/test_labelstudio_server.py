"""The round trip through a real Label Studio server: what two annotators said comes back, each as it was said."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Staff

from annotations.document import Document, Label, Span
from annotations.errors import DocumentError, ServerError
from annotations.labelstudio.exports import annotators, from_tasks
from annotations.labelstudio.local_server import DATABASE, EMPTY, LocalServer
from annotations.labelstudio.round import load_round, store_gold
from annotations.labelstudio.server import Server
from annotations.schema import Schema
from annotations.sentences import sentences

SCHEMA = Schema.load(ROOT / "configs" / "schema.yaml")

ALL, STANCE = ("entity", "stance", "document"), ("stance", "document")
EMOJI = "🙂 The Taliban 🇦🇫 condemned ISIS-K.\r\n\r\nOfficials in Kabul 👩‍👩‍👧 declined to comment.\r\n"
PERSIAN = "طالبان حمله را محکوم کرد. سخنگوی آنان در کابل گفت: «ما مسئول نیستیم»."
MARKUP = " <b>Taliban</b> &amp; Co.\u00a0said:\tcafe\u0301  “no”.\u2028Kabul\\n was   quiet. "
BARE = [
    Document(id="emoji-1", text=EMOJI, target="The Taliban protect civilians.", group="emoji"),
    Document(id="emoji-2", text=EMOJI, target="The Taliban 🙂 fight ISIS-K.", group="emoji"),
    Document(id="persian-1", text=PERSIAN, target="طالبان مسئول است.", group="persian"),
    Document(id="markup-1", text=MARKUP, target="<i>x</i> & y", group="markup"),
]
ASKED = {document.id: STANCE if document.id == "emoji-2" else ALL for document in BARE}


def reading(document: Document, name: str, stances: tuple[str, str], overall: str) -> Document:
    """Every occurrence of two names, a stance for every sentence in turn, one label for the whole."""
    bounds = sentences(document.text)
    labels: dict[str, tuple[Span, ...] | Label] = {
        "stance": tuple(Span(start=b.start, end=b.end, label=stances[i % 2]) for i, b in enumerate(bounds)),
        "document": Label(label=overall),
    }
    if "entity" in ASKED[document.id]:
        starts = [start for start in range(len(document.text)) if document.text.startswith(name, start)]
        labels["entity"] = tuple(Span(start=start, end=start + len(name), label="LOCATION") for start in starts)
    return document.with_labels(labels)


ANA = [reading(d, "کابل" if d.id == "persian-1" else "Kabul", ("supports", "neutral"), "supports") for d in BARE]
BEN = [reading(d, "Taliban", ("neutral", "denies"), "denies") for d in BARE[:3]]
GOLD = [reading(d, "Kabul", ("denies", "supports"), "neutral") for d in BARE]


def content(documents: list[Document]) -> list[Document]:
    """Documents without provenance, to which reading adds the task and annotation."""
    return [document.model_copy(update={"source": {}}) for document in documents]


def test_round_trip(staff: Staff) -> None:
    project = load_round(staff.admin, staff.readers, SCHEMA, ASKED, BARE, {"ana": ANA, "ben": BEN}, "Round trip 🙂")
    tasks = list(staff.admin.export(project))
    assert annotators(tasks) == sorted(staff.users.values())
    for name, documents in {"ana": ANA, "ben": BEN}.items():
        found, report = from_tasks(tasks, SCHEMA, user=staff.users[name])
        assert content(found) == content(documents)
        assert report.repairs == []
        assert report.left_out == [f"{d.id}: not annotated" for d in BARE[len(documents) :]]
    with pytest.raises(DocumentError, match="several annotations"):
        from_tasks(tasks, SCHEMA)

    store_gold(staff.admin, project, GOLD)
    found, report = from_tasks(staff.admin.export(project), SCHEMA)
    assert content(found) == content(GOLD)
    assert report.repairs == []
    assert {d.id: set(d.labels) for d in found} == {name: set(layers) for name, layers in ASKED.items()}
    with pytest.raises(DocumentError, match=r"4 problems(.|\n)*has a ground truth"):
        store_gold(staff.admin, project, GOLD)


def test_round_refuses_what_would_come_back_changed(staff: Staff) -> None:
    first, second, third, fourth = ANA
    moved = Document(id=first.id, text=first.text.replace("\r\n", "\n"), target=first.target, labels={})
    unasked = second.with_labels({**second.labels, "entity": ()})
    forgotten = third.with_labels({name: third.labels[name] for name in STANCE})
    foreign = Document(id="elsewhere-1", text="x")
    mistyped = fourth.with_labels({**fourth.labels, "document": Label(label="denise")})
    readings = {"ana": [moved, unasked, forgotten, foreign, mistyped, ANA[1], ANA[1]], "eve": []}
    with pytest.raises(DocumentError) as caught:
        load_round(
            staff.admin,
            staff.readers | {"bea": staff.readers["ben"]},
            SCHEMA,
            ASKED,
            [*BARE, Document(id="new", text="x")],
            readings,
            "Refused",
        )
    expected = [
        "document 'new' is asked for no layer",
        "eve: is no reader",
        "ana: document 'emoji-1' has another text",
        "ana: document 'emoji-2' labels document, entity, stance, its task asks for document, stance",
        "ana: document 'persian-1' labels document, stance, its task asks for document, entity, stance",
        "ana: document 'elsewhere-1' has no task",
        "ana: document 'emoji-2' is given twice",
        "ana: document 'emoji-2' is given twice",
        "ana, 'markup-1': label 'denise' is not in layer 'document'",
        "two readers' tokens belong to the same user",
    ]
    assert len(caught.value.problems) == len(expected)
    assert all(problem.startswith(start) for problem, start in zip(caught.value.problems, expected, strict=True))


def test_import_keeps_each_document_with_its_task(staff: Staff) -> None:
    project = staff.admin.create_project("Many", SCHEMA)
    tasks = [{"data": {"text": f"Text {i}.", "target": "x", "doc_id": f"d{i}"}} for i in range(1100)]
    ids = staff.admin.import_tasks(project, tasks)
    assert ids == {task["data"]["doc_id"]: task["id"] for task in staff.admin.export(project)}
    assert len(ids) == 1100
    with pytest.raises(DocumentError, match="'d0' belongs to several tasks"):
        staff.admin.import_tasks(project, [tasks[0], tasks[0]])
    assert staff.admin.import_tasks(project, []) == {}


def test_server_errors_say_what_to_do(staff: Staff) -> None:
    url = staff.local.url
    with pytest.raises(ServerError, match=r"token is refused.*personal access token"):
        Server(url, "nonsense").whoami()
    with pytest.raises(ServerError, match="3 to 50 characters"):
        staff.admin.create_project("x", SCHEMA)
    with pytest.raises(ServerError, match=r"not found.*is the id right"):
        list(staff.admin.export(999_999))
    with pytest.raises(ServerError, match=r"not found|not Label Studio's"):
        Server(f"{url}/elsewhere", "nonsense").whoami()
    with pytest.raises(ServerError, match="could not sign up"):
        staff.local.add_user("ana@example.org", "another secret")
    with pytest.raises(ServerError, match="refused"):
        staff.local.token("ana@example.org", "another secret")


def test_a_new_token_takes_the_place_of_the_old(staff: Staff) -> None:
    staff.local.add_user("cleo@example.org", "secret of cleo")
    old, new = (staff.local.token("cleo@example.org", "secret of cleo") for _ in range(2))
    assert Server(staff.local.url, f" {new}\n").whoami()["email"] == "cleo@example.org"
    with pytest.raises(ServerError, match="token is refused"):
        Server(staff.local.url, old).whoami()


def test_dead_server_is_a_server_error() -> None:
    with pytest.raises(ServerError, match=r"no answer.*is it running"):
        Server("http://127.0.0.1:9", "nonsense").whoami()


def test_executable_that_is_missing_or_ends_is_a_server_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="cannot be run"), LocalServer(tmp_path / "nothing", tmp_path / "a"):
        pass
    with pytest.raises(ServerError, match="ended with status"), LocalServer(Path(sys.executable), tmp_path / "b"):
        pass


def test_a_first_start_copies_the_empty_database_and_a_later_one_keeps_its_own(tmp_path: Path) -> None:
    empty, server = tmp_path / "env" / EMPTY, LocalServer(tmp_path / "env" / "bin" / "nothing", tmp_path / "data")
    for content in ("first", "second"):
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.write_text(content)
        with pytest.raises(ServerError, match="cannot be run"), server:
            pass
        assert (tmp_path / "data" / DATABASE).read_text() == "first"


def test_only_the_door_needs_the_sdk() -> None:
    code = (
        "import importlib, pathlib, sys\n"
        "sys.modules |= dict.fromkeys(['label_studio_sdk', 'httpx', 'requests'])\n"
        "door = {'server', 'local_server', 'round', 'push', 'pull', 'adjudication', 'doctor', 'review'}\n"
        "door = {f'annotations.labelstudio.{name}' for name in door} | {'annotations.__main__'}\n"
        "paths = pathlib.Path('annotations').rglob('*.py')\n"
        "names = {'.'.join(path.with_suffix('').parts).removesuffix('.__init__') for path in paths} - door\n"
        "[importlib.import_module(name) for name in sorted(names)]\n"
        "from annotations.errors import ServerError\n"
        "try:\n    import annotations.labelstudio.server\n"
        "except ServerError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "pip install '.[labelstudio]'" in done.stdout
