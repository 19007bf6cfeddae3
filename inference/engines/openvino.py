"""The one door to OpenVINO and its quantization: a graph converted, and run on CPU. It knows no heads and no texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from inference.engines.engine import Encode
from inference.engines.onnx import INPUTS, quiet

if TYPE_CHECKING:
    import openvino

GRAPH = "encoder.xml"
_preparing = Lock()


def write(graph: Path, path: Path, *, guarded: bool) -> None:
    """Convert an ONNX graph, in 32-bit floats; `guarded` unless every token sees some other in every layer."""
    _save(_read(graph, guarded), path)


def write_int8(graph: Path, path: Path, *, guarded: bool) -> None:
    """Convert an ONNX graph, its weights in 8 bits with a scale for each output channel."""
    with quiet():
        import nncf

        _save(nncf.compress_weights(_read(graph, guarded), mode=nncf.CompressWeightsMode.INT8_SYM), path)


def write_int8_static(graph: Path, path: Path, samples: Sequence[Sequence[int]], *, guarded: bool) -> None:
    """Convert an ONNX graph, weights and what they multiply in 8 bits; the scales of the latter are found on the samples' ids.

    The method is post-training quantization with SmoothQuant (Xiao et al., 2023), as NNCF has it.
    """
    with quiet():
        import nncf

        given = [dict(zip(INPUTS, (np.array([ids]), np.ones((1, len(ids)), np.int64)), strict=True)) for ids in samples]
        model = nncf.quantize(
            _read(graph, guarded),
            nncf.Dataset(given),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(given),
        )
        _save(model, path)


def _read(graph: Path, guarded: bool) -> openvino.Model:
    """An ONNX graph, its attention with or without the guard against tokens that see nothing, whose states are no numbers."""
    import openvino

    model = openvino.Core().read_model(graph)
    for node in model.get_ordered_ops() if not guarded else ():
        if node.get_type_name() == "Select" and (test := node.input_value(0).get_node()).get_type_name() == "IsNaN":
            attended = node.input_value(2)
            if test.input_value(0) == attended:
                node.output(0).replace(attended)
    model.validate_nodes_and_infer_types()
    return model


def _save(model: openvino.Model, path: Path) -> None:
    import openvino

    openvino.save_model(model, path, compress_to_fp16=False)


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def load(folder: Path, streams: int, *, bf16: bool) -> Encode:
    """Run the graph of a folder on as many cores as torch uses, which `streams` threads that call it share.

    It computes in bfloat16 or in 32-bit floats.
    """
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "NUM_STREAMS": streams,
        # Pinned threads of two processes, such as an archive's workers, would share one core and leave the others idle.
        "ENABLE_CPU_PINNING": False,
        # With 8-bit weights: as many activations of one token share a scale, so that no text depends on its neighbours.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 128,
        # Every shape of a batch leaves something in this cache, in 8 bits twenty entries of 2 MB in all: enough for some fifty
        # shapes, what a service sees of them, whose widths are multiples of 8, and no more.
        "CPU_RUNTIME_CACHE_CAPACITY": "1024",
    }
    model = openvino.Core().compile_model(folder / GRAPH, "CPU", settings)
    with _preparing:
        # OpenVINO prepares itself for numpy at its first look at a tensor. Two threads that both come first wait for each
        # other forever: one holds the interpreter's lock, the other that of the preparation.
        _ = openvino.Tensor(openvino.Type.i64, openvino.Shape([1])).data
    idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()
    for _ in range(streams):
        idle.put(model.create_infer_request())

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        request = idle.get()
        try:
            answer = request.infer(dict(zip(INPUTS, (ids.numpy(), mask.numpy()), strict=True)))
            return torch.from_numpy(answer.to_tuple()[0].copy())
        finally:
            idle.put(request)

    return encode
