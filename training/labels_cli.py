"""The commands `standpoint labels …`: the annotation round. A thin shell; heavy modules load only where they are needed."""

from __future__ import annotations

import typer

from training.agree_cli import agree
from training.convert_cli import convert
from training.lint_cli import lint
from training.queue_cli import queue
from training.round_cli import adjudicate, doctor, pull, push
from training.serve_cli import restore
from training.shell import reported

labels = typer.Typer(
    help="Annotations: the round through Label Studio, and what can be done with them.", no_args_is_help=True
)
for _command in (push, pull, agree, adjudicate, doctor, convert, lint, queue, restore):
    labels.command()(reported(_command))
