"""Puts the service together: settings, model, paths, signals and server. It knows none of their insides."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.memory import few_arenas, keep_trimmed
from inference.service.access import Access, read_access
from inference.service.config import ServiceConfig

if TYPE_CHECKING:
    from inference.listening import Application
    from inference.service.api import Api
    from inference.service.metrics import Metrics
    from inference.service.models import Again, Start
    from inference.service.worker import Work

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SWITCH_SECONDS = 0.0005
"""How long a thread may keep others from running Python: the model's thread needs to, shortly, after every operation."""


def serve(checkpoint: Path, config: ServiceConfig, say: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or Ctrl-C. SIGHUP takes the checkpoint anew.

    Raises:
        InputError: checkpoint, settings, tokens or address cannot be used; nothing is served then.
        KeyboardInterrupt: after Ctrl-C.
    """
    say = _unheard(say)
    access = read_access(config.tokens_file, config.admin_tokens_file)
    few_arenas()
    from inference.listening import serve as listen

    quiet()
    sys.setswitchinterval(SWITCH_SECONDS)
    api, app = prepare(checkpoint, config, access, say)
    if access.open and config.host not in LOOPBACK:
        say(f"no token is set: whoever reaches {config.host}:{config.port} is answered")
    now, ended = api.models.current, keep_trimmed()
    say(f"version {now.version} answers (engine {now.work.engine})")
    try:
        listen(
            app,
            host=config.host,
            port=config.port,
            say=say,
            on_signal={signal.SIGHUP: lambda: _reload(api)},
            **listening(config, api),
        )
    finally:
        ended.set()
        api.models.close()
    say("ended")


def prepare(
    checkpoint: Path, config: ServiceConfig, access: Access, say: Callable[[str], None]
) -> tuple[Api, Application]:
    """The service with its model loaded, and the ASGI application that answers for it.

    Raises:
        InputError: the checkpoint cannot be served.
        ModuleNotFoundError: the extra `serve` is not installed.
    """
    from inference.service.api import Api, other_answer
    from inference.service.metrics import Metrics
    from inference.service.models import Models
    from inference.web import endpoints_application

    metrics = Metrics()
    api = Api(config, Models(checkpoint, starter(config, metrics, say), say), access, metrics, say)
    return api, endpoints_application(api.endpoints(), other=other_answer, write_seconds=config.timeouts.write)


def starter(config: ServiceConfig, metrics: Metrics, say: Callable[[str], None]) -> Start:
    """What lets a model tag, in this process or in others."""
    from inference.service.worker import Worker, loaded
    from inference.service.workers import Workers

    def start(folder: Path, version: str, again: Again) -> Work:
        if config.engine_workers:
            return Workers(folder, version, config, again, metrics, say)
        return Worker(loaded(folder, config.engine), version, config.batching, metrics)

    return start


def listening(config: ServiceConfig, api: Api) -> dict[str, Any]:
    """What the server has to know beside the application."""
    return {
        "drain_seconds": config.timeouts.drain,
        "head_seconds": config.timeouts.head,
        "keep_alive_seconds": config.timeouts.keep_alive,
        "write_seconds": config.timeouts.write,
        "connections": config.limits.connections,
        "leaving": api.leave,
    }


def settings(path: Path | None, overrides: list[str]) -> ServiceConfig:
    """The settings of a YAML file, or the defaults, with overrides applied. Raises ConfigError."""
    if path is not None:
        return ServiceConfig.load(path, overrides)
    return ServiceConfig.build({}, where="serve", overrides=overrides)


def _unheard(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says what can be said: where nobody reads it any more, or the disk is full, requests are answered all the same."""

    def said(text: str) -> None:
        with suppress(OSError, ValueError):
            say(text)

    return said


def _reload(api: Api) -> None:
    """As the path does it, without anybody to answer; the task is kept from being collected by what it ends with."""
    task = asyncio.ensure_future(_reloaded(api))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


async def _reloaded(api: Api) -> None:
    from inference.service.problems import Kind, Problem

    try:
        await api.change(api.models.reload)
    except Problem as problem:
        if problem.kind is Kind.BUSY_RELOADING:
            api.say(problem.detail)


def quiet() -> None:
    """No bars of the library that loads weights."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
