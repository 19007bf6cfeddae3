"""The one door to ONNX and ONNX Runtime: an encoder as a graph, and the graph run on CPU. It knows no heads and no texts."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from inference.engines.engine import Encode
from inference.engines.graph import fold_scales, part_products

GRAPH = "encoder.onnx"
INPUTS = ("input_ids", "attention_mask")
OPSET = 24
"""It has attention as one operator, which runtimes read faster than products, masks and a softmax. So has 23, but ONNX Runtime
does not read the rotary embedding that is exported with it."""
BLOCK = 32
"""Weights that share a scale in an 8-bit graph."""


class _States(nn.Module):
    """An encoder that gives its last hidden states alone."""

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return states


def write(encoder: PreTrainedModel, path: Path) -> None:
    """Write an encoder in 32-bit floats as an ONNX graph for any number of windows of any length.

    Through torch's graph capture: its older tracing exporter is silently wrong at other shapes than the one it saw.
    """
    ids = torch.ones((3, 17), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 12:] = 0
    windows, tokens = torch.export.Dim("windows", min=1, max=65536), torch.export.Dim("tokens", min=2, max=65536)
    shapes = {name: {0: windows, 1: tokens} for name in INPUTS}
    with quiet():
        program = torch.onnx.export(
            _States(encoder).eval(),
            (ids, mask),
            input_names=INPUTS,
            output_names=["states"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        fold_scales(program.model)
        part_products(program.model)
        program.save(path)


def write_int8(graph: Path, path: Path) -> None:
    """The same graph with 8-bit weights, in blocks of 32 with a scale each.

    Activations are quantized token by token at most: with one scale for a whole batch, as ONNX Runtime's dynamic
    quantization has it, the labels of a text would depend on the texts beside it.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    with quiet():
        quantizer = MatMulNBitsQuantizer(
            onnx.load(graph), bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=4
        )
        quantizer.process()
        quantizer.model.save_model_to_file(str(path))


def load(folder: Path, streams: int = 1) -> Encode:
    """Run the graph of a folder on as many cores as torch uses, which `streams` threads that call it share."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, torch.get_num_threads() // streams)
    options.log_severity_level = 3
    # Threads that wait by spinning would take the cores from the heads and the decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        [states] = session.run(None, dict(zip(INPUTS, (ids.numpy(), mask.numpy()), strict=True)))
        return torch.from_numpy(states)

    return encode


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters tell every step, and warn of their own libraries."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
