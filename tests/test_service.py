"""The HTTP service with a real tagger: the same answers as in process, alone, together and in streams; every bad input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from service_help import JSON, NDJSON, TARGET, TEXTS, Running, in_thread, make_checkpoint

from annotations.document import Document
from inference.config import TaggerConfig
from inference.service.messages import ItemError, ManyAnswer, Offsets, TaggedDocument
from inference.service.units import converter
from inference.service.worker import Worker, truncated
from inference.tagger import Tagger


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path], config: TaggerConfig) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("service") / "tagger", encoders("modernbert"), config, 1)


@pytest.fixture(scope="module")
def tagger(checkpoint: Path) -> Tagger:
    return Tagger.load(checkpoint)


@pytest.fixture(scope="module")
def service(checkpoint: Path) -> Iterator[Running]:
    small = ["limits.body_mb=2", "limits.characters=20000", "limits.documents=300", "batching.tokens=400"]
    with in_thread(checkpoint, small) as running:
        yield running


def answered(body: dict[str, Any]) -> dict[str, Any]:
    """What a document's `without_scores` has, of an answer."""
    return {
        name: found["label"] if isinstance(found, dict) else [[one["start"], one["end"], one["label"]] for one in found]
        for name, found in body["labels"].items()
    }


def test_one_document_is_answered_as_the_tagger_does(service: Running, tagger: Tagger) -> None:
    for text in TEXTS:
        reply = service.tag(text=text, target=TARGET, id="a")
        assert reply.status_code == 200
        body = reply.json()
        TaggedDocument.model_validate(body)
        assert body["id"] == "a" and body["warnings"] == []
        assert answered(body) == tagger.tag(text, target=TARGET).without_scores()


def test_concurrent_requests_share_batches_and_get_their_own_answers(service: Running, tagger: Tagger) -> None:
    texts = [f"Number {place}: {TEXTS[place % len(TEXTS)]}" for place in range(60)]
    before = service.metric("standpoint_batch_documents_count")
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda text: service.tag(text=text, target=TARGET), texts))
    for text, reply in zip(texts, replies, strict=True):
        assert answered(reply.json()) == tagger.tag(text, target=TARGET).without_scores()
    assert service.metric("standpoint_batch_documents_count") - before < len(texts)


def test_many_documents_and_a_bad_one_among_them(service: Running, tagger: Tagger) -> None:
    items: list[Any] = [
        {"text": TEXTS[0], "id": "good"},
        {"text": "\ud800", "id": "surrogate"},
        {"id": "no text"},
        {"text": 7},
        "no object",
        None,
        {"text": "a", "labels": {}},
        {"text": "x" * 20_001, "id": "long"},
        {"text": TEXTS[0], "target": "word " * 400},
        {"text": "a", "id": "\udfff"},
        {"text": "A\x00B met in Kabul.", "target": None},
        {"text": TEXTS[1], "target": TARGET, "id": "also good"},
    ]
    raw = json.dumps({"documents": items, "target": "The Taliban met."})
    with service.client() as client:
        reply = client.post("/v1/tag", content=raw, headers=JSON)
    assert reply.status_code == 200
    found = ManyAnswer.model_validate_json(reply.content).documents
    errors = {place: one.error for place, one in enumerate(found) if isinstance(one, ItemError)}
    assert {place: error.status for place, error in errors.items()} == {
        1: 422, 2: 422, 3: 422, 4: 422, 5: 422, 6: 422, 7: 413, 8: 422, 9: 422
    }  # fmt: skip
    assert "lone surrogate" in errors[1].detail and errors[1].errors[0].pointer == "/text"
    assert "split it at a paragraph" in errors[7].detail
    assert "shorten it" in errors[8].detail
    assert [one.id for one in found] == [
        "good", "surrogate", "no text", None, None, None, None, "long", None, None, None, "also good"
    ]  # fmt: skip
    bodies = reply.json()["documents"]
    assert answered(bodies[0]) == tagger.tag(TEXTS[0], target="The Taliban met.").without_scores()
    assert answered(bodies[10]) == tagger.tag("A\x00B met in Kabul.", target="The Taliban met.").without_scores()
    assert answered(bodies[11]) == tagger.tag(TEXTS[1], target=TARGET).without_scores()


