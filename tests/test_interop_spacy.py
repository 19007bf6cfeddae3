"""The spaCy component: the tagger's labels on spaCy's tokens, by the entry point, in pipes and processes, saved and loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from learned import TARGET, TEXT, learned

from annotations.document import Document
from annotations.errors import CheckpointError, ConfigError, DocumentError
from inference.config import TaggerConfig
from inference.tagger import Tagger

spacy = pytest.importorskip("spacy", reason="the extra `spacy` is not installed")
from spacy.tokens import Doc  # noqa: E402

import inference.interop.spacy_pipe  # noqa: E402, F401

TEXTS = [TEXT, "", " \n ", "The Taliban met in Kabul.", "😀 Officials of the NDS spoke to VOA."]


@pytest.fixture(scope="module")
def checkpoint(encoders: Callable[[str], Path], config: TaggerConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(encoders("modernbert"), config, tmp_path_factory.mktemp("spacy"))


@pytest.fixture
def nlp(checkpoint: Path) -> Any:
    """A blank pipeline with the component."""
    pipeline = spacy.blank("en")
    pipeline.add_pipe("standpoint", config={"checkpoint": str(checkpoint), "target": TARGET})
    return pipeline


def places(spans: Any) -> list[tuple[int, int, str]]:
    return [(span.start_char, span.end_char, span.label_) for span in spans]


def wanted(document: Any, layer: str) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.label) for span in document.spans(layer)]


def test_docs_have_the_taggers_labels(nlp: Any, checkpoint: Path) -> None:
    tagger = Tagger.load(checkpoint)
    for text in TEXTS:
        doc, document = nlp(text), tagger.tag(text, target=TARGET)
        assert places(doc.ents) == wanted(document, "entity")
        assert places(doc.spans["stance"]) == wanted(document, "stance")
        assert list(doc.spans["standpoint"]) == []
        assert doc.has_annotation("ENT_IOB")
        kept = doc._.standpoint
        assert (kept["target"], kept["unaligned"]) == (TARGET, {"entity": 0, "stance": 0})
        assert set(kept["labels"]) == set(document.labels)
        for layer in ("entity", "stance"):
            assert kept["labels"][layer] == [
                {"start": one.start, "end": one.end, "label": one.label, "score": pytest.approx(one.score, abs=1e-5)}
                for one in document.spans(layer)
            ]
    assert len(nlp(TEXT).ents) == 3 and nlp(TEXT)._.standpoint["labels"]["document"]["label"] == "neutral"


def test_spans_that_are_no_tokens_are_widened_and_counted(nlp: Any) -> None:
    words = TEXT.split(" ")
    doc = nlp(Doc(nlp.vocab, words=words, spaces=[True] * (len(words) - 1) + [False]))
    assert doc.text == TEXT
    assert [entity.text for entity in doc.ents] == ["Taliban"]
    assert [(span.text, span.label_) for span in doc.spans["standpoint"]] == [("Kabul.", "LOCATION"), ("VOA.", "MEDIA")]
    assert doc._.standpoint["unaligned"] == {"entity": 2, "stance": 0}
    assert [TEXT[one["start"] : one["end"]] for one in doc._.standpoint["labels"]["entity"]] == [
        "Taliban",
        "Kabul",
        "VOA",
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_streams_keep_their_order(nlp: Any, processes: int) -> None:
    alone = [places(nlp(text).ents) for text in TEXTS]
    found = list(nlp.pipe(((text, place) for place, text in enumerate(TEXTS * 3)), as_tuples=True, n_process=processes))
    assert [place for _, place in found] == list(range(3 * len(TEXTS)))
    assert [places(doc.ents) for doc, _ in found] == alone * 3
    assert all(doc._.standpoint["target"] == TARGET for doc, _ in found)


def test_a_docs_own_target_counts(nlp: Any) -> None:
    doc = nlp.make_doc(TEXT)
    doc._.standpoint_target = "Nobody met."
    assert nlp(doc)._.standpoint["target"] == "Nobody met."
    plain = spacy.blank("en")
    plain.add_pipe("standpoint", config={"checkpoint": nlp.get_pipe_config("standpoint")["checkpoint"]})
    doc = plain(TEXT)
    assert (
        doc._.standpoint["target"] is None
        and set(doc._.standpoint["labels"]) == {"entity"}
        and "stance" not in doc.spans
    )


def test_a_blank_target_leaves_the_components_own(nlp: Any) -> None:
    doc = nlp.make_doc(TEXT)
    doc._.standpoint_target = "  "
    assert nlp(doc)._.standpoint["target"] == TARGET


def test_a_doc_that_is_read_again_keeps_nothing_of_before(nlp: Any) -> None:
    plain = spacy.blank("en")
    plain.add_pipe("standpoint", config={"checkpoint": nlp.get_pipe_config("standpoint")["checkpoint"]})
    doc = nlp(TEXT)
    assert list(doc.spans["stance"])
    assert "stance" not in plain.get_pipe("standpoint")(doc).spans


def test_span_groups_of_others_stay(nlp: Any, checkpoint: Path) -> None:
    plain = spacy.blank("en")
    plain.add_pipe("standpoint", config={"checkpoint": str(checkpoint)})
    doc = plain.make_doc(TEXT)
    for name in ("stance", "document"):
        doc.spans[name] = [doc[0:1]]
    assert {"stance", "document"} <= set(plain.get_pipe("standpoint")(doc).spans)


def test_what_another_component_found_stays(nlp: Any) -> None:
    component, doc = nlp.get_pipe("standpoint"), nlp(TEXT)
    doc._.standpoint = {"target": None, "labels": {"topic": [], "stance": []}, "unaligned": {}}
    doc.spans["topic"] = [doc[0:1]]
    assert {"topic", "stance"} <= set(component(doc).spans)


def test_a_layer_that_the_new_reading_lacks_is_cleared(nlp: Any) -> None:
    """Such as spans towards a target, where the new reading has none."""
    doc = nlp(TEXT)
    assert doc.ents and "standpoint" in doc.spans
    nlp.get_pipe("standpoint")._annotated(doc, Document(id="x", text=TEXT))
    assert not doc.ents and not {"standpoint", "stance"} & set(doc.spans)


def test_a_doc_that_cannot_be_tagged_goes_to_the_error_handler(nlp: Any) -> None:
    docs = [nlp.make_doc(text) for text in TEXTS]
    docs[1]._.standpoint_target = "too long " * 200
    with pytest.raises(DocumentError, match="shorten it"):
        list(nlp.pipe(docs))
    told: list[str] = []
    nlp.set_error_handler(lambda name, component, docs, error: told.append(str(error)))
    assert [doc.text for doc in nlp.pipe(docs)] == [TEXTS[0], *TEXTS[2:]]
    assert len(told) == 1 and "shorten it" in told[0]


def test_a_target_that_is_no_text_goes_to_the_error_handler(nlp: Any) -> None:
    targets = [None, float("nan"), 5, 0, [TARGET], {}]
    docs = [nlp.make_doc(TEXT) for _ in targets]
    for doc, target in zip(docs, targets, strict=True):
        doc._.standpoint_target = target
    with pytest.raises(DocumentError, match=r"doc 1: `doc\._\.standpoint_target` is of type float; set it to a text"):
        list(nlp.pipe(docs))
    told: list[Exception] = []
    nlp.set_error_handler(lambda name, component, docs, error: told.append(error))
    assert list(nlp.pipe(docs)) == docs[:1]
    assert [type(error) for error in told] == [DocumentError] * 5


def test_pipelines_and_docs_are_saved_and_loaded(nlp: Any, tmp_path: Path) -> None:
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    first, second = nlp(TEXT), loaded(TEXT)
    assert second._.standpoint == first._.standpoint and places(second.ents) == places(first.ents)
    again = Doc(loaded.vocab).from_bytes(first.to_bytes())
    assert again._.standpoint == first._.standpoint
    assert places(again.spans["stance"]) == places(first.spans["stance"])
    with pytest.raises(CheckpointError, match="no readable tagger config"):
        spacy.load(tmp_path / "pipeline", config={"components": {"standpoint": {"checkpoint": str(tmp_path / "gone")}}})


def test_wrong_settings_are_told_at_once(checkpoint: Path, tmp_path: Path) -> None:
    pipeline = spacy.blank("en")
    for config, error, told in (
        ({"checkpoint": str(tmp_path)}, CheckpointError, "no readable tagger config"),
        ({"checkpoint": str(checkpoint), "engine": "torhc"}, ConfigError, "did you mean 'torch'"),
        ({"checkpoint": str(checkpoint), "layer": "entitty"}, ConfigError, "did you mean 'entity'"),
        ({"checkpoint": str(checkpoint), "layer": "stance"}, ConfigError, "no layer of spans"),
        ({}, Exception, "checkpoint"),
    ):
        with pytest.raises(error, match=told):
            pipeline.add_pipe("standpoint", config=config)
    assert pipeline.pipe_names == []


def test_the_entry_point_is_found_in_a_fresh_process(checkpoint: Path, tmp_path: Path) -> None:
    """As an installation of pyproject.toml has it, whatever is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [f"{name} = {place}" for name, place in project["entry-points"]["spacy_factories"].items()]
    folder = tmp_path / "an_installation-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: an-installation\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("\n".join(["[spacy_factories]", *lines]) + "\n")
    code = (
        "import sys, spacy\nnlp = spacy.blank('en')\nnlp.add_pipe('standpoint', config={'checkpoint': sys.argv[1]})\n"
        "print([entity.text for entity in nlp(sys.argv[2]).ents])"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, str(checkpoint), TEXT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.stdout.strip() == "['Taliban', 'Kabul', 'VOA']"
