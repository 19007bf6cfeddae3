"""The same shards done by actors on a Ray cluster, through Ray Data. It alone knows Ray, and no texts.

Model, input and output lie at the same paths on every node. An actor or a node that goes is replaced and its shards are done
again; their files appear whole under the same names, so that nothing is lost or doubled by that.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from annotations.errors import ConfigError, JobError, StandpointError, first_line, to_install
from inference.archive.settings import Settings
from inference.archive.shards import Outcome, Shard

LOCAL = "local"
WAVE = 4096
"""Shards that Ray Data is given at once; actors live as long as a wave."""
STORE = 100_000_000
"""Bytes of shared memory that a cluster started here sets aside: Ray passes on names of shards alone."""

Answer = dict[str, Any]


def cluster(address: str, actors: int | None) -> Callable[[Settings], Any]:
    """At most so many actors, by default one for each of its processors, on the cluster at an address."""
    return partial(_connected, address, actors)


@contextmanager
def _connected(address: str, actors: int | None, settings: Settings) -> Iterator[RayTaggers]:
    """Taggers on a cluster, which is left as it was; one that was started here ends.

    Raises:
        ConfigError: Ray is absent, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray", f"needs the package ray; {to_install('ray')}") from error
    own = not ray.is_initialized()
    if own:
        _init(ray, address, actors, settings.threads)
    try:
        yield RayTaggers(settings, actors)
    finally:
        if own:
            ray.shutdown()


def _init(ray: Any, address: str, actors: int | None, threads: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        alone = {"include_dashboard": False, "object_store_memory": STORE, "_node_ip_address": "127.0.0.1"}
        ray.init(address="local", num_cpus=actors * threads if actors else None, **alone, **quiet)
        return
    try:
        _knock(address)
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        reason = f"no Ray cluster answers ({first_line(error)}); start one with `ray start --head`, or give `local`"
        raise ConfigError(f"--ray {address}", reason) from error


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: Ray itself tries for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


class RayTaggers:
    """The actors; see `inference.archive.job.Taggers`."""

    def __init__(self, settings: Settings, actors: int | None) -> None:
        # Actors run in folders of their own.
        paths = {name: getattr(settings, name).resolve() for name in ("input", "output", "model")}
        self._settings = replace(settings, **paths)
        self._actors = actors

    def engine(self) -> str:
        """Which engine runs, as one node says; all others are told to take the same."""
        import ray

        asking = ray.remote(num_cpus=self._settings.threads)(_engine)
        answer = self._asked(lambda: ray.get(asking.remote(self._settings.to_json())))
        if "error" in answer:
            raise JobError(answer["error"])
        self._settings = replace(self._settings, engine=answer["engine"])
        return str(answer["engine"])

    def perform(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
        """Do all shards, and give their outcomes as they come. Raises JobError where that cannot be."""
        while wave := list(islice(shards, WAVE)):
            rows = iter(self._rows(wave))
            while row := self._asked(lambda rows=rows: next(rows, None)):  # type: ignore[misc]
                answer = json.loads(row["answer"])
                if "error" in answer:
                    raise JobError(answer["error"])
                yield Outcome(**answer)

    def _rows(self, wave: list[Shard]) -> Iterator[Answer]:
        import ray

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        threads = self._settings.threads
        most = self._actors or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        asked = ray.data.from_items(
            [{"shard": json.dumps(shard.to_dict())} for shard in wave], override_num_blocks=len(wave)
        )
        answered = asked.map_batches(
            ShardActor,
            fn_constructor_args=(self._settings.to_json(),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=most, initial_size=most, max_tasks_in_flight_per_actor=2
            ),
            num_cpus=threads,
        )
        yield from answered.iter_rows()

    def _asked(self, work: Callable[[], Any]) -> Any:
        """What Ray returns; its own errors, and unforeseen ones of actors, become ours."""
        import ray

        try:
            return work()
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise JobError(f"the Ray cluster cannot go on ({lines[-1]}); what is finished is kept") from error


class ShardActor:
    """One process of the cluster, with one tagger."""

    def __init__(self, settings: str) -> None:
        from inference.archive.tagging import own_process

        self._tagger = own_process(Settings.from_json(settings))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Rows with a shard to rows with its outcome, or with an error that ends the job."""
        return {"answer": [json.dumps(self._perform(line)) for line in batch["shard"]]}

    def _perform(self, line: str) -> Answer:
        try:
            return self._tagger.perform(Shard.from_dict(json.loads(line))).to_dict()
        except StandpointError as error:
            return {"error": str(error)}


def _engine(settings: str) -> Answer:
    from inference.archive.tagging import own_process

    try:
        return {"engine": own_process(Settings.from_json(settings)).tagger.engine.name}
    except StandpointError as error:
        return {"error": str(error)}
