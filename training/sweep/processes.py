"""The worker processes of a sweep: started, given jobs, waited for, ended. It knows lines and processes, not trials."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "training.sweep.worker")
PATIENCE = 10.0
"""Seconds that a worker has to end once its input has."""

Answer = dict[str, str]


class Worker:
    """One process, which answers each job with one line, and says that it is ready with the first."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.ready = False
        log.parent.mkdir(parents=True, exist_ok=True)
        # A session of its own: Ctrl-C reaches the sweep alone, which then ends its workers.
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )

    def give(self, job: dict[str, Any]) -> None:
        """Send a job; a worker that has died meanwhile is noticed by `answer`."""
        assert self.process.stdin
        with suppress(OSError):
            self.process.stdin.write(json.dumps(job).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self) -> Answer | None:
        """The next line, waited for; None when the process has ended."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            self.process.wait()
            return None
        self.ready = True
        found: Answer = json.loads(line)
        return found

    def close(self) -> None:
        """End the process, whatever it does."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def end(self) -> str:
        """How the process ended, in words."""
        code = self.process.returncode
        return f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"


class Crew:
    """Workers by their number from 0; one that died may be replaced."""

    def __init__(self, folder: Path, count: int, threads: int, accelerators: int) -> None:
        self.folder, self.count = folder, count
        self.threads, self.accelerators = threads, accelerators
        self.workers: dict[int, Worker] = {}

    def start(self, number: int) -> None:
        """Start a worker, in the place of an earlier one of this number if there was one."""
        self.stop(number)
        environment = os.environ | environment_of(number, self.count, self.threads, self.accelerators)
        log = self.folder / "logs" / f"worker-{number + 1}.log"
        self.workers[number] = Worker([*COMMAND, str(self.folder)], environment, log)

    def stop(self, number: int) -> None:
        """End a worker, if there is one."""
        if worker := self.workers.pop(number, None):
            worker.close()

    def answering(self) -> list[int]:
        """Wait until a worker answers or dies; the numbers of those that did."""
        with selectors.DefaultSelector() as selector:
            for number, worker in self.workers.items():
                assert worker.process.stdout
                selector.register(worker.process.stdout, selectors.EVENT_READ, number)
            return sorted(key.data for key, _ in selector.select())


def environment_of(number: int, count: int, threads: int, accelerators: int) -> dict[str, str]:
    """A worker's share of the threads, and one accelerator where there are several."""
    share = {"OMP_NUM_THREADS": str(max(1, threads // count))}
    if accelerators > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(accelerators)))
        share["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % accelerators]
    return share


@contextmanager
def crew(folder: Path, count: int, threads: int, accelerators: int) -> Iterator[Crew]:
    """Started workers, ended with the block."""
    found = Crew(folder, count, threads, accelerators)
    with ExitStack() as stack:
        for number in range(count):
            stack.callback(found.stop, number)
            found.start(number)
        yield found