@pytest.mark.parametrize("stage", ["start", "read", "decode"])
def test_a_document_that_breaks_the_model_does_not_spoil_its_batch(
    stage: str, service: Running, tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.api is not None
    work = service.api.models.current.work
    assert isinstance(work, Worker)
    served = work.tagger
    owner: Any = served.engine if stage == "read" else served
    whole = getattr(owner, stage)
    [broken] = served.encode([Document(id="a", text="BROKEN")])

    def found(given: Any) -> bool:
        if stage == "decode":
            return any(document.text == "BROKEN" for document in given)
        read = [window.ids for window in given] if stage == "start" else given.input_ids.tolist()
        return any(ids[: len(broken.ids)] == broken.ids for ids in read)

    def breaks(first: Any, *rest: Any) -> Any:
        if found(first):
            raise RuntimeError("what the text said: BROKEN")
        return whole(first, *rest)

    monkeypatch.setattr(owner, stage, breaks)
    texts = ["Kabul is quiet.", "BROKEN", "VOA said so."]
    counted = service.metric("standpoint_batch_documents_sum")
    bodies = service.tag(documents=[{"text": text} for text in texts]).json()["documents"]
    assert service.metric("standpoint_batch_documents_sum") == counted + 2, "what was tagged again alone counts too"
    assert bodies[1]["error"]["status"] == 500
    assert answered(bodies[0]) == tagger.tag(texts[0]).without_scores()
    assert answered(bodies[2]) == tagger.tag(texts[2]).without_scores()
    assert service.tag(text="BROKEN").status_code == 500
    assert service.said and not [line for line in service.said if "BROKEN" in line]


def test_a_stream_is_answered_line_by_line_in_order(service: Running, tagger: Tagger) -> None:
    texts = [f"{place}. {TEXTS[place % len(TEXTS)]}" for place in range(150)]
    rows = [json.dumps({"text": text, "id": str(place)}).encode() for place, text in enumerate(texts)]
    rows[3], rows[7] = b"\xff\xfe", b"{"

    def pieces() -> Iterator[bytes]:
        whole = b"\n".join(rows) + b"\n\n  \n"
        for start in range(0, len(whole), 700):
            yield whole[start : start + 700]

    with service.client() as client:
        reply = client.post("/v1/tag?offsets=utf16", content=pieces(), headers=NDJSON)
    assert reply.headers["content-type"] == "application/x-ndjson"
    bodies = [json.loads(line) for line in reply.text.splitlines()]
    assert len(bodies) == len(texts)
    assert [bodies[place]["error"]["detail"] for place in (3, 7)] == [
        "line 4 is not UTF-8 at byte 0",
        "line 8 is not JSON at line 1, column 2: Expecting property name enclosed in double quotes",
    ]
    for place, (text, body) in enumerate(zip(texts, bodies, strict=True)):
        if place not in (3, 7):
            assert body["id"] == str(place)
            unit = converter(text, Offsets.UTF16)
            spans = [[unit(one.start), unit(one.end), one.label] for one in tagger.tag(text).spans("entity")]
            assert answered(body)["entity"] == spans


def test_a_stream_answers_before_it_ends(service: Running) -> None:
    """A client that waits for an answer before it sends the next line gets it."""
    import socket

    with socket.create_connection(service.address, timeout=30) as connection:
        head = "POST /v1/tag HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        file = connection.makefile("rb")
        seen = []
        for number in range(3):
            line = json.dumps({"text": "Kabul.", "id": str(number)}).encode() + b"\n"
            connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            while not (row := file.readline()).startswith(b"{"):
                assert row
            seen.append(json.loads(row)["id"])
        connection.sendall(b"0\r\n\r\n")
        assert seen == ["0", "1", "2"]


def test_a_missing_target_is_told_or_refused(service: Running) -> None:
    body = service.tag(text=TEXTS[0]).json()
    assert set(body["labels"]) == {"entity"}
    assert body["warnings"] == ["no target was given, so these layers are not annotated: stance, document"]
    strict = service.tag(text=TEXTS[0], strict=True)
    assert strict.status_code == 422 and strict.json()["errors"][0]["pointer"] == "/target"
    many = service.tag(documents=[{"text": "a"}, {"text": "b", "target": "c"}], strict=True).json()["documents"]
    assert many[0]["error"]["status"] == 422 and "labels" in many[1]


def test_a_blank_target_is_none(service: Running) -> None:
    for blank in ("", " \t", "\u200b"):
        body = service.tag(text=TEXTS[0], target=blank).json()
        assert set(body["labels"]) == {"entity"} and "no target was given" in body["warnings"][0]
        assert service.tag(text=TEXTS[0], target=blank, strict=True).status_code == 422
        many = service.tag(documents=[{"text": TEXTS[0], "target": blank}], target=TARGET).json()["documents"]
        assert answered(many[0]) == answered(service.tag(text=TEXTS[0], target=TARGET).json())


def test_a_query_holds_for_json_too(service: Running) -> None:
    text = "🙂🙂 " + TEXTS[0]
    with service.client() as client:

        def asked(query: str, **body: Any) -> httpx.Response:
            return client.post(f"/v1/tag?{query}", json={"text": text, **body})

        assert asked("offsets=utf16").json() == service.tag(text=text, offsets="utf16").json()
        assert asked("offsets=utf16", offsets="utf16").json()["offsets"] == "utf16"
        assert asked("strict=true").json()["errors"][0]["pointer"] == "/target"
        assert asked("nonsense=1").status_code == 422
        refused = asked("offsets=utf16", offsets="bytes")
        assert refused.status_code == 422 and "offsets is one thing in the query" in refused.json()["detail"]


def test_of_very_many_mistakes_the_first_are_told(service: Running) -> None:
    problem = service.tag(text="a", **{f"article-{number}": "b" for number in range(40)}).json()
    assert len(problem["errors"]) == 20 and problem["detail"].endswith("and 20 more")
    many = b",".join(b'"%d": 0' % (number % 29_999) for number in range(30_000))
    with service.client() as client:
        reply = client.post("/v1/tag", content=b"{%s}" % many, headers=JSON)
    assert reply.status_code == 400 and "'0' is given twice" in reply.json()["detail"]


BAD = {
    "empty": (b"", 400, "not JSON at line 1, column 1"),
    "no JSON": (b"text", 400, "not JSON"),
    "NUL byte": (b'{"text": "a\x00b"}', 400, "Invalid control character"),
    "invalid UTF-8": (b'{"text": "\xff"}', 400, "not UTF-8 at byte 10"),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), 400, "not UTF-8"),
    "a list": (b"[]", 400, "a JSON list, not an object"),
    "not a number": (b'{"text": "a", "x": NaN}', 400, "NaN is no JSON number"),
    "deep": (b"[" * 100_000, 400, "nested too deeply"),
    "huge number": (b'{"text": ' + b"9" * 5000 + b"}", 400, "not usable JSON"),
    "twice": (b'{"text": "a", "text": "b"}', 400, "'text' is given twice"),
    "wrong type": (b'{"text": ["a"]}', 422, "text: Input should be a valid string"),
    "no text": (b'{"target": "a"}', 422, "text: is required and missing"),
    "unknown field": (b'{"text": "a", "ofsets": "bytes"}', 422, "did you mean 'offsets'?"),
    "unknown unit": (b'{"text": "a", "offsets": "words"}', 422, "offsets"),
    "strict is no word": (b'{"text": "a", "strict": "yes"}', 422, "strict"),
    "no documents": (b'{"documents": []}', 422, "documents"),
    "documents is no list": (b'{"documents": "a"}', 422, "documents"),
    "text and documents": (b'{"documents": [{"text": "a"}], "text": "b"}', 422, "text: unknown key"),
    "lone surrogate": (b'{"text": "a\\ud800b"}', 422, "U+D800 at 1"),
    "lone surrogate in a key": (b'{"text": "a", "\\ud800": 1}', 422, "unicode"),
    "too long a text": (json.dumps({"text": "a" * 20_001}).encode(), 413, "20001 characters, at most 20000"),
    "too long a target": (json.dumps({"text": "a", "target": "a" * 10_001}).encode(), 413, "10001 characters"),
    "too many documents": (json.dumps({"documents": [{"text": ""}] * 301}).encode(), 413, "at most 300"),
    "50 MB": (b'{"text": "' + b"a" * 50_000_000 + b'"}', 413, "longer than 2000000 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_clearly(service: Running, name: str) -> None:
    raw, status, words = BAD[name]
    with service.client() as client:
        reply = client.post("/v1/tag", content=raw, headers=JSON)
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
        body = reply.json()
        assert body["status"] == status and words in body["detail"], body["detail"]
        assert body["type"].startswith("urn:standpoint:problem:")
        assert client.post("/v1/tag", json={"text": "Kabul."}).status_code == 200
    assert service.metric("standpoint_body_bytes") == service.metric("standpoint_queue_characters") == 0


def test_other_paths_methods_and_types_are_problems_too(service: Running) -> None:
    with service.client() as client:
        for method, path, headers, status in [
            ("GET", "/nothing", {}, 404),
            ("GET", "/v1/tag", {}, 405),
            ("POST", "/v1/tag", {"Content-Type": "text/plain"}, 415),
            ("POST", "/v1/tag", {}, 415),
            ("POST", "/v1/tag?ofsets=utf16", NDJSON, 422),
            ("POST", "/v1/tag?offsets=words", NDJSON, 422),
        ]:
            reply = client.request(method, path, headers=headers, content=b'{"text": "a"}')
            assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
            assert reply.json()["status"] == status
        assert client.get("/v1/tag").headers["allow"] == "POST"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.sampled_from(Offsets))
