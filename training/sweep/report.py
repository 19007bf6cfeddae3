"""What a sweep leaves: the best run as YAML, every trial as a table, as JSON, as a picture and as a study of Optuna's.

It knows trials and files, not how trials come about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from annotations.storage import write_json, write_text
from training.config import RunConfig
from training.run_directory import resolved_yaml
from training.sweep.config import SweepConfig, Value, measure_of, own_values, with_parameters
from training.sweep.picture import svg
from training.sweep.sampler import write_study
from training.sweep.trials import State, Trial, best

HONESTY = (
    "The best score of a sweep is optimistic: it was chosen for being high (Cawley and Talbot, 2010, JMLR 11, 2079–2107). "
    "Never sweep on the articles you score on; score the best settings once, on others."
)
ORDER = (State.COMPLETE, State.PRUNED, State.RUNNING, State.FAILED)


def write(settings: SweepConfig, config: RunConfig, trials: Sequence[Trial], about: dict[str, Any]) -> None:
    """Write `trials.md`, `trials.json`, `trials.svg`, `study.log` and, once a trial is complete, `best.yaml`."""
    folder, measure = settings.output, measure_name(settings, config)
    write_text(folder / "trials.md", markdown(settings, config, trials, about))
    write_text(folder / "trials.svg", svg(settings.space, trials, measure))
    write_study(settings, trials, folder / "study.log")
    found = best(trials)
    values = {
        "measure": measure,
        "best": found.number if found else None,
        "trials": [trial.to_dict() for trial in trials],
        "settings": settings.model_dump(mode="json"),
        "data": about["data"],
        "encoder": about["encoder"],
        "packages": about["packages"],
        "hardware": about["hardware"],
    }
    write_json(folder / "trials.json", values)
    if found:
        write_text(folder / "best.yaml", best_yaml(settings, config, found))


def measure_name(settings: SweepConfig, config: RunConfig) -> str:
    """What is maximised, in words."""
    layers = config.tagger.label_schema.layers
    chosen = [settings.layer] if settings.layer is not None else [*layers]
    measures = " and ".join(sorted({measure_of(settings, layers[name].kind) for name in chosen}, reverse=True))
    return f"{measures} of {chosen[0]}" if len(chosen) == 1 else f"{measures}, mean over layers"


def best_yaml(settings: SweepConfig, config: RunConfig, trial: Trial) -> str:
    """The whole run with a trial's values."""
    found = with_parameters(config, trial.parameters, where=f"trial {trial.number}")
    score = f"{measure_name(settings, config)} {spread(trial)}"
    header = [
        f"# The best settings of the sweep in {settings.output}: trial {trial.number}, {score}.",
        "# Costs a little more than one of the sweep's folds: it learns from all folds at once.",
        f"# Run: standpoint train {settings.output / 'best.yaml'}",
    ]
    return "\n".join([*header, resolved_yaml(found)])


def spread(trial: Trial) -> str:
    """Mean, and range over folds."""
    if trial.mean is None:
        return "–"
    scores = [fold.score for fold in trial.folds]
    return f"{trial.mean:.4f} ({min(scores):.4f}–{max(scores):.4f})"


def shown(value: Value) -> str:
    """A parameter's value, short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Complete trials by their mean, then the others."""
    return sorted(trials, key=lambda trial: (ORDER.index(trial.state), -(trial.mean or 0.0), trial.number))


def markdown(settings: SweepConfig, config: RunConfig, trials: Sequence[Trial], about: dict[str, Any]) -> str:
    """The table of all trials, and what to make of it."""
    names = [*settings.space]
    lines = ["# Sweep", "", *_told(settings, config, trials), "", HONESTY, "", "![Scores by setting](trials.svg)", ""]
    head = ["trial", f"{measure_name(settings, config)} (range over folds)", "folds", *names, "state", "seconds"]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for trial in ranked(trials):
        state = f"{trial.state.value}: {trial.reason}" if trial.reason else trial.state.value
        cells = [str(trial.number), spread(trial), str(len(trial.folds)), *(shown(trial.parameters[n]) for n in names)]
        cells += [state, f"{trial.seconds:.0f}"]
        lines.append(f"| {' | '.join(cell.replace('|', '¦') for cell in cells)} |")
    folds = f"{settings.folds} folds of whole groups" if settings.folds else "one group held out at a time"
    machine = f"{about['hardware']['processor']}, torch {about['packages']['torch']}"
    machine += f", transformers {about['packages']['transformers']}"
    seeds = ", ".join(map(str, settings.seeds))
    lines += ["", f"{folds}, seeds {seeds}; data {about['data']['fingerprint']}; begun {about['started']}; {machine}."]
    return "\n".join(lines) + "\n"


def _told(settings: SweepConfig, config: RunConfig, trials: Sequence[Trial]) -> list[str]:
    """Counts, the best trial, and how it compares with the run's own settings on the same folds."""
    counts = Counter(trial.state for trial in trials)
    told = [f"{len(trials)} trials: " + ", ".join(f"{counts[state]} {state.value}" for state in ORDER if counts[state])]
    found = best(trials)
    if found is None:
        return [f"{told[0]}. No trial is complete yet."]
    told.append(f"Best is trial {found.number}: {measure_name(settings, config)} {spread(found)}")
    own = trials[0]
    if own.state is State.COMPLETE and own.parameters == own_values(settings, config) and own is not found:
        pairs = list(zip(found.folds, own.folds, strict=True))
        better = sum(one.score > other.score for one, other in pairs)
        gain = (found.mean or 0.0) - (own.mean or 0.0)
        told.append(
            f"Trial 0 is the run as it was: {spread(own)}; the best is {gain:+.4f}, higher in {better} of {len(pairs)} folds"
        )
    elif own is found and own.parameters == own_values(settings, config):
        told.append("Trial 0 is the run as it was: nothing better was found")
    return [". ".join(told) + "."]


def summary(settings: SweepConfig, config: RunConfig, trials: Sequence[Trial]) -> str:
    """What to tell at the end."""
    found, folder = best(trials), settings.output
    ended = sum(trial.state is not State.RUNNING for trial in trials)
    lines = (
        [] if ended >= settings.trials else [f"{ended} of {settings.trials} trials are done; the same command goes on."]
    )
    if found:
        lines += [f"Best: trial {found.number} of {ended}, {measure_name(settings, config)} {spread(found)}"]
        lines += [f"  {name} = {shown(value)}" for name, value in found.parameters.items()]
        lines += [HONESTY, f"Train with it: standpoint train {folder / 'best.yaml'}"]
    return "\n".join([*lines, f"Trials: {folder / 'trials.md'}"])
