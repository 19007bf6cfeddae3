"""Puts the ML backend together: store, model, learner and web server. It knows none of their insides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from annotations.errors import ConfigError
from inference import web
from inference.ml_backend import Backend
from inference.model_store import ModelStore
from inference.suggestions import Suggester
from training.config import RunConfig
from training.retraining.config import ServeConfig
from training.retraining.data import beginning, divide, unlearned
from training.retraining.job import token
from training.retraining.learner import COMMAND, Retraining

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(settings: ServeConfig, say: Callable[[str], None], command: Sequence[str] = COMMAND) -> None:
    """Answer a Label Studio server until SIGTERM or Ctrl-C. `command` performs a job; its folder is appended.

    Raises:
        InputError: settings, token, checkpoint or address cannot be used; nothing is served then.
        SystemExit: with status 0, after SIGTERM.
    """
    warnings = check(settings)
    store = ModelStore(settings.store)
    with store.serving():
        if store.empty:
            store.promote(store.admit(settings.checkpoint), "imported")
            say(f"{settings.checkpoint} is imported into {store.folder}")
        say(f"version {store.version} is current")
        for warning in warnings:
            say(f"warning: {warning}")
        suggester, learner = Suggester(store, say), Retraining(settings, say, command)
        backend = Backend(store, suggester, learner, settings.project, say)
        if settings.host not in LOOPBACK:
            say(f"whoever reaches {settings.host}:{settings.port} may ask for predictions and start training")
        learner.start()
        try:
            most = settings.max_body_mb * 1_000_000
            web.run(backend.routes(), host=settings.host, port=settings.port, most_bytes=most, say=say)
        finally:
            suggester.close()
            learner.stop()


def check(settings: ServeConfig) -> list[str]:
    """Everything that would make every training job fail, told before the first one. Returns what is merely odd.

    Raises:
        InputError: settings, token or the run's documents cannot be used, or nothing is left to compare versions on.
    """
    problems: list[str] = []
    try:
        config = RunConfig.load(settings.train, settings.train_overrides)
        if not (settings.evaluation or config.data.test or config.data.held_out):
            problems.append(
                f"evaluation: there is nothing to compare versions on; name files, or data.test or data.held_out in "
                f"{settings.train}"
            )
    except ConfigError as error:
        problems += [f"train: {settings.train}: {problem}" for problem in error.problems]
    problems += [f"evaluation: {path} is missing" for path in settings.evaluation if not path.is_file()]
    try:
        token()
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError("serve", problems)
    return _learned_already(settings)


def _learned_already(settings: ServeConfig) -> list[str]:
    """What the version that will be current knows of the documents to compare on. Raises InputError where it knows all."""
    store = ModelStore(settings.store)
    # Before a checkpoint is imported: a store that began with it would keep it, whatever the settings say later.
    name, folder = f"checkpoint {settings.checkpoint}", settings.checkpoint
    if not store.empty:
        name, folder = f"version {store.version}", store.path(store.version)
    config = RunConfig.load(settings.train, settings.train_overrides)
    scored = divide([], config, settings.evaluation).scored
    return unlearned(scored, {name: folder, **beginning(config)}, config.tagger.label_schema)[1]
