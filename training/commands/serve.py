"""The commands that serve, and that turn a served model back. A thin shell; heavy modules load only inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.shell import progress, quiet_libraries


def serve(
    label_studio: Annotated[Path, typer.Option("--label-studio", help="YAML file of the ML backend")],
    overrides: Annotated[list[str] | None, typer.Argument(help="settings to override, such as port=9091")] = None,
) -> None:
    """Be a Label Studio server's ML backend: suggest labels, and retrain as annotations come in."""
    from training.retraining.config import ServeConfig

    settings = ServeConfig.load(label_studio, overrides or [])
    from training.retraining.serving import serve as start

    quiet_libraries()
    start(settings, progress)


def restore(
    store: Annotated[Path, typer.Argument(help="folder of the served versions (`store` in the ML backend's YAML)")],
    version: Annotated[str | None, typer.Argument(help="by default the one that the current version replaced")] = None,
) -> None:
    """Serve an earlier version again, from the next request on."""
    from inference.model_store import ModelStore

    models = ModelStore(store)
    left, taken = models.restore(version)
    typer.echo(f"{taken} is current, {left} was")
    progress(f"kept: {', '.join(models.versions())}")
