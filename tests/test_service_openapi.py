"""The description of the service: it is valid, its examples are answered as it says, and fuzzing finds nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from service_help import ADMIN, USER, Running, bearer, in_thread, make_checkpoint

from inference.config import TaggerConfig
from inference.service import messages
from inference.service.access import Access
from inference.service.openapi import description
from inference.service.problems import Kind

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, encoders: Callable[[str], Path], config: TaggerConfig
) -> Iterator[Running]:
    path = make_checkpoint(tmp_path_factory.mktemp("openapi") / "tagger", encoders("modernbert"), config, 1)
    with in_thread(path, access=Access([USER], [ADMIN])) as running:
        yield running


@pytest.fixture(scope="module")
def api(service: Running) -> Any:
    return schemathesis.openapi.from_url(f"{service.url}/openapi.json")


PATHS = [(path, method) for path, methods in description()["paths"].items() for method in methods]


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data(), mode=st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
def test_fuzzing_finds_no_answer_that_is_not_described(api: Any, data: st.DataObject, mode: GenerationMode) -> None:
    case = data.draw(api["/v1/tag"]["post"].as_strategy(generation_mode=mode))
    case.call_and_validate(headers=bearer(ADMIN), checks=CHECKS)


@pytest.mark.parametrize(("path", "method"), PATHS, ids=lambda value: value)
@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_path_answers_as_described(api: Any, path: str, method: str, data: st.DataObject) -> None:
    case = data.draw(api[path][method].as_strategy())
    case.call_and_validate(headers=bearer(ADMIN), checks=CHECKS)
    anonymous = case.call()
    assert anonymous.status_code == (401 if path.startswith("/v1/") else 200)


def test_examples_are_answered_as_described(service: Running) -> None:
    content = description()["paths"]["/v1/tag"]["post"]["requestBody"]["content"]
    with service.client(headers=bearer(USER)) as client:
        for name, example in content["application/json"]["examples"].items():
            reply = client.post("/v1/tag", json=example["value"])
            model = messages.TaggedDocument if name == "OneRequest" else messages.ManyAnswer
            assert reply.status_code == 200
            model.model_validate_json(reply.content)
        stream = content["application/x-ndjson"]["example"].encode()
        reply = client.post("/v1/tag", content=stream, headers={"Content-Type": "application/x-ndjson"})
        assert all("labels" in json.loads(line) for line in reply.text.splitlines())


def test_every_path_is_described_and_every_example_is_valid(service: Running) -> None:
    told = description()
    assert service.api is not None
    here = {(one.method.lower(), one.path) for one in service.api.endpoints()}
    assert {(method, path) for path, methods in told["paths"].items() for method in methods} == here
    for model in (messages.OneRequest, messages.ManyRequest, messages.TaggedDocument, messages.ManyAnswer):
        for example in told["components"]["schemas"][model.__name__]["examples"]:
            model.model_validate(example)


def test_kinds_of_problems_have_their_own_names() -> None:
    assert len({kind.uri for kind in Kind}) == len(Kind) == len({kind.value for kind in Kind})
