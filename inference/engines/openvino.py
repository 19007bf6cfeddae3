"""The one door to OpenVINO and its weight compression: a graph converted, and run on CPU. It knows no heads and no texts."""

from __future__ import annotations

from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import torch
from torch import Tensor

from inference.engines.engine import Encode
from inference.engines.onnx import INPUTS, quiet

GRAPH = "encoder.xml"
_preparing = Lock()


def write(graph: Path, path: Path) -> None:
    """Convert an ONNX graph, in 32-bit floats."""
    import openvino

    openvino.save_model(openvino.Core().read_model(graph), path, compress_to_fp16=False)


def write_int8(graph: Path, path: Path) -> None:
    """Convert an ONNX graph, its weights in 8 bits with a scale for each output channel."""
    import openvino

    with quiet():
        import nncf

        model = openvino.Core().read_model(graph)
        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
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
        # Every shape of a batch leaves something in this cache, and a long stream has very many shapes.
        "CPU_RUNTIME_CACHE_CAPACITY": "64",
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
