"""Engines: whatever runs the encoder, the answers are PyTorch's; what answers otherwise, or is damaged, is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from test_windows import ODD, TEXTS
from torch import Tensor
from typer.testing import CliRunner

from annotations.document import Document, Label
from annotations.errors import CheckpointError, ConfigError
from annotations.reading import annotated_documents
from annotations.storage import write_jsonl
from inference import checkpoint
from inference.batches import Batch, batch_sizes
from inference.checkpoint_files import WEIGHTS
from inference.config import TaggerConfig
from inference.engines import artefacts, choice, export, onnx, openvino
from inference.engines.engine import TARGET_TOKENS, Encode, Engine
from inference.model import Logits
from inference.service.config import ServiceConfig
from inference.service.metrics import Metrics
from inference.service.models import Models
from inference.service.running import starter
from inference.service.worker import Worker
from inference.tagger import Encoded, Tagger
from inference.verification import record, verify
from training.cli import app
from training.lineage import LINEAGE, text_hash

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
MADE = ("onnx", "openvino", "openvino-int8", "openvino-int8-static")


def bare(documents: list[Document]) -> list[Document]:
    return [document.with_labels({}) for document in documents]


def labels(documents: list[Document]) -> list[object]:
    return [document.without_scores() for document in documents]


@pytest.fixture(scope="module")
def gold(config: TaggerConfig) -> list[Document]:
    return annotated_documents([ROOT / "annotations" / "gold.json"], config.label_schema)[0][:4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tagger: Tagger, gold: list[Document]) -> Path:
    """A checkpoint with heads that are random and sure of themselves, and artefacts of four engines."""
    made = tmp_path_factory.mktemp("engines") / "checkpoint"
    checkpoint.save(made, tagger.engine.model, tagger.tokenizer)
    model, tokenizer, _ = checkpoint.load(made)
    with torch.no_grad():
        for heads in (model.span_heads, model.sentence_heads, model.vote_heads):
            for weights in heads.parameters():
                weights.mul_(50)
    checkpoint.save(made, model, tokenizer)
    own = Tagger.load(made, engine="torch").tag_all(bare(gold))
    for name in MADE:
        found = export.export(made, name, own, most_drop=30)
        assert found.furthest_logit <= (30 if "int8" in name else 1e-3)
        assert all(before == 100 for before, _ in found.scores.values()), "PyTorch agrees with itself"
        assert set(found.scores) == {"entity", "stance", "document"}
        assert found.documents == 4
    return made


@pytest.fixture(scope="module")
def reference(folder: Path) -> Tagger:
    return Tagger.load(folder, engine="torch")


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def exact(request: pytest.FixtureRequest, folder: Path) -> Tagger:
    return Tagger.load(folder, engine=request.param)


def test_the_gold_articles_get_the_same_labels(exact: Tagger, reference: Tagger, gold: list[Document]) -> None:
    assert labels(exact.tag_all(bare(gold))) == labels(reference.tag_all(bare(gold)))
    assert any(document.spans("entity") for document in reference.tag_all(bare(gold)))


@settings(max_examples=40)
@given(text=TEXTS)
def test_any_text_gets_the_same_labels(text: str, exact: Tagger, reference: Tagger) -> None:
    some = [Document(id="a", text=text, target="A claim."), Document(id="b", text=text + " more")]
    assert labels(exact.tag_all(some)) == labels(reference.tag_all(some))


@pytest.mark.parametrize("name", ["torch", *MADE])
def test_neighbours_change_nothing(name: str, folder: Path) -> None:
    tagger = Tagger.load(folder, engine=name)
    assert tagger.engine.name == name
    texts = [*ODD, "The Taliban met al-Qaeda in Kabul on Friday.", "a" * 300]
    documents = [Document(id=str(n), text=text, target="A claim.") for n, text in enumerate(texts)]
    alone = [tagger.tag(document) for document in documents]
    for together in (
        tagger.tag_all(documents),
        [*tagger.tag(documents)],
        tagger.tag_encoded([Encoded(one, tagger.encode([one])) for one in documents]),
        tagger.tag_all(documents[::-1])[::-1],
    ):
        assert labels(together) == labels(alone)


@pytest.mark.parametrize("name", MADE)
def test_threads_share_a_tagger(name: str, folder: Path, gold: list[Document]) -> None:
    tagger = Tagger.load(folder, engine=name)
    wanted = labels(tagger.tag_all(bare(gold)))
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: tagger.tag_all(bare(gold)), range(8)):
            assert labels(found) == wanted


def bound() -> set[int]:
    """This process's threads that may not run on every core it has."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            if os.sched_getaffinity(int(thread.name)) != os.sched_getaffinity(os.getpid()):
                found.add(int(thread.name))
    return found


