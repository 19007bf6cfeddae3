"""The one door to Optuna: the trials so far go in, the values of the next one come out. It knows no files and no models.

Optuna holds no state between calls: it is given the history anew, with a seed made from the sweep's seed and the trial's
number. A sweep that was interrupted thus proposes what it would have proposed, whatever moment it was killed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from annotations.storage import replacing_file
from training.sweep.config import Parameter, Sampler, SweepConfig, Value, is_whole
from training.sweep.trials import State, Trial

STATES = {
    State.RUNNING: TrialState.RUNNING,
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}


def propose(settings: SweepConfig, trials: Sequence[Trial]) -> dict[str, Value]:
    """Values for trial number `len(trials)`. The same history gives the same values."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = distributions(settings)
    study = optuna.create_study(direction="maximize", sampler=_sampler(settings.sampler, len(trials)))
    study.add_trials([_frozen(trial, space) for trial in trials])
    found: dict[str, Value] = study.ask(space).params
    return found


def write_study(settings: SweepConfig, trials: Sequence[Trial], path: Path) -> None:
    """The trials as a journal of Optuna's, for its own plots and dashboards."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = distributions(settings)
    with replacing_file(path) as part:
        part.unlink(missing_ok=True)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(part), cast(Any, _Alone())))
        study = optuna.create_study(study_name="sweep", direction="maximize", storage=storage)
        study.add_trials([_frozen(trial, space) for trial in trials])


class _Alone:
    """No lock: nobody else writes the file. Optuna's own, interrupted while it is given back, ends with an error about the lock
    in the place of the interruption."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def distributions(settings: SweepConfig) -> dict[str, BaseDistribution]:
    """The search space as Optuna has it."""
    return {name: _distribution(name, parameter) for name, parameter in settings.space.items()}


def _distribution(name: str, parameter: Parameter) -> BaseDistribution:
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    assert parameter.low is not None and parameter.high is not None
    if is_whole(name, parameter):
        return IntDistribution(
            int(parameter.low), int(parameter.high), log=parameter.log, step=int(parameter.step or 1)
        )
    return FloatDistribution(float(parameter.low), float(parameter.high), log=parameter.log, step=parameter.step)


def _sampler(settings: Sampler, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=settings.startup)


def _frozen(trial: Trial, space: dict[str, BaseDistribution]) -> FrozenTrial:
    """Optuna's form of a trial; one that ended early counts with its mean up to there."""
    done = trial.mean if trial.state in (State.COMPLETE, State.PRUNED) else None
    return optuna.trial.create_trial(
        state=STATES[trial.state],
        value=done,
        params=trial.parameters,
        distributions=space,
        intermediate_values=dict(enumerate(trial.means)),
        user_attrs={"reason": trial.reason} if trial.reason else {},
    )
