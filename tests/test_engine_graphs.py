"""What is made of an exported graph before a library runs it: cheaper, and the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import ModernBertConfig, ModernBertModel

from annotations.document import Document
from inference.checkpoint import from_encoder
from inference.config import TaggerConfig
from inference.engines import export, onnx, openvino
from inference.engines.graph import fold_scales, part_products
from inference.tagger import Tagger

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")


class Cut(nn.Module):
    """Two products that are only cut into parts, and one that is also used whole."""

    def __init__(self) -> None:
        super().__init__()
        self.halved, self.viewed, self.whole = (nn.Linear(6, 12, bias=False) for _ in range(3))

    def forward(self, given: Tensor) -> Tensor:
        left, right = self.halved(given).split([5, 7], -1)
        one, _, three = self.viewed(given).view(2, 4, 3, 2, 2).unbind(-3)
        whole = self.whole(given)
        return torch.cat([left, right.tanh(), one.flatten(2), three.flatten(2), whole, whole.chunk(2, -1)[1]], -1)


class Scaled(nn.Module):
    """Two normalizations that only products read, and three that more depends on: a sum, a bias, the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.normals = nn.ModuleList(nn.LayerNorm(6, bias=number == 3) for number in range(5))
        for normal in self.normals:
            nn.init.uniform_(normal.weight, 0.2, 3)
        self.products = nn.ModuleList(nn.Linear(6, 6, bias=False) for _ in range(5))

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor]:
        one, two, three, four, five = (normal(given) for normal in self.normals)
        first, second, third, fourth, fifth = self.products
        read = first(one) + second(one) + third(two) + fourth(three) + three + fifth(four)
        return read, five


def graph_of(module: nn.Module, given: Tensor) -> Any:
    with onnx.quiet():
        program = torch.onnx.export(module, (given,), dynamo=True, opset_version=onnx.OPSET, verbose=False)
    assert program is not None
    return program


def answers(program: Any, path: Path, given: Tensor) -> list[Tensor]:
    import onnxruntime

    program.save(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(one) for one in session.run(None, {session.get_inputs()[0].name: given.numpy()})]