@pytest.mark.parametrize("name", MADE)
def test_no_thread_is_bound_to_a_core(name: str, folder: Path, gold: list[Document]) -> None:
    # Other tests of this process may have left some.
    tagger, before = Tagger.load(folder, engine=name), bound()
    with ThreadPoolExecutor(1) as pool:
        tagging = pool.submit(lambda: [tagger.tag_all(bare(gold)) for _ in range(5)])
        while not tagging.done():
            assert bound() <= before, "two processes would share a core, and leave others idle"


@pytest.mark.parametrize("name", MADE)
def test_many_batches_are_encoded_side_by_side(
    name: str, folder: Path, gold: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    wanted = labels(Tagger.load(folder, engine=name).tag_all(bare(gold[:1])))
    tagger = Tagger.load(folder, engine=name)
    load, asked = tagger.engine._load, []
    assert load is not None
    threads: set[str] = set()

    def watched(streams: int) -> Encode:
        asked.append(streams)
        encode = load(streams)

        def run(ids: Tensor, mask: Tensor) -> Tensor:
            threads.add(threading.current_thread().name)
            return encode(ids, mask)

        return run

    monkeypatch.setattr(tagger.engine, "_load", watched)
    found = tagger.tag_all(bare(gold))
    assert labels(found)[:1] == wanted
    assert labels(tagger.tag_all(bare(gold))) == labels(found)
    assert labels(tagger.tag_all(bare(gold[:1]) + bare(gold[:1]))) == wanted * 2
    assert asked == [2] and len(threads) >= 2

    def broken(ids: Tensor, mask: Tensor) -> Tensor:
        raise RuntimeError("no memory")

    monkeypatch.setattr(tagger.engine, "_several", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        tagger.tag_all(bare(gold))


def test_a_few_windows_are_shared_out_among_the_cores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported, plain = (Tagger.load(folder, engine=name) for name in ("openvino", "torch"))
    text = " ".join(["He came from Kabul."] * 12)
    window = exported.encode([Document(id="a", text=text)])[0]
    most, few = exported.config.batch_tokens, 800 // len(window.ids)
    for cores, tagger, count, wanted in (
        (2, exported, few, few * len(window.ids) // 4),
        (2, exported, few // 2, most),
        (2, exported, 10 * few, most),
        (2, plain, few, most),
        (1, exported, few, most),
    ):
        monkeypatch.setattr(torch, "get_num_threads", lambda cores=cores: cores)
        lengths = [len(window.ids)] * count
        assert tagger.engine.sizes(lengths, most) == batch_sizes(lengths, wanted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    some = [Document(id=str(number), text=f"{number} {text[:120]}") for number in range(6)]
    assert len(exported.read(some)[1]) > len(plain.read(some)[1])
    found = labels(exported.tag_all(some))
    assert found == labels(plain.tag_all(some))
    fresh = Tagger.load(folder, engine="openvino").engine
    assert fresh.sizes([40, 40], 100) == [2], "for two windows, what reads side by side would be loaded"
    exported.engine.load_all()
    sizes = exported.engine.sizes
    assert [sizes([40], 100), sizes([40, 40], 100), sizes([40, 40, 32, 24], 100)] == [[1], [1, 1], [2, 2]]
    assert sizes([40, 40, 32, 24], 70) == [1, 1, 2]
    assert [labels(exported.tag_all([one]))[0] for one in some] == found
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    assert sizes([40] * 7, 1000) == [7] and sizes([40] * 8, 1000) == [1] * 8


def test_few_documents_are_measured_on_the_same_batches(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    made = shutil.copytree(folder, tmp_path / "made")
    plain = Tagger.load(made, engine="torch")
    some = [Document(id=str(n), text=f"{n}. He came from Kabul, and met her.", target="A claim.") for n in range(30)]
    own = plain.tag_all(some)
    assert len(plain.read(own)[1]) < len(Tagger.load(made, engine="openvino").read(own)[1])
    found = export.export(made, "openvino", own)
    assert found.documents == len(some) and found.different == 0


def test_widths_are_those_that_an_engine_reads_fast_and_the_encoder_at_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, exported = (Tagger.load(folder, engine=name) for name in ("torch", "openvino"))
    some = [Document(id="a", text="Kabul. " * 7, target="He came."), Document(id="b", text="He came from Kabul.")]
    shapes = [
        {tensor.shape[1] for batch, _ in one.read(some)[1] for tensor in (batch.input_ids, batch.target_ids)}
        for one in (plain, exported)
    ]
    assert any(width % 8 for width in shapes[0]) and not any(width % 8 for width in shapes[1])
    assert labels(exported.tag_all(some)) == labels(plain.tag_all(some))
    for most, step in ((512, 8), (300, 1)):
        monkeypatch.setattr(plain.engine.model.encoder.config, "max_position_embeddings", most)
        assert Engine(plain.engine.model, step=8).step == step


@pytest.mark.parametrize(("name", "before"), [("openvino", 4), ("torch", 1)])
def test_callers_take_turns(
    name: str, before: int, folder: Path, gold: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    engine = (tagger := Tagger.load(folder, engine=name)).engine
    many, few = (tagger.batches(tagger.encode(some)) for some in (bare(gold), [Document(id="a", text="He came.")]))
    wanted = engine.answers(many)
    assert len(many) >= 2 * before and len(few) == 1
    begun, both_wait, read = [], threading.Event(), engine.read

    def watched(batch: Batch, encode: Encode) -> Logits:
        begun.append(batch)
        assert both_wait.wait(60)
        return read(batch, encode)

    monkeypatch.setattr(engine, "read", watched)
    long, short = engine.start(many), engine.start(few)
    both_wait.set()
    found = [one.result(60) for one in long]
    assert short[0].result(60) and len(begun) == len(many) + 1
    assert next(place for place, batch in enumerate(begun) if batch is few[0]) == before
    for one, same in zip(found, wanted, strict=True):
        assert torch.allclose(one.tokens["entity"], same.tokens["entity"], atol=1e-4)


def test_an_error_of_one_batch_is_its_own(folder: Path, gold: list[Document], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    engine = (tagger := Tagger.load(folder, engine="openvino")).engine
    many, read = tagger.batches(tagger.encode(bare(gold))), engine.read

    def failing(batch: Batch, encode: Encode) -> Logits:
        if batch is many[1]:
            raise MemoryError("too large")
        return read(batch, encode)

    monkeypatch.setattr(engine, "read", failing)
    started = engine.start(many)
    with pytest.raises(MemoryError, match="too large"):
        started[1].result(60)
    assert all(one.result(60) for place, one in enumerate(started) if place != 1)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_program_that_leaves_a_stream_unread_ends(engine: str, folder: Path) -> None:
    program = """
import concurrent.futures.thread, sys, time, torch
import inference.tagger
torch.set_num_threads(2)
inference.tagger.LOOK_AHEAD = 8_000
tagger = inference.tagger.Tagger.load(sys.argv[1], engine=sys.argv[2])
engine, calls, held = tagger.engine, [], set()
start, read = engine.start, engine.read

def started(batches):
    if calls:
        concurrent.futures.wait(calls[0])
        held.update(map(id, batches))
    calls.append(start(batches))
    return calls[-1]

def reading(batch, encode):
    while id(batch) in held and not concurrent.futures.thread._shutdown:
        time.sleep(0.01)
    return read(batch, encode)

engine.start, engine.read = started, reading
stream = tagger.tag(f"He came {n}. " * 20 for n in range(200))
print(next(stream).text[:7], len(calls) > 1 and min(map(len, calls)) > engine.at_once)
"""
    command = [sys.executable, "-c", program, folder, engine]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (told.returncode, told.stdout) == (0, "He came True\n"), told.stderr


def test_readers_of_one_core_each_leave_torch_its_threads_elsewhere(folder: Path) -> None:
    program = """
import sys, threading, torch
from annotations.document import Document, Label
from inference.tagger import Tagger
torch.set_num_threads(3)
tagger = Tagger.load(sys.argv[1], engine="openvino")
read, found = tagger.engine.read, []
tagger.engine.read = lambda *given: (found.append(torch.get_num_threads()), read(*given))[1]
many = tagger.batches(tagger.encode([Document(id=str(n), text="He came from Kabul. " * 60) for n in range(40)]))
assert len(many) > tagger.engine.at_once == 6
tagger.engine.answers(many)
assert len(found) == len(many), found
later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
later.start(); later.join()
print(set(found[:-1]), found[-1], torch.get_num_threads())
"""
    told = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, timeout=120)
    assert told.stdout.split() == ["{1}", "3", "3"], told.stderr


@pytest.mark.parametrize("name", MADE)
def test_a_service_reads_side_by_side_from_a_copy_that_is_gone(
    name: str,
    folder: Path,
    gold: list[Document],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    start = starter(ServiceConfig(engine=name), Metrics(), print)
    work = Models(folder, start, print).current.work
    assert isinstance(work, Worker)
    served = work.tagger
    many = bare(gold)
    assert len(served.read(many)[1]) >= served.engine.at_once == 4
    assert labels(served.tag_all(many)) == labels(Tagger.load(folder, engine=name).tag_all(many))
    assert not caplog.records, "all batches were read one after another"
    assert served.engine.at_once == 4


def _another(place: Path) -> None:
    # Never over a file: it is mapped.
    shutil.rmtree(place)
    shutil.copytree(place.parent / "openvino-int8", place)


def _cut(place: Path) -> None:
    (place / "part").write_bytes(b"0")
    (place / "part").replace(place / "encoder.bin")


CHANGES: dict[str, Callable[[Path], object]] = {"gone": shutil.rmtree, "another": _another, "cut short": _cut}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changed_since_it_was_loaded_is_not_read(
    change: Callable[[Path], object],
    folder: Path,
    gold: list[Document],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    own = shutil.copytree(folder, tmp_path / "checkpoint")
    tagger, warm = (Tagger.load(own, engine="openvino") for _ in range(2))
    wanted = labels(warm.tag_all(bare(gold)))
    change(own / "engines" / "openvino")
    for one, told in ((warm, 0), (tagger, 1), (tagger, 1)):
        assert labels(one.tag_all(bare(gold))) == wanted
        assert caplog.text.count("batches are read one after another") == told


def test_the_fastest_that_is_there_is_taken(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"architecture": "x86_64", "avx512_vnni": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert Tagger.load(folder).engine.name == "openvino"
    assert Tagger.load(folder, engine="openvino-int8").engine.name == "openvino-int8"
    told["avx512_vnni"] = True
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in ("openvino-int8-static", "openvino-int8"):
        assert Tagger.load(copy).engine.name == name
        shutil.rmtree(artefacts.folder(copy, name))
    assert Tagger.load(copy).engine.name == "openvino"
    shutil.copytree(artefacts.folder(copy, "openvino"), artefacts.folder(copy, "openvino-bf16"))
    monkeypatch.setattr(openvino, "has_bf16", lambda: True)
    told |= {"avx512_bf16": True, "cpu_name": "Intel Xeon"}
    assert Tagger.load(copy).engine.name == "openvino", "there AVX-512 BF16 is slower than 32 bits"
    told["cpu_name"] = "AMD EPYC"
    assert Tagger.load(copy).engine.name == "openvino-bf16"
    shutil.rmtree(copy / artefacts.FOLDER)
    assert Tagger.load(copy).engine.name == "torch"


def test_an_artefact_of_other_weights_is_not_taken(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    model, tokenizer, _ = checkpoint.load(copy)
    with torch.no_grad():
        next(model.span_heads.parameters()).add_(1)
    checkpoint.save(copy, model, tokenizer)
    assert Tagger.load(copy).engine.name == "torch"
    assert "was made from other weights" in caplog.text and "another engine is taken" in caplog.text
    with pytest.raises(CheckpointError, match=r"other weights.*standpoint export .* --engine onnx"):
        Tagger.load(copy, engine="onnx")


def damaged(place: Path) -> Iterator[Callable[[], object]]:
    graph = place / onnx.GRAPH
    told = json.loads((place / artefacts.RECORD).read_text("utf-8"))
    yield lambda: graph.write_bytes(graph.read_bytes()[:-7])
    yield graph.unlink
    yield lambda: (place / artefacts.RECORD).write_text("{")
    yield lambda: (place / artefacts.RECORD).write_text(json.dumps({**told, "format": 9}))
    yield lambda: (place / artefacts.RECORD).write_text(json.dumps({"format": 1}))
    yield (place / artefacts.RECORD).unlink


def test_a_damaged_artefact_is_told(folder: Path, tmp_path: Path) -> None:
    for number in range(6):
        copy = shutil.copytree(folder, tmp_path / str(number))
        [*damaged(artefacts.folder(copy, "onnx"))][number]()
        with pytest.raises(CheckpointError, match=r"standpoint export .* --engine onnx"):
            Tagger.load(copy, engine="onnx")


def test_an_unreadable_graph_is_told(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    with artefacts.making(copy, "onnx") as part:
        (part / onnx.GRAPH).write_bytes(b"no graph")
        artefacts.keep(copy, "onnx", part, {})
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        Tagger.load(copy, engine="onnx")


def test_what_cannot_run_says_why(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        Tagger.load(folder, engine="openvinno")
    with pytest.raises(CheckpointError, match="no artefact of the engine 'onnx-int8'"):
        Tagger.load(folder, engine="onnx-int8")
    with pytest.raises(ConfigError, match="nothing to export"):
        export.export(folder, "torch-bf16")
    with pytest.raises(ConfigError, match="there is none"):
        export.export(folder, "tensorrt")
    with pytest.raises(ConfigError, match="accepted by its score in every layer; give documents that annotate"):
        export.export(folder, "onnx-int8")
    labelled = {"entity": (), "stance": (), "document": Label(label="neutral")}
    with pytest.raises(ConfigError, match="finds its scales on the tokens of --data, and there are none"):
        export.export(folder, "openvino-int8-static", [Document(id="a", text="", target="He came.", labels=labelled)])
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="needs a GPU"):
            Tagger.load(folder, engine="cuda-bf16")
    monkeypatch.setattr("inference.engines.openvino.has_bf16", lambda: False)
    monkeypatch.setattr(choice, "cpu_has_bf16", lambda: False)
    for name in ("openvino-bf16", "torch-bf16"):
        with pytest.raises(ConfigError, match="bfloat16"):
            Tagger.load(folder, engine=name)
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[openvino\]'"):
        Tagger.load(folder, engine="openvino")
    monkeypatch.setattr(choice, "find_spec", lambda name: True)
    monkeypatch.setattr(export, "package", lambda name: None)
    with pytest.raises(ConfigError, match=r"onnx, onnxscript; pip install '\.\[onnx\]'"):
        export.export(folder, "onnx")


def test_eight_bits_that_lose_too_much_are_refused(folder: Path, tmp_path: Path, gold: list[Document]) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("openvino*"))
    own = Tagger.load(copy, engine="torch").tag_all(bare(gold))
    with pytest.raises(CheckpointError, match=r"onnx-int8 is refused: F1 of 'entity' falls from 100\.00 to \d+\.\d\d"):
        export.export(copy, "onnx-int8", own, most_drop=0.0)
    assert [one.name for one in (copy / artefacts.FOLDER).iterdir()] == ["onnx"]
    shutil.rmtree(copy / artefacts.FOLDER)
    assert export.export(copy, "onnx-int8", own, most_drop=100).drop < 100
    assert Tagger.load(copy, engine="onnx-int8").tag("Kabul.").text == "Kabul."


def test_an_engine_that_rounds_is_measured_in_every_layer(folder: Path, gold: list[Document]) -> None:
    names = [document.with_labels({"entity": document.spans("entity")}) for document in gold]
    with pytest.raises(ConfigError, match="give documents that annotate stance, document with --data"):
        export.export(folder, "onnx-int8", names)
    for name in ("onnx", "onnx-int8"):
        empty = export.Measured(1, float("nan"), 0, 1.0, 1.0, {})
        assert list(export._reasons(name, empty, 0.3)) == ["some of its logits are no numbers"]


def test_a_precision_that_was_not_measured_is_not_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    loaded: list[bool] = []
    contents: set[str | None] = set()
    load = openvino.load
    monkeypatch.setattr(
        openvino, "load", lambda place, streams, bf16: (loaded.append(bf16), load(place, streams, bf16=False))[1]
    )
    monkeypatch.setattr(openvino, "has_bf16", lambda: True)
    record_file = artefacts.folder(copy, "openvino-int8") / artefacts.RECORD
    told = json.loads(record_file.read_text())
    for measured in (False, True):
        record_file.write_text(json.dumps({**told, "bf16": measured}))
        Tagger.load(copy, engine="openvino-int8")
        assert loaded[-1] is measured
        contents.add(artefacts.content(copy, "openvino-int8"))
    assert len(contents) == 2, "another precision is another artefact"


def test_very_many_targets_are_encoded_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = Tagger.load(folder, engine="torch")
    targets = [f"{'The report of Kabul is true. ' * (number % 7)}It is {number}." for number in range(300)]
    documents = [Document(id=str(place), text="Officials denied it.", target=one) for place, one in enumerate(targets)]
    alone = [tagger.tag(document) for document in documents[:40]]
    sizes: list[int] = []
    encode = tagger.engine._encode
    monkeypatch.setattr(tagger.engine, "_encode", lambda ids, mask: (sizes.append(ids.numel()), encode(ids, mask))[1])
    together = list(tagger.tag(documents))
    assert max(sizes) <= TARGET_TOKENS < sum(sizes)
    assert labels(together[:40]) == labels(alone)


def test_an_engine_in_32_bits_that_answers_otherwise_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    before = (artefacts.folder(copy, "openvino") / artefacts.RECORD).read_bytes()
    kind = choice.ENGINES["openvino"]

    def load(place: Path, streams: int) -> Encode:
        encode = kind.load(place, streams)
        return lambda ids, mask: encode(ids, mask) * 1.1

    monkeypatch.setitem(choice.ENGINES, "openvino", kind._replace(load=load))
    with pytest.raises(CheckpointError, match=r"openvino is refused: logits are up to"):
        export.export(copy, "openvino")
    assert (artefacts.folder(copy, "openvino") / artefacts.RECORD).read_bytes() == before, "the earlier artefact stays"


def test_the_command_and_the_weights_beside(folder: Path, gold: list[Document], tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("engines"))
    (copy / LINEAGE).write_text(json.dumps({"texts": [text_hash(gold[0].text)], "texts_before": []}))
    record(copy)
    weights = (copy / WEIGHTS).read_bytes()
    write_jsonl(tmp_path / "gold.jsonl", [gold[0], Document(id="new", text="Nobody met.", labels={"entity": ()})])
    result = CliRunner().invoke(app, ["export", str(copy), "--engine", "onnx", "--data", str(tmp_path / "gold.jsonl")])
    assert result.exit_code == 0, result.output
    assert "0 with other labels" in result.stdout
    assert "1 of 2 documents of --data are among those that the tagger learned from" in result.stderr
    assert (copy / WEIGHTS).read_bytes() == weights
    assert verify(copy).sound, "an engine beside the weights is no change of the checkpoint"
    assert Tagger.load(copy).engine.name == "onnx"
    result = CliRunner().invoke(app, ["export", str(copy), "--engine", "onnx-int8"])
    assert result.exit_code == 2 and "--data" in result.stderr