def test_offsets_count_what_was_asked_for(text: str, unit: Offsets) -> None:
    place = converter(text, unit)
    for offset in range(len(text) + 1):
        counted = {
            Offsets.CODE_POINTS: offset,
            Offsets.UTF16: len(text[:offset].encode("utf-16-le")) // 2,
            Offsets.BYTES: len(text[:offset].encode()),
        }
        assert place(offset) == counted[unit]


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["Kabul ", "🙂", "طالبان ", "é", "𝒜 ", "VOA. "]), min_size=1, max_size=30).map("".join))
def test_spans_are_the_same_text_in_every_unit(service: Running, tagger: Tagger, text: str) -> None:
    wanted = [text[one.start : one.end] for one in tagger.tag(text).spans("entity")]
    raw = {Offsets.CODE_POINTS: text, Offsets.UTF16: text.encode("utf-16-le"), Offsets.BYTES: text.encode()}
    for unit in Offsets:
        spans = service.tag(text=text, offsets=unit).json()["labels"]["entity"]
        width = 2 if unit is Offsets.UTF16 else 1
        pieces = [raw[unit][width * one["start"] : width * one["end"]] for one in spans]
        decode = {Offsets.CODE_POINTS: str, Offsets.UTF16: lambda b: b.decode("utf-16-le"), Offsets.BYTES: bytes.decode}
        assert [decode[unit](piece) for piece in pieces] == wanted