@pytest.fixture(scope="module")
def graph(tagger: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ModernBERT's."""
    made = tmp_path_factory.mktemp("graph") / onnx.GRAPH
    onnx.write(tagger.engine.model.encoder, made)
    return made


def test_a_product_that_is_cut_becomes_a_product_for_each_part(graph: Path, tagger: Tagger, tmp_path: Path) -> None:
    import onnx as files

    module, given = Cut().eval(), torch.randn(2, 4, 6)
    program = graph_of(module, given)
    assert part_products(program.model) == 2 and part_products(program.model) == 0
    [found] = answers(program, tmp_path / "cut.onnx", given)
    assert torch.allclose(found, module(given), atol=1e-6)
    layers = tagger.engine.model.encoder.config.num_hidden_layers
    names = [node.op_type for node in files.load(graph).graph.node]
    assert names.count("MatMul") == 7 * layers and "Split" not in names


def test_the_scale_of_a_normalization_goes_into_the_products(graph: Path, tagger: Tagger, tmp_path: Path) -> None:
    import onnx as files

    module, given = Scaled().eval(), torch.randn(2, 4, 6)
    program = graph_of(module, given)
    assert fold_scales(program.model) == 2
    for found, wanted in zip(answers(program, tmp_path / "scaled.onnx", given), module(given), strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)
    whole = files.load(graph).graph
    known = {one.name: files.numpy_helper.to_array(one) for one in whole.initializer}
    scales = [known[node.input[1]] for node in whole.node if node.op_type == "LayerNormalization"]
    # Two in each layer, but for the first, which has one; the last of all is the answer, and that of the embeddings the stream.
    layers = tagger.engine.model.encoder.config.num_hidden_layers
    assert len(scales) == 2 * layers + 1 and sum(bool((scale == 1).all()) for scale in scales) >= 2 * layers - 1


@pytest.mark.parametrize("kind", ["full_attention", "sliding_attention"])
def test_attention_is_guarded_where_a_token_may_see_nothing(kind: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    special = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    layers = {"layer_types": ["full_attention", kind], "local_attention": 8, "num_attention_heads": 2}
    encoder = ModernBertModel(ModernBertConfig(**sizes, **special, **layers)).eval()
    onnx.write(encoder, tmp_path / onnx.GRAPH)
    guarded = not export.sees_all(encoder)
    assert guarded == (kind == "sliding_attention")
    kinds = [
        {node.get_type_name() for node in openvino._read(tmp_path / onnx.GRAPH, one).get_ops()}
        for one in (True, guarded)
    ]
    assert "IsNaN" in kinds[0], "there is nothing to be left out any more"
    assert ("IsNaN" in kinds[1]) == guarded
    ids, mask = torch.randint(5, 300, (3, 64)), torch.ones((3, 64), dtype=torch.int64)
    mask[0, 1:] = mask[1, 20:] = 0
    with torch.inference_mode():
        wanted = encoder(ids, mask).last_hidden_state[mask.bool()]
    openvino.write(tmp_path / onnx.GRAPH, tmp_path / openvino.GRAPH, guarded=guarded)
    assert torch.allclose(openvino.load(tmp_path, 1, bf16=False)(ids, mask)[mask.bool()], wanted, atol=1e-4)
    openvino.write_int8_static(tmp_path / onnx.GRAPH, tmp_path / openvino.GRAPH, ids.tolist(), guarded=guarded)
    found = openvino.load(tmp_path, 1, bf16=False)(ids, mask)[mask.bool()]
    assert float((found - wanted).norm() / wanted.norm()) < 0.2


def test_scales_are_found_on_different_windows_of_all_documents(
    tagger: Tagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SAMPLES", 4)
    documents = [Document(id=str(n), text=f"He came {n % 10} times.", target="He came.") for n in range(20)]
    found = export.samples(tagger, documents)
    windows = [tuple(window.ids) for window in tagger.encode(documents)]
    assert found == [windows[place] for place in (0, 2, 5, 7)]
    assert export.samples(tagger, documents[:3]) == windows[:3]


def test_what_is_rounded_with_fixed_scales_is_in_8_bits(graph: Path, tagger: Tagger, tmp_path: Path) -> None:
    import openvino as library

    windows = [window.ids for window in tagger.encode([Document(id="a", text="He came from Kabul. " * 20)])]
    openvino.write_int8_static(graph, tmp_path / openvino.GRAPH, windows, guarded=False)
    compiled = library.Core().compile_model(tmp_path / openvino.GRAPH, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    told = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    products = [one for one in told if str(one["layerType"].value).startswith("FullyConnected")]
    layers = tagger.engine.model.encoder.config.num_hidden_layers
    assert len(products) == 7 * layers
    assert all("8" in str(one["runtimePrecision"].value) for one in products), "activations have 8 bits as well"


@pytest.mark.parametrize("architecture", ["bert", "roberta", "deberta-v2"])
def test_families_can_be_exported(
    architecture: str, encoders: Callable[[str], Path], config: TaggerConfig, tmp_path: Path
) -> None:
    """Beside ModernBERT: in 32-bit floats whatever the shape, and rounded with fixed scales."""
    model, _ = from_encoder(str(encoders(architecture)), config, 0.1)
    onnx.write(model.eval().encoder, tmp_path / onnx.GRAPH)
    calibration = torch.randint(5, 300, (6, 40)).tolist()
    openvino.write_int8_static(tmp_path / onnx.GRAPH, tmp_path / openvino.GRAPH, calibration, guarded=True)
    exact, static = onnx.load(tmp_path), openvino.load(tmp_path, 1, bf16=False)
    for windows, tokens in ((1, 2), (3, 40), (5, 17)):
        ids = torch.randint(5, 300, (windows, tokens))
        mask = torch.ones_like(ids)
        mask[0, tokens // 2 + 1 :] = 0
        with torch.inference_mode():
            wanted = model.encode(ids, mask)[mask.bool()]
        assert torch.allclose(exact(ids, mask)[mask.bool()], wanted, atol=1e-4)
        assert float((static(ids, mask)[mask.bool()] - wanted).norm() / wanted.norm()) < 0.2
