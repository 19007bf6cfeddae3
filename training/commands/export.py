"""The command that turns a checkpoint into what other libraries run. A thin shell; heavy modules load only inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.shell import progress, quiet_libraries


def export(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint folder of a tagger")],
    engine: Annotated[
        list[str], typer.Option(help="openvino-bf16, openvino-int8, openvino, onnx or onnx-int8; may be repeated")
    ],
    data: Annotated[
        list[Path] | None, typer.Option(help="annotated documents to measure it on; 8-bit engines need them")
    ] = None,
    most_drop: Annotated[float, typer.Option(help="points of F1 that an 8-bit or bf16 engine may not lose")] = 0.3,
) -> None:
    """Write an engine's artefact beside the weights; it is measured first, and refused where it answers otherwise."""
    from annotations.reading import annotated_documents
    from inference.checkpoint import label_schema
    from inference.engines import export as engines

    quiet_libraries()
    gold = annotated_documents(data, label_schema(checkpoint))[0] if data else []
    for name in engine:
        progress(f"{name}: exporting and measuring")
        typer.echo(f"{name}\n{engines.export(checkpoint, name, gold, most_drop=most_drop)}")
