"""The command that turns a checkpoint into what other libraries run. A thin shell; heavy modules load only inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.shell import progress, quiet_libraries

PROGRAMS = ("hf",)
MOST_DROP = 0.3


def export(
    checkpoint: Annotated[Path, typer.Argument(help="checkpoint folder of a tagger")],
    folder: Annotated[Path | None, typer.Argument(help="for --to: where to write; must not exist, or be empty")] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="openvino-int8-static, openvino-int8, openvino-bf16, openvino, onnx or onnx-int8; may be repeated"
        ),
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="annotated documents to measure engines on; 8-bit ones need them")
    ] = None,
    most_drop: Annotated[
        float, typer.Option(help="points of F1 that an 8-bit or bf16 engine may not lose")
    ] = MOST_DROP,
    to: Annotated[str | None, typer.Option(help="hf: a plain folder for transformers' pipeline")] = None,
    layer: Annotated[str | None, typer.Option(help="for --to: which layer of spans, where there are several")] = None,
) -> None:
    """Write engines beside the weights (each is measured, and refused where it answers otherwise), or a folder for others."""
    if not engine and to is None:
        raise typer.BadParameter("give an engine, or --to with a folder", param_hint="--engine")
    if to is not None and (to not in PROGRAMS or folder is None):
        why = f"{to!r} is none of {', '.join(PROGRAMS)}" if to not in PROGRAMS else "give the folder to write"
        raise typer.BadParameter(why, param_hint="--to")
    if to is None and folder is not None:
        raise typer.BadParameter("engines are written beside the weights; a folder is for --to", param_hint="folder")
    if not engine and (data or most_drop != MOST_DROP):
        name = "--data" if data else "--most-drop"
        raise typer.BadParameter(
            f"{name} is for --engine; a folder made with --to is measured on nothing", param_hint=name
        )
    if to is None and layer is not None:
        raise typer.BadParameter("--layer is for --to; --engine takes the whole tagger", param_hint="--layer")
    quiet_libraries()
    for name in engine or []:
        _engine(checkpoint, name, data or [], most_drop)
    if folder is not None:
        from inference.interop.hf import to_hf

        made = to_hf(checkpoint, folder, layer)
        typer.echo(f"Layer {made.layer}: {made.folder} (logits within {made.difference:.1g} of the tagger's)")


def _engine(checkpoint: Path, name: str, data: list[Path], most_drop: float) -> None:
    from annotations.reading import annotated_documents
    from inference.checkpoint_files import label_schema
    from inference.engines import export as engines
    from training.lineage import known_texts, learned_texts

    progress(f"{name}: exporting and measuring")
    gold = annotated_documents(data, label_schema(checkpoint))[0] if data else []
    if met := known_texts(gold, learned_texts(checkpoint) or frozenset()):
        progress(
            f"{len(met)} of {len(gold)} documents of --data are among those that the tagger learned from, where it is sure of "
            "itself: on new texts an engine that rounds may lose more; measure it on documents that it has not seen"
        )
    typer.echo(f"{name}\n{engines.export(checkpoint, name, gold, most_drop=most_drop)}")
