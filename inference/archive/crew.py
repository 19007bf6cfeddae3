"""The processes that tag: started, given shards, replaced when they die. It knows processes and shards, not texts."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from annotations.errors import JobError
from inference.archive.settings import Settings
from inference.archive.shards import Outcome, Shard

COMMAND = (sys.executable, "-m", "inference.archive.worker")
ATTEMPTS = 3
"""How often a shard is begun; its process dies each time."""
TAIL = 2000


class Worker:
    """One process with the shard that it does, if any."""

    def __init__(self, settings: Settings) -> None:
        self.shard: Shard | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # A session of its own: Ctrl-C reaches the job alone, which then ends its workers.
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {"OMP_NUM_THREADS": str(settings.threads), "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,
        )
        self._send(settings.to_json())

    def begin(self) -> None:
        """Let it do its shard; that it has died meanwhile is noticed by `answer`."""
        if self.shard:
            self._send(json.dumps(self.shard.to_dict()))

    def _send(self, line: str) -> None:
        assert self.process.stdin
        with suppress(OSError):
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()

    def answer(self) -> dict[str, Any] | None:
        """What it says next, waited for; None when it has died."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> str:
        """End it at once: what it is writing has no name yet. Returns how it had died, with what it last said."""
        with suppress(OSError):
            self.process.kill()
        code = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - TAIL))
        said = self._errors.read().decode("utf-8", "replace").strip()
        self._errors.close()
        how = f"by signal {-code}" if code < 0 else f"with status {code}"
        return f"{how}: {said.splitlines()[-1]}" if said else how


class Crew:
    """Several workers on one job; use as a context."""

    def __init__(self, settings: Settings, count: int) -> None:
        self.settings, self.count = settings, count
        self._selector = selectors.DefaultSelector()
        self._workers: list[Worker] = []
        self._attempts: dict[int, int] = {}

    def __enter__(self) -> Self:
        for _ in range(self.count):
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in list(self._workers):
            self._stop(worker)
        self._selector.close()

    def engine(self) -> str:
        """Which engine runs, once every worker knows. Raises JobError where they differ, or one does not come up."""
        names = {self._loaded(worker) for worker in list(self._workers)}
        if len(names) > 1:
            raise JobError(f"processes chose different engines ({', '.join(sorted(names))}); choose one with --engine")
        name = names.pop()
        self.settings = replace(self.settings, engine=name)
        return name

    def perform(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
        """Do all shards, and give their outcomes as they come; after `engine`. Raises JobError where that cannot be."""
        for worker in self._workers:
            self._assign(worker, next(shards, None))
        while any(worker.shard for worker in self._workers):
            for key, _ in self._selector.select():
                worker = key.data
                answer = worker.answer()
                if answer is None:
                    self._replace(worker)
                elif "error" in answer:
                    raise JobError(answer["error"])
                elif "engine" in answer:
                    worker.begin()
                else:
                    outcome = Outcome(**answer)
                    del self._attempts[outcome.shard]
                    self._assign(worker, next(shards, None))
                    yield outcome

    def _loaded(self, worker: Worker) -> str:
        """The engine of a new worker; one that dies while it loads is not replaced."""
        answer = worker.answer()
        if answer is None:
            raise JobError(f"a process that should tag ended {self._stop(worker)}")
        if "error" in answer:
            raise JobError(answer["error"])
        return str(answer["engine"])

    def _assign(self, worker: Worker, shard: Shard | None, *, begin: bool = True) -> None:
        worker.shard = shard
        if shard:
            self._attempts[shard.number] = self._attempts.get(shard.number, 0) + 1
            if begin:
                worker.begin()

    def _replace(self, worker: Worker) -> None:
        """A new worker for the shard of one that died."""
        shard, end = worker.shard, self._stop(worker)
        if shard is None:
            return
        if self._attempts[shard.number] >= ATTEMPTS:
            raise JobError(
                f"shard {shard.number} ({shard.where}) ended its process {ATTEMPTS} times, at last {end}; what is finished "
                "is kept. Where memory is short, give a smaller --engine-workers"
            )
        self._assign(self._start(), shard, begin=False)

    def _start(self) -> Worker:
        worker = Worker(self.settings)
        self._workers.append(worker)
        self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)  # type: ignore[arg-type]
        return worker

    def _stop(self, worker: Worker) -> str:
        self._workers.remove(worker)
        self._selector.unregister(worker.process.stdout)  # type: ignore[arg-type]
        return worker.close()
