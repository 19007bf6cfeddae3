"""The commands `standpoint labels …`: the annotation round. A thin shell; heavy modules load only where they are needed."""

from __future__ import annotations

import typer

from training.commands.agree import agree
from training.commands.convert import convert
from training.commands.lint import lint
from training.commands.queue import queue
from training.commands.rounds import adjudicate, doctor, pull, push
from training.commands.serve import restore
from training.commands.suspects import review, suspects
from training.shell import reported

labels = typer.Typer(
    help="Annotations: the round through Label Studio, and what can be done with them.", no_args_is_help=True
)
for _command in (push, pull, agree, adjudicate, doctor, convert, lint, queue, suspects, review, restore):
    labels.command()(reported(_command))
