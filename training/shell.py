"""What every command shares: errors become one message and an exit status, progress goes to standard error.

It knows no command.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from annotations.errors import StandpointError, to_install

Overrides = Annotated[list[str] | None, typer.Argument(help="settings to override, such as optimizer.lr=3e-4")]
ConfigPath = Annotated[Path, typer.Argument(help="YAML file of the run")]


def _claims(targets: list[str] | None) -> list[str] | None:
    from annotations.document import claim

    if any(claim(target) is None for target in targets or ()):
        raise typer.BadParameter("is blank; give the claim, or leave the option out")
    return targets


Targets = Annotated[
    list[str] | None, typer.Option(callback=_claims, help="claim for texts without one of their own; may be repeated")
]

SCHEMA = Path("configs/schema.yaml")


def schema_file(path: Path) -> Path:
    """The path that was given, or the default one where it is there: nobody has named it, so a missing file is no answer."""
    if path == SCHEMA and not path.exists():
        raise typer.BadParameter(f"there is no {SCHEMA} here; name the schema file", param_hint="--schema")
    return path


SchemaPath = Annotated[Path, typer.Option("--schema", callback=schema_file, help="schema file")]

EXTRA = {
    "datasets": "training",
    "accelerate": "training",
    "seqeval": "training",
    "sklearn": "training",
    "httpx": "labelstudio",
    "spacy": "spacy",
    "fastapi": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
    "optuna": "sweep",
    "peft": "lora",
    "pyarrow": "archives",
    "ray": "ray",
    "zstandard": "archives",
}


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Turn our errors into one message on standard error and exit status 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except StandpointError as error:
            typer.echo(f"standpoint: {error}", err=True)
            raise typer.Exit(2) from error
        except ModuleNotFoundError as error:
            if error.name not in EXTRA:
                raise
            remedy = to_install(EXTRA[error.name])
            typer.echo(f"standpoint: this command needs the package {error.name!r}; {remedy}", err=True)
            raise typer.Exit(2) from error

    return wrapped


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Ctrl-C ends a command that goes on from its folder with a word that says so, and exit status 130."""
    try:
        yield
    except KeyboardInterrupt:
        progress(f"Stopped; the same command goes on from {folder}.")
        raise typer.Exit(130) from None


def quiet_libraries() -> None:
    """Bars and reports of loading weights hide what the command has to say; weights that lack are an error of our own."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers.modeling_utils").addFilter(_no_load_report)


def _no_load_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()


def progress(text: str) -> None:
    typer.echo(text, err=True)
