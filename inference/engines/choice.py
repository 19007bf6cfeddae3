"""Which engine runs a checkpoint: the one asked for, or the fastest that is there and that this hardware runs.

It knows names, folders and hardware; each library of an engine is behind a file of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from annotations.errors import CheckpointError, ConfigError, did_you_mean, first_line, to_install
from inference.engines import artefacts
from inference.engines.engine import Encode, Engine
from inference.hardware import cpu_gains_by_bf16, cpu_has_bf16, has_int8
from inference.model import StandpointModel

AUTO = "auto"


class Kind(NamedTuple):
    """One way to run an encoder."""

    needs: str
    """The package that runs it, and the extra that installs it."""
    load: Callable[[Path, int], Encode] | None
    """How its artefact is loaded for so many threads; None for what PyTorch runs from the weights themselves."""
    bits8: bool = False
    """Whether its weights have 8 bits, so that it has to prove its scores."""
    static: bool = False
    """Whether what the weights multiply has 8 bits as well, with scales that are found on documents when it is made."""
    exact: bool = False
    """Whether it computes in 32-bit floats, so that it has to find what PyTorch finds."""
    bf16: bool = False
    """Whether it needs a processor that computes in bfloat16."""
    gpu: bool = False
    """Whether it needs a GPU."""
    step: int = 1
    """Widths of batches are to be multiples of this."""


def _onnx(folder: Path, streams: int) -> Encode:
    from inference.engines import onnx

    return onnx.load(folder, streams)


def _openvino(folder: Path, streams: int) -> Encode:
    from inference.engines import openvino

    return openvino.load(folder, streams, bf16=False)


def _openvino_bf16(folder: Path, streams: int) -> Encode:
    from inference.engines import openvino

    return openvino.load(folder, streams, bf16=True)


def _openvino_int8(folder: Path, streams: int) -> Encode:
    from inference.engines import openvino

    return openvino.load(folder, streams, bf16=computes_bf16("openvino-int8") and artefacts.measured_in_bf16(folder))


ENGINES = {
    "cuda-bf16": Kind("torch", None, gpu=True),
    # OpenVINO prepares itself for the shape of a batch when it first meets it, for longer than a text takes to be read.
    "openvino-int8-static": Kind("openvino", _openvino, bits8=True, static=True, step=8),
    "openvino-int8": Kind("openvino", _openvino_int8, bits8=True, step=8),
    "openvino-bf16": Kind("openvino", _openvino_bf16, bf16=True, step=8),
    "openvino": Kind("openvino", _openvino, exact=True, step=8),
    "onnx": Kind("onnxruntime", _onnx, exact=True),
    "onnx-int8": Kind("onnxruntime", _onnx, bits8=True),
    "torch": Kind("torch", None, exact=True),
    "torch-bf16": Kind("torch", None, bf16=True),
}
"""The fastest first, as `benchmarks/throughput.py` finds them; `torch-bf16` only when asked for, since nothing checked it. "auto"
takes 8 bits only where the processor multiplies them, bfloat16 where it gains by that: elsewhere they were no faster than 32."""


def computes_bf16(name: str) -> bool:
    """Whether an engine computes in bfloat16 on this machine; with 8-bit weights alone OpenVINO does where the processor can."""
    kind = ENGINES[name]
    return kind.bf16 or (kind.bits8 and not kind.static and kind.needs == "openvino" and _bf16(kind))


def make(path: str | Path, model: StandpointModel, name: str = AUTO) -> Engine:
    """An engine for a loaded model; see `Tagger.load`."""
    # Every shape of a batch leaves something in oneDNN's cache, and a long stream has very many shapes.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    check_name(name, (AUTO, *ENGINES))
    if name == AUTO:
        name = next(name for name in ENGINES if _ready(path, name))
    elif problem := hindrance(name):
        raise ConfigError(f"engine {name!r}", problem)
    elif ENGINES[name].load:
        artefacts.check(path, name)
    return _engine(path, model, name)


def check_name(name: str, known: Collection[str]) -> None:
    """Raise ConfigError for an engine that is not among those known."""
    if name not in known:
        raise ConfigError(f"engine {name!r}", f"there is none; {did_you_mean(name, known)}")


def hindrance(name: str) -> str | None:
    """What keeps this machine from running an engine, and the remedy; None where nothing does."""
    kind = ENGINES[name]
    if find_spec(kind.needs) is None:
        extra = name.partition("-")[0]
        return f"needs the package {kind.needs}; {to_install(extra)}"
    if kind.gpu and not torch.cuda.is_available():
        return "needs a GPU that PyTorch sees; there is none here"
    if kind.bf16 and not _bf16(kind):
        return "needs a processor that computes in bfloat16; take the engine without -bf16"
    return None


def _bf16(kind: Kind) -> bool:
    if kind.load is None:
        return cpu_has_bf16()
    from inference.engines import openvino

    return openvino.has_bf16()


def _ready(path: str | Path, name: str) -> bool:
    """Whether "auto" may take an engine: it is fast here, it runs, and its artefact, if it needs one, is sound."""
    kind = ENGINES[name]
    if (kind.bits8 and not has_int8()) or (kind.bf16 and not cpu_gains_by_bf16()):
        return False
    if kind.load is None:
        return name == "torch" or (kind.gpu and hindrance(name) is None)
    if not artefacts.folder(path, name).is_dir() or hindrance(name):
        return False
    try:
        artefacts.check(path, name)
    except CheckpointError as error:
        logging.getLogger(__name__).warning("%s; another engine is taken", error)
        return False
    return True


def _engine(path: str | Path, model: StandpointModel, name: str) -> Engine:
    load, step = ENGINES[name].load, ENGINES[name].step
    if load is None:
        if name != "torch":
            model.encoder.bfloat16()
        if ENGINES[name].gpu:
            torch.nn.Module.cuda(model)
        return Engine(model, name=name)
    place = artefacts.folder(path, name)
    try:
        return Engine(model, name=name, load=_Artefact(place, load, artefacts.files(place)), step=step)
    except Exception as error:
        raise CheckpointError(
            place, f"cannot be loaded ({first_line(error)}); `standpoint export {path} --engine {name}` makes it again"
        ) from error


@dataclass
class _Artefact:
    """Loads an artefact that was checked, and again later if it is still the same one."""

    place: Path
    load: Callable[[Path, int], Encode]
    files: dict[str, str]
    """Names and hashes."""
    again: bool = False

    def __call__(self, streams: int) -> Encode:
        encode = self.load(self.place, streams)
        # Somebody may have trained into the same folder meanwhile, and the heads are those of before.
        if self.again and artefacts.changed(self.place, self.files):
            raise CheckpointError(self.place, "is no longer what was loaded; load the tagger again")
        self.again = True
        return encode
