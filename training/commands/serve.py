"""The commands that serve, and that turn a served model back. A thin shell; heavy modules load only inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from annotations.errors import ConfigError
from training.shell import progress, quiet_libraries


def serve(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CHECKPOINT] [SETTING=VALUE]...", help="what to serve, and settings such as port=8081"),
    ] = None,
    label_studio: Annotated[
        Path | None, typer.Option("--label-studio", help="be a Label Studio server's ML backend, with this YAML file")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of the service's settings")] = None,
) -> None:
    """Serve a checkpoint over HTTP, or be a Label Studio server's ML backend (suggest, and retrain as annotations come)."""
    given = arguments or []
    # A folder's name may hold "=" too, as those of a sweep's runs do.
    folders = [one for one in given if "=" not in one or _is_there(one)]
    overrides = [one for one in given if one not in folders]
    if label_studio is not None:
        if folders or config:
            raise ConfigError(
                "serve", "give a checkpoint or --label-studio, not both; the YAML file names its checkpoint"
            )
        return _label_studio(label_studio, overrides)
    if len(folders) != 1:
        raise ConfigError("serve", "give one checkpoint folder, or --label-studio with a YAML file")
    from inference.service.running import serve as start
    from inference.service.running import settings

    return start(Path(folders[0]), settings(config, overrides), progress)


def _is_there(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        # A long setting is longer than any name can be.
        return False


def _label_studio(path: Path, overrides: list[str]) -> None:
    from training.retraining.config import ServeConfig

    settings = ServeConfig.load(path, overrides)
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
