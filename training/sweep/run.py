"""Tries settings of a run on the same folds and finds the best: what to try next, what to give up, and when to stop.

It knows trials and folds. Values are proposed by `sampler`, folds trained by `worker` in processes of their own.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import yaml

from annotations.config import read_yaml
from annotations.document import Document
from annotations.errors import ConfigError, DocumentError, StandpointError
from annotations.storage import replacing, write_jsonl
from inference.checkpoint import from_encoder
from training.config import RunConfig
from training.folds import folds, learnable
from training.gold import documents_to_learn
from training.preflight.gate import leaks
from training.recipe import resolved
from training.run_directory import SCRATCH, SWEEP, RunDirectory, alone
from training.sweep import report as sweep_report
from training.sweep.config import SweepConfig, base_run, own_values
from training.sweep.processes import Crew, crew
from training.sweep.sampler import propose
from training.sweep.trials import State, Step, Trial, Trials, best, falls_behind
from training.trainer import check_arguments

DEATHS = 3
"""How often the process of a trial may die before the trial counts as failed."""
Say = Callable[[str], None]


def sweep(settings: SweepConfig, *, workers: int, minutes: float | None, say: Say) -> str:
    """Run trials until there are `settings.trials`, or no fold begins any more after `minutes`; returns what was found.

    A sweep that was interrupted goes on: finished folds are kept, trials in progress go on with the same values.

    Raises:
        InputError: config, space, data or folder cannot be used; no trial has run then.
        StandpointError: a worker cannot start, the disk is full, or no trial could be trained.
    """
    deadline = time.monotonic() + 60 * minutes if minutes is not None else None
    config = base_run(settings)
    if "encoder" not in settings.space:
        config = resolved(config)
    documents = documents_to_learn(config, say)
    for warning in leaks(documents):
        say(f"warning: {warning}")
    steps = checked_steps(settings, config, documents)
    check_arguments(config, settings.output)
    check_encoders(settings, config)
    with alone(settings.output, SWEEP):
        about = claim(settings, config, documents)
        going = Sweep(settings, config, Trials(settings.output / "trials", steps), about, say)
        going.run(workers, deadline)
        shutil.rmtree(settings.output / SCRATCH, ignore_errors=True)
        return going.conclude()


def checked_steps(settings: SweepConfig, config: RunConfig, documents: Sequence[Document]) -> list[Step]:
    """The folds of every trial in their order.

    Raises:
        DocumentError: there are too few groups, or a fold lacks a layer that is to be learned or scored.
    """
    wanted = {settings.layer} if settings.layer is not None else set(config.tagger.label_schema.layers)
    name = settings.layer if settings.layer is not None else "any layer of the schema"
    dealing = list(folds(documents, settings.folds))
    problems = []
    for fold in dealing:
        for part, found in (("learn from", fold.train), ("score on", fold.test)):
            if not any(learnable(document, wanted) for document in found):
                groups = f" ({', '.join(sorted({one.fold for one in fold.test})[:3])}, …)" if settings.folds else ""
                problems.append(f"{fold.name}{groups} has nothing to {part} that annotates {name}; lower folds")
    if problems:
        raise DocumentError("data", problems)
    return [(seed, fold) for seed in settings.seeds for fold in range(len(dealing))]


def check_encoders(settings: SweepConfig, config: RunConfig) -> None:
    """Load every encoder that a trial may start from. Raises CheckpointError where one cannot be used."""
    searched = settings.space.get("encoder")
    for name in searched.choices if searched else (config.encoder,):
        from_encoder(str(name), config.tagger, config.dropout)


def claim(settings: SweepConfig, config: RunConfig, documents: Sequence[Document]) -> dict[str, Any]:
    """Write config, settings and documents for the workers; where trials exist, all must be what it was then.

    Raises:
        ConfigError: the folder holds trials of other inputs, another kind of work, or something else.
    """
    run, path = RunDirectory(settings.output), settings.output / "sweep.yaml"
    values = settings.model_dump(mode="json")
    if run.held == SWEEP and path.exists():
        before = read_yaml(path)
        if changed := [name for name in settings.plan if before.get(name) != values[name]]:
            raise ConfigError(
                run.path, f"holds trials with another {', '.join(changed)}; choose output=…, or remove it"
            )
    about = run.claim(config, documents, SWEEP)
    write_jsonl(run.path / "documents.jsonl", documents)
    with replacing(path) as out:
        yaml.safe_dump(values, out, sort_keys=False, allow_unicode=True, width=120)
    return about


class Sweep:
    """All trials, and what becomes of each."""

    def __init__(
        self, settings: SweepConfig, config: RunConfig, files: Trials, about: dict[str, Any], say: Say
    ) -> None:
        self.settings, self.config, self.files, self.say = settings, config, files, say
        self.about = about
        self.trials = files.all()
        self.waiting = [trial for trial in self.trials if trial.state is State.RUNNING]
        self.deaths: Counter[int] = Counter()
        self.deadline: float | None = None

    def run(self, workers: int, deadline: float | None) -> None:
        """Give folds to workers until nothing is left to begin."""
        self.deadline = deadline
        left = len(self.waiting) + max(0, self.settings.trials - len(self.trials))
        count = min(workers, left)
        if not count or self.late:
            return
        accelerators = torch.cuda.device_count()
        with crew(self.settings.output, count, torch.get_num_threads(), accelerators) as team:
            running: dict[int, Trial | None] = dict.fromkeys(range(count))
            while team.workers:
                for number in team.answering():
                    running[number] = self._answered(team, number, running[number])

    def _answered(self, team: Crew, number: int, trial: Trial | None) -> Trial | None:
        """Take a worker's answer about a trial and give it the next job; the trial that it works on then."""
        worker = team.workers[number]
        answer = worker.answer()
        if answer is None:
            if not worker.ready:
                raise StandpointError(f"a worker of the sweep ended {worker.end} before it began; see {worker.log}")
            trial = self._died(trial, worker.end)
            team.start(number)
            return trial
        if reason := answer.get("stop"):
            raise StandpointError(f"{reason}\nThe same command goes on from {self.settings.output}.")
        if trial and (reason := answer.get("failed")):
            self._end(trial, State.FAILED, reason)
            trial = None
        trial, step = self._next(trial)
        if trial is None or step is None:
            team.stop(number)
            return None
        worker.give({"trial": trial.number, "parameters": trial.parameters, "seed": step[0], "fold": step[1]})
        return trial

    def _died(self, trial: Trial | None, end: str) -> Trial | None:
        if trial is None:
            return None
        self.deaths[trial.number] += 1
        self.say(f"trial {trial.number}: its process ended {end}; the fold begins again")
        if self.deaths[trial.number] < DEATHS:
            return trial
        self._end(trial, State.FAILED, f"its process ended {DEATHS} times, at last {end}; out of memory?")
        return None

    def _next(self, trial: Trial | None) -> tuple[Trial | None, Step | None]:
        """The next fold of a trial or, where that has ended, of another; none when nothing may begin any more."""
        while True:
            if trial is None:
                trial = None if self.late else self._another()
            if trial is None:
                return None, None
            before, trial = trial, self.files.scored(trial)
            if len(trial.folds) > len(before.folds):
                self._tell(trial)
            self.trials[trial.number] = trial
            whole = len(trial.folds) == len(self.files.steps)
            if whole or falls_behind(trial, self.trials, self.settings.pruner):
                self._end(trial, State.COMPLETE if whole else State.PRUNED)
                trial = None
            elif self.late:
                return None, None
            else:
                return trial, self.files.steps[len(trial.folds)]

    def _another(self) -> Trial | None:
        """A trial that an earlier sweep left unfinished, or a new one: the run's own values first."""
        if self.waiting:
            return self.waiting.pop(0)
        number = len(self.trials)
        if number >= self.settings.trials:
            return None
        own = own_values(self.settings, self.config) if number == 0 else None
        trial = Trial(number, own or propose(self.settings, self.trials))
        self.files.keep(trial)
        self.trials.append(trial)
        return trial

    def _end(self, trial: Trial, state: State, reason: str | None = None) -> None:
        ended = replace(trial, state=state, reason=reason)
        self.files.keep(ended)
        self.trials[trial.number] = ended
        mean = f", mean {ended.mean:.4f}" if ended.mean is not None else ""
        self.say(
            f"trial {trial.number}: {state.value} after {len(trial.folds)} folds{mean}{f': {reason}' if reason else ''}"
        )
        self._write()

    def _tell(self, trial: Trial) -> None:
        fold = trial.folds[-1]
        done = f"{len(trial.folds)} of {len(self.files.steps)}"
        self.say(
            f"trial {trial.number}: fold {done} {fold.score:.4f}, mean {trial.means[-1]:.4f}, {fold.seconds:.0f} s"
        )

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _write(self) -> None:
        sweep_report.write(self.settings, self.config, self.trials, self.about)

    def conclude(self) -> str:
        """Write the results and say what was found.

        Raises:
            StandpointError: every trial has failed.
        """
        self._write()
        failed = [trial for trial in self.trials if trial.state is State.FAILED]
        if failed and best(self.trials) is None and len(failed) >= self.settings.trials:
            raise StandpointError(f"none of {len(failed)} trials could be trained; the first: {failed[0].reason}")
        return sweep_report.summary(self.settings, self.config, self.trials)