def test_metrics_can_be_read_and_count(service: Running) -> None:
    names = ["requests_total", "documents_total", "tokens_total", "characters_total", "batch_documents_sum"]
    padding = service.metric("standpoint_padding_tokens_total")
    service.tag(documents=[{"text": "Kabul."}, {"text": "The Taliban met in Kabul, and Reuters said so. " * 3}])
    assert service.metric("standpoint_padding_tokens_total") > padding
    before = {name: service.metric(f"standpoint_{name}") for name in names}
    service.tag(text=TEXTS[0], target=TARGET)
    after = {name: service.metric(f"standpoint_{name}") for name in names}
    assert after["characters_total"] - before["characters_total"] == len(TEXTS[0])
    for name in ("documents_total", "batch_documents_sum", "requests_total"):
        assert after[name] - before[name] >= 1
    assert after["tokens_total"] > before["tokens_total"]
    with service.client() as client:
        families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    for name in (
        "request_seconds", "queue_seconds", "batch_seconds", "batch_fill_ratio", "queue_documents", "queue_characters"
    ):  # fmt: skip
        assert families[f"standpoint_{name}"].samples
    assert service.metric("standpoint_truncations_total") == 0
    assert service.api is not None
    labels = families["standpoint_model_info"].samples[0].labels
    assert labels == {"version": service.api.models.current.version, "engine": "torch"}


def test_a_letter_that_is_not_read_is_noticed(tagger: Tagger) -> None:
    for text in TEXTS:
        windows = tagger.encode([Document(id="a", text=text)])
        assert not truncated(text, windows)
        if len(windows) > 2:
            assert truncated(text, windows[1:]) and truncated(text, windows[:-1])
            assert truncated(text, windows[:1] + windows[2:])
    assert truncated("a", [])


def test_a_long_document_lets_short_ones_in_between(service: Running) -> None:
    """It is tagged in a thread of its own, so a short document that comes later is answered before."""
    done: list[str] = []

    def ask(name: str, text: str) -> None:
        service.tag(text=text)
        done.append(name)

    long = "Fighters of al-Shabab crossed the border on 3 May. " * 390
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, "long", long)
        while not service.metric("standpoint_queue_documents"):
            pass
        pool.submit(ask, "short", "Kabul.").result()
        first.result()
    assert done == ["short", "long"]


def test_health_and_model(service: Running) -> None:
    with service.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}
        state = client.get("/v1/model").json()
    assert service.api is not None
    assert state["version"] == service.api.models.current.version and state["earlier"] is None


def test_the_page_asks_for_labels_as_html(service: Running) -> None:
    with service.client() as client:
        reply = client.post(
            "/v1/tag", json={"text": "<script>alert(1)</script> Kabul\x00"}, headers={"Accept": "text/html"}
        )
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    with service.client() as client:
        for accept in ("application/json, text/html;q=0", "text/html, image/gif, */*; q=0.2", "*/*"):
            other = client.post("/v1/tag", json={"text": "Kabul"}, headers={"Accept": accept})
            assert other.headers["content-type"] == "application/json"
    assert "<article" in reply.text and "<script" not in reply.text and "U+0000" in reply.text
